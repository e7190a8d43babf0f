"""Pulumi program: one stack is one Spawn service, in the place that `spawn:target` names."""

import pulumi
from stack_config import METRICS_KEY, SECRET_NAMES, StackConfig, parse_stack_config
from targets import create_target

_SECTIONS = frozenset(StackConfig.__struct_fields__) - {"target"}
_NEXT_STEP = (
    "Create the key of Prometheus and apply again: spawn keys create prometheus --scopes "
    "metrics:read | pulumi config set --secret spawn:metrics_key"
)

config = pulumi.Config("spawn")
values = {name: config.get_object(name) for name in _SECTIONS}
stack = parse_stack_config(
    {"target": config.require("target")}
    | {name: value for name, value in values.items() if value is not None}
)
secrets = {name: config.require_secret(name) for name in SECRET_NAMES if config.get(name)}
target = create_target("spawn", stack, secrets)
for name, output in target.outputs.items():
    pulumi.export(name, output)
if METRICS_KEY not in secrets:
    pulumi.export("next_step", _NEXT_STEP)
