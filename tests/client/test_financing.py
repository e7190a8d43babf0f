"""Facilities, ledgers and portfolios by both clients, against a real service."""

from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Any, get_args, get_type_hints
from uuid import uuid4

import httpx
import pytest
from tests.client.conftest import Build, answering
from tests.http.conftest import WIND, Service
from tests.http.facilities.ledger_client import TERMS

from spawn.client import (
    ApprovalPending,
    ConflictProblem,
    InvalidInputProblem,
    NotFoundProblem,
    ProjectFacilityRecord,
    StaleVersionProblem,
)
from spawn.client.financing import (
    approvals,
    cases,
    covenants,
    exchange_rates,
    facilities,
    portfolios,
    stress,
)
from spawn.client.financing.financing_records import ClientRecord

MODULES = (approvals, cases, covenants, exchange_rates, facilities, portfolios, stress)
DRAW = {"kind": "draw", "value_date": "2020-04-15", "amount": Decimal("250000.10")}


@pytest.fixture
def client(build: Build, service: Service) -> Any:
    return build(service.url)


@pytest.fixture
def facility(client: Any) -> ProjectFacilityRecord:
    project = client.create_project(WIND)
    terms = {**TERMS, "commitment": Decimal("1000000.10")}
    record: ProjectFacilityRecord = client.create_facility(project.project_id, terms)
    return record


def test_a_facility_is_created_read_amended_and_listed(client: Any) -> None:
    project_id = client.create_project(WIND).project_id
    terms = {**TERMS, "commitment": Decimal("1000000.10"), "availability_start": date(2020, 3, 31)}
    key = uuid4().hex
    facility = client.create_facility(project_id, terms, key=key)
    assert (facility.version, facility.commitment) == (1, Decimal("1000000.10"))
    assert facility.availability_start == date(2020, 3, 31)
    assert [(one.lender, one.share) for one in facility.lenders] == [("First", 60), ("Second", 40)]
    assert facility["rate"]["fixed_rate"] == "0.04"
    assert client.create_facility(project_id, terms, key=key) == facility
    assert client.get_facility(facility.facility_id) == facility
    amended = client.amend_facility(facility, {"commitment": "2000000"})
    assert (amended.version, amended.commitment) == (2, 2000000)
    other = client.create_facility(project_id, {**terms, "name": "Second loan"})
    found = list(client.iterate_facilities(project_id, limit=1))
    assert [one.facility_id for one in found] == [facility.facility_id, other.facility_id]
    as_created = client.get_facility(facility.facility_id, as_of=facility.updated_at)
    assert as_created.commitment == facility.commitment


