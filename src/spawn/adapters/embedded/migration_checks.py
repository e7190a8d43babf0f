"""Migration steps as text and failed proofs, for every embedded store."""

from collections.abc import Container, Iterable, Sequence
from itertools import islice

from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    MigrationStep,
    RenameColumn,
)
from spawn.domain.schemas.evolution.version_conversion import GovernedState, upgrade_state
from spawn.ports.schemas import MAX_SAMPLE_IDS, ProofViolation


def changed_columns(plan: MigrationPlan) -> tuple[str, ...]:
    """Return the columns that a plan changes, by their resulting names, each once."""
    return tuple(dict.fromkeys(resulting_name(step) for step in plan.steps))


def resulting_name(step: MigrationStep) -> str:
    """Return the name of the column after the step."""
    if isinstance(step, AddColumn | HideColumn):
        return step.column.name
    return step.after if isinstance(step, RenameColumn) else step.name


def promoted_field(step: MigrationStep, columns: Container[str]) -> str | None:
    """Return the field of documents whose values fill the new column, if any.

    It is an extension, or a retired column that is no longer among the `columns` of the table.
    """
    if isinstance(step, AddColumn) and step.source_name not in columns:
        return step.source_name
    return None


def describe_step(step: MigrationStep) -> str:
    """Describe a step as a sentence."""
    name = resulting_name(step)
    if isinstance(step, AddColumn):
        default = "" if step.default is None else f", default {step.default}"
        return f"Add column {name} {step.column.type}{default}"
    if isinstance(step, HideColumn):
        return f"Stop serving column {name}; its data are kept"
    if isinstance(step, ChangeType):
        return f"Change the type of {name} from {step.before} to {step.after}"
    if isinstance(step, RenameColumn):
        return f"Rename {step.before} to {step.after}"
    return f"Fill missing values of {name} with {step.default}"


def count_filled(states: Sequence[GovernedState], plan: MigrationPlan) -> int:
    """Return the largest number of states that one step of the plan fills."""
    filled_columns = [resulting_name(s) for s in plan.steps if isinstance(s, AddColumn | FillNulls)]
    after = [upgrade_state(state, (plan,)).attributes for state in states] if filled_columns else []
    before = [state.attributes for state in states]
    return max(
        (
            sum(name in a and name not in b for b, a in zip(before, after, strict=True))
            for name in filled_columns
        ),
        default=0,
    )


class ViolationCollector:
    """Violations of proofs, with a bounded sample of ids of aggregates each."""

    def __init__(self, proofs: Sequence[Proof]) -> None:
        self.proofs = proofs
        self._by_proof: dict[int, tuple[int, list[str], str]] = {}

    def add(self, number: int, aggregates: int, ids: Iterable[str], detail: str) -> None:
        """Record that so many aggregates violate the proof of that number."""
        count, sample, first_detail = self._by_proof.get(number, (0, [], detail))
        sample += islice(ids, MAX_SAMPLE_IDS - len(sample))
        self._by_proof[number] = (count + aggregates, sample, first_detail)

    def failures(self) -> tuple[ProofViolation, ...]:
        """Return the violations of all violated proofs, in the order of the proofs."""
        return tuple(
            ProofViolation(
                proof=self.proofs[n], row_count=count, sample_ids=tuple(ids), detail=detail
            )
            for n, (count, ids, detail) in sorted(self._by_proof.items())
        )
