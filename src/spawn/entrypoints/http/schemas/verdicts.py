"""What is thought of a schema version, as the governance API and the command line show it."""

from typing import Any

from spawn.application.schemas.adoption import Proposal
from spawn.domain.schemas.evolution.compatibility import Comparison, Finding, Judgement
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    RenameColumn,
    Step,
)
from spawn.ports.schemas import Failure


def proposal_fields(proposal: Proposal) -> dict[str, Any]:
    """What adopting a schema would come to."""
    fields = judgement_fields(proposal.judgement)
    objection = (proposal.objection,) if proposal.objection else ()
    return {
        "schema_id": proposal.schema.id,
        "version": proposal.schema.version,
        **fields,
        "adoptable": proposal.adoptable,
        "objections": [*objection, *fields["objections"]],
        "plan": plan_fields(proposal.plan),
        "statements": proposal.steps,
        "failures": [_failure_fields(failure) for failure in proposal.failures],
    }


def _failure_fields(failure: Failure) -> dict[str, Any]:
    return {
        "stored": failure.proof.stored,
        "projects": failure.projects,
        "sample": failure.sample,
        "detail": failure.detail,
    }


def judgement_fields(judgement: Judgement) -> dict[str, Any]:
    """Whether a candidate may be adopted, and every change that speaks for or against it."""
    return {
        "mode": judgement.mode,
        "adoptable": judgement.adoptable,
        "objections": judgement.objections,
        "comparisons": [comparison_fields(found) for found in judgement.comparisons],
    }


def comparison_fields(comparison: Comparison) -> dict[str, Any]:
    """One version beside another."""
    return {
        "old_version": comparison.old_version,
        "new_version": comparison.new_version,
        "rows": comparison.rows,
        "writers": comparison.writers,
        "readers": comparison.readers,
        "findings": [_finding_fields(finding) for finding in comparison.findings],
    }


def _finding_fields(finding: Finding) -> dict[str, Any]:
    return {
        "path": finding.path,
        "kind": finding.kind,
        "rows": finding.rows,
        "writers": finding.writers,
        "readers": finding.readers,
        "reason": finding.reason,
        "consequence": finding.consequence,
        "early": finding.early,
    }


def plan_fields(plan: MigrationPlan) -> list[str]:
    """The steps of a plan, a sentence each, in no engine's words."""
    return [_said(step) for step in plan.steps]


def _said(step: Step) -> str:
    match step:
        case AddColumn():
            return f"Add {step.column.name}, {step.column.type.phrase}{_filled(step)}."
        case HideColumn():
            return f"Hide {step.column.name}; its values are kept."
        case ChangeType():
            return f"Widen {step.name} from {step.before} to {step.after}."
        case RenameColumn():
            return f"Rename {step.before} to {step.after}."
        case FillNulls():
            return f"Give {step.default} to every project without {step.name}."


def _filled(step: AddColumn) -> str:
    taken = f", with what projects hold as {step.promotes}" if step.promotes else ""
    return taken if step.default is None else f"{taken}, else {step.default}"
