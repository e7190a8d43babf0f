"""Check of a schema document against earlier documents, without a store."""

from collections.abc import Sequence
from datetime import date

import msgspec

from spawn.domain.schema_version import Schema
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.domain.schemas.evolution.compatibility import AdoptionJudgement, CompatibilityMode
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration


class DocumentCheck(msgspec.Struct, frozen=True, kw_only=True):
    """Result of a check; proofs on stored data remain open.

    `violations` are the reasons against the adoption, those of the judgement first.
    """

    judgement: AdoptionJudgement
    plan: MigrationPlan
    violations: tuple[str, ...]

    @property
    def is_adoptable(self) -> bool:
        """Whether the document would be adopted if the stored data prove it."""
        return self.judgement.is_adoptable and self.violations == self.judgement.violations


def check_document(
    candidate: Schema, versions: Sequence[Schema], mode: CompatibilityMode, on_date: date
) -> DocumentCheck:
    """Compare a schema with its predecessors, oldest first, of which the last is active."""
    history: list[Schema] = []
    for schema in versions:
        history.append(carry_retired_columns(history[-1], schema) if history else schema)
    *earlier, active = history
    judgement = judge_adoption(candidate, active, earlier, mode, on_date)
    return DocumentCheck(
        judgement=judgement,
        plan=plan_migration(active, candidate),
        violations=(*judgement.violations, *_check_version_order(candidate, active)),
    )


def _check_version_order(candidate: Schema, active: Schema) -> list[str]:
    if candidate.version > active.version or candidate.fingerprint == active.fingerprint:
        return []
    return [f"Version {candidate.version} does not come after version {active.version}."]
