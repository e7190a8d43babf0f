"""Policy pack of Pulumi: `pulumi preview --policy-pack policy` rejects what breaks a rule."""

from collections.abc import Callable

from pulumi_policy import (
    EnforcementLevel,
    PolicyPack,
    ReportViolation,
    ResourceValidationArgs,
    ResourceValidationPolicy,
)
from rules import (  # type: ignore[import-not-found]  # beside it on the path of the pack
    RULES,
    Resource,
    Rule,
)


def _build_validation(rule: Rule) -> Callable[[ResourceValidationArgs, ReportViolation], None]:
    def validate(args: ResourceValidationArgs, report_violation: ReportViolation) -> None:
        resource = Resource(
            type=args.resource_type,
            name=args.name,
            stack=args.urn.split(":")[2],
            inputs=args.props,
            protect=args.opts.protect,
        )
        for violation in rule.find(resource):
            report_violation(violation, None)

    return validate


PolicyPack(
    name="spawn",
    enforcement_level=EnforcementLevel.MANDATORY,
    policies=[
        ResourceValidationPolicy(
            name=rule.name, description=rule.description, validate=_build_validation(rule)
        )
        for rule in RULES
    ],
)