def test_a_stale_amendment_is_resolved_by_the_callers_function_only(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    client.amend_facility(facility, {"name": "Loan B"})
    with pytest.raises(StaleVersionProblem):
        client.amend_facility(facility, {"rank": 2})
    resolved = client.amend_facility(
        facility, {"rank": 2}, resolve=lambda current: {"name": f"{current.name}, senior"}
    )
    assert (resolved.version, resolved.name, resolved.rank) == (3, "Loan B, senior", facility.rank)
    (listed,) = client.iterate_facilities(facility.project_id)
    client.amend_facility(listed, {"rank": 2})
    with pytest.raises(StaleVersionProblem):
        client.amend_facility(listed, {"rank": 3})


def test_an_entry_is_recorded_once_and_reversed_once(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    facility_id, key = facility.facility_id, uuid4().hex
    draw = client.add_entry(facility_id, DRAW, key=key)
    assert (draw.number, draw.amount) == (1, Decimal("250000.10"))
    assert client.add_entry(facility_id, DRAW, key=key) == draw
    reversal = client.reverse_entry(draw, {"reason": "mistaken", "evidence": "mail"})
    assert (reversal.reverses, reversal.amount, reversal.evidence) == (1, -draw.amount, "mail")
    with pytest.raises((ConflictProblem, InvalidInputProblem)):
        client.reverse_entry(draw, {"reason": "again"})
    entries = list(client.iterate_entries(facility_id, limit=1))
    assert [one.number for one in entries] == [1, 2]
    assert [one.number for one in client.iterate_entries(facility_id, {"kind": "draw"})] == [1]


def test_an_entry_is_recorded_only_in_the_state_that_it_is_based_on(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    facility_id = facility.facility_id
    empty = client.get_balance(facility_id, "2020-04-30")
    draw = client.add_entry(facility_id, DRAW, based_on=empty)
    with pytest.raises(StaleVersionProblem):
        client.add_entry(facility_id, DRAW, based_on=empty)
    second = client.add_entry(facility_id, DRAW, based_on=draw)
    first_listed, last_listed = client.iterate_entries(facility_id)
    with pytest.raises(StaleVersionProblem):
        client.add_entry(facility_id, DRAW, based_on=first_listed)
    with pytest.raises(StaleVersionProblem):
        client.reverse_entry(second, {"reason": "mistaken"}, based_on=draw)
    assert client.add_entry(facility_id, DRAW, based_on=last_listed).number == 3
    other = client.create_facility(facility.project_id, {**TERMS, "name": "Other"})
    with pytest.raises(ValueError, match="based_on"):
        client.add_entry(other.facility_id, DRAW, based_on=second)
    assert list(client.iterate_entries(other.facility_id)) == []


def test_figures_follow_the_value_date_and_what_was_known(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    facility_id = facility.facility_id
    draw = client.add_entry(facility_id, DRAW)
    client.add_entry(facility_id, {**DRAW, "value_date": date(2020, 5, 1), "amount": "100.00"})
    assert client.get_balance(facility_id, "2020-04-14").drawn == 0
    balance = client.get_balance(facility_id, date(2020, 5, 1))
    assert (balance.drawn, balance.on) == (Decimal("250100.10"), date(2020, 5, 1))
    assert balance.undrawn == Decimal("749900.00")
    known = client.get_balance(facility_id, "2020-05-01", as_of=draw.recorded_at)
    assert known.drawn == Decimal("250000.10")
    statement = client.get_statement(facility_id, "2020-04-16", "2020-05-31")
    assert (statement.opening_balance, statement.closing_balance) == (
        Decimal("250000.10"),
        Decimal("250100.10"),
    )
    assert [(line.kind, line.amount) for line in statement.lines] == [("draw", 100)]
    schedule = client.get_schedule(facility_id, "2020-05-01")
    assert sum(row.principal for row in schedule.rows) == Decimal("250100.10")
    assert schedule.rows[-1].closing_balance == 0


def test_a_problem_of_an_entry_names_its_field(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    with pytest.raises(InvalidInputProblem) as invalid:
        client.add_entry(facility.facility_id, {"kind": "draw", "amount": "1"})
    assert [error.pointer for error in invalid.value.errors] == ["/value_date"]
    with pytest.raises(NotFoundProblem):
        client.get_balance(str(uuid4()))
    with pytest.raises(ValueError, match="empty"):
        client.get_statement("", "2020-01-01")


def test_a_command_that_waits_for_an_approval_is_an_exception(build: Build) -> None:
    transport, _ = answering(httpx.Response(202, json={"approval_id": "a-1"}))
    client = build(transport=transport)
    calls: list[Callable[[], Any]] = [
        lambda: client.create_project(WIND),
        lambda: client.create_facility("p", TERMS),
        lambda: client.add_entry("f", DRAW),
    ]
    for send in calls:
        with pytest.raises(ApprovalPending, match="a-1") as pending:
            send()
        assert pending.value.approval_id == "a-1"


def create_portfolio(service: Service, facility: ProjectFacilityRecord) -> str:
    """Return the id of a portfolio that holds half of a facility."""
    with service.client() as http:
        body: dict[str, Any] = {"name": "Debt", "currency_code": "EUR"}
        body["limits"] = [{"by": "name", "max_share": "60"}]
        portfolio_id: str = http.post("/v1/ops/portfolios", json=body).json()["portfolio_id"]
        holding = {"facility_id": facility.facility_id, "share": "50", "since": "2020-03-31"}
        added = http.post(f"/v1/ops/portfolios/{portfolio_id}/holdings", json=holding)
        assert added.status_code == 201, added.text
    return portfolio_id


def test_a_portfolio_is_read_with_its_reports(
    client: Any, service: Service, facility: ProjectFacilityRecord
) -> None:
    client.add_entry(facility.facility_id, DRAW)
    portfolio_id = create_portfolio(service, facility)
    portfolio = client.get_portfolio(portfolio_id)
    assert (portfolio.name, portfolio.limits[0].max_share) == ("Debt", 60)
    assert portfolio.etag
    assert portfolio_id in [one.portfolio_id for one in client.iterate_portfolios(limit=1)]
    exposure = client.get_exposure(portfolio_id, ["country", "kind"], on="2020-04-30")
    assert exposure.by == ("country", "kind")
    assert exposure.total.outstanding == Decimal("125000.05")
    assert [group.level for group in exposure.groups] == [1, 2]
    assert exposure.groups[1].keys["kind"] == "senior"
    assert exposure.limits[0].is_breached
    assert client.get_exposure(portfolio_id, "sector", on="2020-04-30").by == ("sector",)
    forecast = client.get_forecast(portfolio_id, "quarter", by="country", on="2020-04-30")
    assert (forecast.interval, forecast.by, forecast.outstanding) == (
        "quarter",
        "country",
        Decimal("125000.05"),
    )
    ladder = client.get_maturity_ladder(portfolio_id, on="2020-04-30")
    assert sum(step.amortisation for step in ladder) == Decimal("125000.05")
    assert (ladder[0].start, ladder[-1].outstanding) == (date(2020, 1, 1), 0)
    with pytest.raises(InvalidInputProblem):
        client.get_exposure(portfolio_id, "colour")


def test_the_types_of_financing_are_those_of_the_api(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    for name, schema_name in (
        ("Facility", "FacilityInput"),
        ("EntryFacts", "EntryFactsInput"),
        ("ReversalRequest", "ReversalRequest"),
        *((name, f"{name}Input") for name in ("LenderShare", "DatedMargin", "RateBasis")),
        *((name, f"{name}Input") for name in ("FacilityFees", "BusinessCalendar")),
        *((name, f"{name}Input") for name in ("PaymentDateTerms", "FacilityRepayment")),
        *((name, name) for name in ("Limit", "Correction", "CaseReference")),
        *((name, f"{name}Request") for name in ("Portfolio", "Holding", "FxRateSet")),
        *((name, f"{name}Request") for name in ("Actuals", "CovenantTest", "Waiver")),
        *((name, f"{name}Request") for name in ("Milestone", "MilestoneDecision")),
        *((name, f"{name}TermsInput") for name in ("Case", "ReserveAccount")),
        *((name, f"{name}Input") for name in ("CashPeriod", "CureRights", "ReserveBalance")),
        *((name, f"{name}Input") for name in ("Loadings", "Shock", "StressShocks", "StressTerms")),
        ("ActualFact", "ActualFact"),
        ("Covenant", "CovenantTermSheetInput"),
    ):
        declared, schema = find_document(f"{name}Document"), schemas[schema_name]
        hints = get_type_hints(declared)
        assert hints.keys() == schema["properties"].keys(), name
        assert declared.__required_keys__ == set(schema.get("required", ())), name
        for member, part in schema["properties"].items():
            values = find_enumeration(part, schemas)
            if values:
                assert find_literals(hints[member]) == values, f"{name}.{member}"


def find_document(name: str) -> Any:
    """Return a type of what is sent, of the module that has it."""
    (found,) = {vars(module)[name] for module in MODULES if name in vars(module)}
    return found


def find_enumeration(part: dict[str, Any], schemas: dict[str, Any]) -> set[str]:
    """Return the values of an enumeration, without null."""
    if "$ref" in part:
        part = schemas[part["$ref"].rpartition("/")[2]]
    nested = [find_enumeration(one, schemas) for one in part.get("anyOf", ())]
    return set().union(part.get("enum", ()), *nested) - {None}


def find_literals(hint: Any) -> set[str]:
    """Return the texts of the literals of a type."""
    parts = [{part} if isinstance(part, str) else find_literals(part) for part in get_args(hint)]
    return set().union(*parts)


def test_the_records_of_financing_have_the_members_of_the_api(service: Service) -> None:
    schemas = httpx.get(f"{service.url}/openapi.json", timeout=60).json()["components"]["schemas"]
    names = {"LedgerEntryRecord": "Entry", "MaturityStep": ""}
    checked = set()
    for module in MODULES:
        for name, record in vars(module).items():
            if not (isinstance(record, type) and issubclass(record, ClientRecord)):
                continue
            schema_name = names.get(name, name.removesuffix("Record"))
            if schema_name in schemas and name != "ClientRecord":
                members = set(record.__struct_fields__) - {"etag"}
                assert members == set(schemas[schema_name]["properties"]), name
                checked.add(name)
    assert len(checked) == 70
    governed = schemas["Facility"]["properties"].keys()
    assert set(ProjectFacilityRecord.__struct_fields__) - {"document", "etag"} <= set(governed)
