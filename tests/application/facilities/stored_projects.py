"""Projects, facilities and entries in a store, for tests."""

from datetime import date
from decimal import Decimal
from typing import Any

from tests.domain.facilities.facility_terms import a_term_sheet

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, create_facility
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.projects.commands import create_project
from spawn.domain.facilities.facility import FacilityTermSheet
from spawn.domain.facilities.ledger import EntryFacts, EntryKind, RecordedEntry
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal
from spawn.domain.schemas.validator import ProjectInput


async def create_stored_project(dependencies: Dependencies, **core: Any) -> str:
    """Create a project and return its id."""
    core = {"project_name": "Sierra", "total_amount": Decimal(1), **core}
    attributes = ProjectInput(core=core, governed={}, extensions={})
    result = await create_project(dependencies, LOCAL_PRINCIPAL, attributes=attributes)
    assert result.aggregate is not None
    return result.aggregate.id


async def create_stored_facility(
    dependencies: Dependencies, terms: FacilityTermSheet | None = None, project_id: str = ""
) -> str:
    """Create a facility, by default in a project of its own, and return its id."""
    project_id = project_id or await create_stored_project(dependencies)
    result = await create_facility(
        dependencies, LOCAL_PRINCIPAL, project_id, terms or a_term_sheet(), FinanceContext()
    )
    assert result.aggregate is not None
    return result.aggregate.id


async def record(
    dependencies: Dependencies,
    facility_id: str,
    kind: EntryKind,
    value_date: date,
    amount: str | None = None,
    *,
    principal: Principal = LOCAL_PRINCIPAL,
    context: FinanceContext | None = None,
    **members: Any,
) -> RecordedEntry:
    """Record a fact."""
    facts = EntryFacts(
        kind=kind,
        value_date=value_date,
        amount=None if amount is None else Decimal(amount),
        **members,
    )
    result = await record_entry(
        dependencies, principal, facility_id, facts, context or FinanceContext()
    )
    assert result.stored_entry is not None
    return result.stored_entry
