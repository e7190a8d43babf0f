"""JSON of proposals, comparisons and migration plans, for the governance API and the CLI."""

from typing import Any

from spawn.application.schemas.adoption import Proposal
from spawn.domain.schemas.evolution.compatibility import (
    AdoptionJudgement,
    Finding,
    SchemaComparison,
)
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    MigrationStep,
    RenameColumn,
)
from spawn.ports.schemas import ProofViolation


def render_proposal(proposal: Proposal) -> dict[str, Any]:
    """Render the proposal to adopt a schema."""
    fields = render_judgement(proposal.judgement)
    violation = (proposal.violation,) if proposal.violation else ()
    return {
        "schema_id": proposal.schema.id,
        "version": proposal.schema.version,
        **fields,
        "adoptable": proposal.is_adoptable,
        "objections": [*violation, *fields["objections"]],
        "plan": render_plan(proposal.plan),
        "statements": proposal.steps,
        "failures": [_render_proof_violation(failure) for failure in proposal.failures],
    }


def _render_proof_violation(failure: ProofViolation) -> dict[str, Any]:
    return {
        "stored": failure.proof.stored_name,
        "projects": failure.project_count,
        "sample": failure.sample_ids,
        "detail": failure.detail,
    }


def render_judgement(judgement: AdoptionJudgement) -> dict[str, Any]:
    """Render whether a candidate may be adopted, with every change and its verdicts."""
    return {
        "mode": judgement.mode,
        "adoptable": judgement.is_adoptable,
        "objections": judgement.violations,
        "comparisons": [render_comparison(comparison) for comparison in judgement.comparisons],
    }


def render_comparison(comparison: SchemaComparison) -> dict[str, Any]:
    """Render the comparison of two versions."""
    return {
        "old_version": comparison.old_version,
        "new_version": comparison.new_version,
        "rows": comparison.rows,
        "writers": comparison.writers,
        "readers": comparison.readers,
        "findings": [_render_finding(finding) for finding in comparison.findings],
    }


def _render_finding(finding: Finding) -> dict[str, Any]:
    return {
        "path": finding.path,
        "kind": finding.kind,
        "rows": finding.rows,
        "writers": finding.writers,
        "readers": finding.readers,
        "reason": finding.reason,
        "consequence": finding.consequence,
        "early": finding.is_early,
    }


def render_plan(plan: MigrationPlan) -> list[str]:
    """Describe each step of a plan in one sentence, independent of any engine."""
    return [_describe_step(step) for step in plan.steps]


def _describe_step(step: MigrationStep) -> str:
    match step:
        case AddColumn():
            return f"Add {step.column.name}, {step.column.type.with_article}{_describe_fill(step)}."
        case HideColumn():
            return f"Hide {step.column.name}; its values stay stored."
        case ChangeType():
            return f"Widen {step.name} from {step.before} to {step.after}."
        case RenameColumn():
            return f"Rename {step.before} to {step.after}."
        case FillNulls():
            return f"Set {step.name} to {step.default} in every project without a value."


def _describe_fill(step: AddColumn) -> str:
    source = f", filled from {step.source_name}" if step.source_name else ""
    if step.default is None:
        return source
    return f"{source}, else {step.default}" if source else f", filled with {step.default}"
