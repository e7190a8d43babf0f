"""The loan contracts of the ACTUS test suite through stored facilities.

Each is drawn and fixed, and its schedule read again on every date of its events. Source:
https://github.com/actusfrf/actus-tests (CC BY-SA 4.0). The files are read where they lie and no
part of them is committed.
"""

from collections import Counter, defaultdict
from datetime import date

import pytest
from tests.application.facilities.actus_facilities import StoredContract, is_transferred
from tests.application.facilities.stored_projects import create_stored_facility
from tests.http.analysis.actus_contracts import Contract, read_contracts
from tests.http.analysis.test_actus import calculate_schedule
from tests.shared_material import find_shared

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import record_entry
from spawn.application.facilities.ledger_queries import compute_schedule, view_ledger
from spawn.domain.facilities.facility_timeline import build_timeline
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.facilities.repayment_schedule import build_repayment_schedule
from spawn.domain.finance.loans.loan_results import LoanSchedule
from spawn.domain.principal import LOCAL_PRINCIPAL

FOLDER = find_shared("actus")
CONTRACTS = read_contracts(FOLDER) if FOLDER is not None else []
STORABLE = [c for c in CONTRACTS if not c.reason_unsupported and not is_transferred(c)]
CAPITALISING = frozenset(
    {"pam18", "pam19", "lam22", "lam24", "nam19", "nam22", "ann14", "ann17", "ann21"}
)
"""Contracts that capitalise interest up to a date."""
needs_contracts = pytest.mark.skipif(
    FOLDER is None, reason="no ACTUS contracts beside the repository: facilities are not compared"
)


def sum_flows(
    contract: Contract, schedule: LoanSchedule, on: date
) -> dict[tuple[date, str], float]:
    """Return the cash flows through a day, but for the draw of a running loan."""
    flows: dict[tuple[date, str], float] = defaultdict(float)
    for event in schedule.events:
        assert event.date is not None
        is_taken_over = event.kind == "draw" and contract.is_running
        if event.cash_flow and event.date <= on and not is_taken_over:
            flows[event.date, event.kind] += event.cash_flow
    return dict(flows)


@needs_contracts
@pytest.mark.parametrize("contract", STORABLE, ids=[each.name for each in STORABLE])
async def test_a_stored_contract_has_its_published_events_on_every_date(
    dependencies: Dependencies, contract: Contract
) -> None:
    stored = StoredContract(contract, calculate_schedule)
    facility_id = await create_stored_facility(dependencies, stored.term_sheet)
    for facts in stored.facts:
        await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, FinanceContext())
    published, balances = contract.published(), contract.published_balances()
    days = [day for day in sorted(balances) if day >= contract.start]
    assert days
    for on in days:
        view = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id, on=on)
        schedule = compute_schedule(view)
        if contract.name in CAPITALISING:
            # Nothing records the capitalisation of the contract: the schedule of its start has it.
            schedule = build_repayment_schedule(view.facility, view.entries, contract.start)
        assert schedule is not None
        expected = {key: flow for key, flow in published.items() if key[0] <= on}
        assert sum_flows(contract, schedule, on) == pytest.approx(expected, rel=1e-9, abs=1e-8)
        calculated = {event.date: event.balance for event in schedule.events}
        if on in calculated:
            assert calculated[on] == pytest.approx(balances[on], rel=1e-9, abs=1e-8)


@needs_contracts
@pytest.mark.parametrize(
    "contract", [c for c in STORABLE if c.name in CAPITALISING], ids=lambda each: each.name
)
async def test_recorded_capitalisations_give_the_published_flows_to_the_cent(
    dependencies: Dependencies, contract: Contract
) -> None:
    stored = StoredContract(contract, calculate_schedule)
    facility_id = await create_stored_facility(dependencies, stored.term_sheet)
    for facts in stored.facts:
        await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, FinanceContext())
    view = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id, on=contract.start)
    days = sorted(build_timeline(view.facility).capitalising_dates)
    for day in days:
        view = await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id, on=day)
        interest = fold(view.facility, view.entries, day).accrued_interest
        facts = EntryFacts(kind=EntryKind.CAPITALISATION, value_date=day, amount=interest)
        if interest:
            await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, FinanceContext())
    last = max(contract.published_balances())
    entries = (await view_ledger(dependencies, LOCAL_PRINCIPAL, facility_id, on=last)).entries
    schedule = build_repayment_schedule(view.facility, entries, days[-1])
    assert schedule is not None
    assert sum_flows(contract, schedule, last) == pytest.approx(contract.published(), abs=0.02)


@needs_contracts
def test_the_number_of_contracts_that_facilities_state() -> None:
    counts = Counter(contract.name[:3] for contract in STORABLE)
    assert counts == {"pam": 22, "lam": 24, "nam": 19, "ann": 29}
