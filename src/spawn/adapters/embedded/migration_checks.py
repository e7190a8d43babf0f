"""What migrations of every embedded store have in common: their steps in words, failed proofs."""

from collections.abc import Iterable, Sequence
from itertools import islice

from spawn.domain.projects.project import Project
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    RenameColumn,
    Step,
)
from spawn.domain.schemas.evolution.version_conversion import upgrade
from spawn.ports.schemas import SAMPLE, Failure


def columns_of(plan: MigrationPlan) -> tuple[str, ...]:
    """The columns that a plan touches, by the names they have after it, each once."""
    return tuple(dict.fromkeys(name_after(step) for step in plan.steps))


def name_after(step: Step) -> str:
    """The name that the step's column has after it."""
    if isinstance(step, AddColumn | HideColumn):
        return step.column.name
    return step.after if isinstance(step, RenameColumn) else step.name


def promotion(step: Step) -> str | None:
    """The extension whose values become those of the step's column, if it may promote one."""
    if isinstance(step, AddColumn) and (step.promotes or "").startswith(EXTENSION_PREFIX):
        return step.promotes
    return None


def in_words(step: Step) -> str:
    """A step as a sentence."""
    name = name_after(step)
    if isinstance(step, AddColumn):
        given = "" if step.default is None else f", {step.default} where there is no value"
        return f"{name} {step.column.type} is added{given}"
    if isinstance(step, HideColumn):
        return f"{name} is no longer served; its data stay"
    if isinstance(step, ChangeType):
        return f"{name} becomes {step.after} from {step.before}"
    if isinstance(step, RenameColumn):
        return f"{step.before} is called {step.after}"
    return f"{name} is {step.default} where there is no value"


def most_given(projects: Sequence[Project], plan: MigrationPlan) -> int:
    """How many of the projects get a value by the step that gives most."""
    names = [name_after(s) for s in plan.steps if isinstance(s, AddColumn | FillNulls)]
    after = [upgrade(project, (plan,)).attributes for project in projects] if names else []
    before = [project.attributes for project in projects]
    return max(
        (
            sum(name in a and name not in b for b, a in zip(before, after, strict=True))
            for name in names
        ),
        default=0,
    )


class Breaches:
    """What is found against proofs while the data are looked at, bounded by a sample each."""

    def __init__(self, proofs: Sequence[Proof]) -> None:
        self.proofs = proofs
        self._found: dict[int, tuple[int, list[str], str]] = {}

    def add(self, number: int, projects: int, ids: Iterable[str], detail: str) -> None:
        """So many projects, these among them, break the proof of that number."""
        count, sample, said = self._found.get(number, (0, [], detail))
        sample += islice(ids, SAMPLE - len(sample))
        self._found[number] = (count + projects, sample, said)

    def failures(self) -> tuple[Failure, ...]:
        """The proofs that are broken, in their order."""
        return tuple(
            Failure(proof=self.proofs[n], projects=count, sample=tuple(ids), detail=detail)
            for n, (count, ids, detail) in sorted(self._found.items())
        )
