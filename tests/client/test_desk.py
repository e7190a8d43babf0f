"""Portfolios, cases, covenants and approvals by both clients, against a real service."""

import json
from collections.abc import Iterator
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from tests.client.conftest import Build
from tests.http.conftest import WIND, Service
from tests.http.covenants.conftest import case_body, period
from tests.http.facilities.ledger_client import TERMS

from spawn.client import (
    ApprovalPending,
    ConflictProblem,
    ForbiddenProblem,
    InvalidInputProblem,
    PortfolioRecord,
    ProjectFacilityRecord,
    StaleVersionProblem,
)

DRAW = {"kind": "draw", "value_date": "2020-04-15", "amount": Decimal("250000.10")}
COVENANT = {
    "name": "Senior DSCR",
    "metric": "DSCR",
    "test_dates": [date(2027, 6, 30), "2027-12-31"],
    "lockup_level": Decimal("1.10"),
    "default_level": Decimal("1.05"),
}


@pytest.fixture
def client(build: Build, service: Service) -> Any:
    return build(service.url)


@pytest.fixture
def facility(client: Any) -> ProjectFacilityRecord:
    project = client.create_project(WIND)
    record: ProjectFacilityRecord = client.create_facility(project.project_id, TERMS)
    return record


@pytest.fixture
def portfolio(client: Any) -> PortfolioRecord:
    record: PortfolioRecord = client.create_portfolio(
        {
            "name": "Debt",
            "currency_code": "EUR",
            "fx_source": "ecb",
            "limits": [{"by": "country", "max_share": Decimal("60.5")}],
        }
    )
    return record


def test_an_entry_is_read_by_its_number(client: Any, facility: ProjectFacilityRecord) -> None:
    draw = client.add_entry(facility.facility_id, DRAW)
    assert client.get_entry(facility.facility_id, 1) == draw
    with pytest.raises(ValueError, match="format"):
        client.get_entry(facility.facility_id, "1/../../x")


def test_a_command_that_is_sent_again_with_its_key_has_the_first_result(
    client: Any, facility: ProjectFacilityRecord, portfolio: PortfolioRecord
) -> None:
    key = uuid4().hex
    amended = client.amend_facility(facility, {"name": "Loan B"}, key=key)
    assert client.amend_facility(facility, {"name": "Loan B"}, key=key) == amended
    with pytest.raises(InvalidInputProblem) as mismatch:
        client.amend_facility(facility, {"name": "Loan C"}, key=key)
    assert mismatch.value.code == "idempotency_key_reused"
    project = client.get_project(facility.project_id)
    key = uuid4().hex
    updated = client.update_project(project, {"sector": "solar"}, key=key)
    assert client.update_project(project, {"sector": "solar"}, key=key) == updated
    key = uuid4().hex
    named = client.amend_portfolio(portfolio, {"name": "Senior"}, key=key)
    assert client.amend_portfolio(portfolio, {"name": "Senior"}, key=key) == named


def test_a_resolved_amendment_is_sent_again_with_its_key(
    client: Any, facility: ProjectFacilityRecord
) -> None:
    client.amend_facility(facility, {"name": "Loan B"})
    key = uuid4().hex
    resolved = [
        client.amend_facility(facility, {"rank": 2}, resolve=lambda _: {"rank": 3}, key=key)
        for _ in range(2)
    ]
    assert resolved[0] == resolved[1]
    assert (resolved[0].version, resolved[0].rank) == (3, 3)


def test_a_portfolio_and_its_holdings_are_created_changed_and_removed(
    client: Any, facility: ProjectFacilityRecord, portfolio: PortfolioRecord
) -> None:
    assert portfolio.limits[0].max_share == Decimal("60.5")
    assert client.get_portfolio(portfolio.portfolio_id) == portfolio
    amended = client.amend_portfolio(portfolio, {"limits": []})
    assert (amended.version, amended.limits) == (2, ())
    with pytest.raises(StaleVersionProblem):
        client.amend_portfolio(portfolio, {"name": "Other"})
    terms = {"facility_id": facility.facility_id, "share": "1/3", "since": date(2020, 3, 31)}
    holding = client.add_holding(portfolio.portfolio_id, terms)
    assert (holding.share, holding.since, holding.until) == ("1/3", date(2020, 3, 31), None)
    (listed,) = client.iterate_holdings(portfolio.portfolio_id)
    sold = client.amend_holding(listed, {"share": Decimal("12.5"), "until": "2021-01-01"})
    assert (sold.share, sold.until) == ("12.5", date(2021, 1, 1))
    assert client.get_holding(portfolio.portfolio_id, holding.holding_id) == sold
    with pytest.raises(StaleVersionProblem):
        client.remove_holding(holding)
    assert not client.remove_holding(sold).is_active
    client.add_holding(portfolio.portfolio_id, {**terms, "share": "100"})
    with pytest.raises(ConflictProblem):
        client.add_holding(portfolio.portfolio_id, {**terms, "share": "0.01"})


def test_concentration_and_exchange_rates(
    client: Any, facility: ProjectFacilityRecord, portfolio: PortfolioRecord
) -> None:
    holding = {"facility_id": facility.facility_id, "share": "50", "since": "2020-03-31"}
    client.add_holding(portfolio.portfolio_id, holding)
    client.add_entry(facility.facility_id, DRAW)
    report = client.get_concentration(
        portfolio.portfolio_id, ["country", "kind"], on="2020-04-30", top=1
    )
    assert [one.by for one in report.concentration] == ["country", "kind"]
    assert report.concentration[1].hhi == 10000
    source = f"s{uuid4().hex[:12]}"
    rates = {
        "on": date(2026, 11, 27),
        "source": source,
        "base_currency": "EUR",
        "rates": {"USD": Decimal("1.0573"), "GBP": "0.8312"},
    }
    first = client.publish_fx_rates(rates)
    assert (first.revision, first.rates["USD"]) == (1, Decimal("1.0573"))
    assert client.publish_fx_rates(rates) == first
    correction = {"revision": 1, "reason": "published again"}
    second = client.publish_fx_rates(
        {**rates, "rates": {"USD": "1.0574", "GBP": "0.8312"}, "correction": correction}
    )
    assert second.revision == 2
    assert client.get_fx_rate_set(first.set_id, revision=1) == first
    assert list(client.iterate_fx_rate_sets(source=source)) == [second]
    converted = client.convert_amount(
        Decimal("1000.00"), "USD", "GBP", source=source, on="2026-11-30"
    )
    assert (converted.converted_amount, converted.fx.revision) == (Decimal("786.08"), 2)


def test_a_portfolio_is_stressed(client: Any, portfolio: PortfolioRecord) -> None:
    project_id = client.create_project(WIND).project_id
    dates = {"start": "2026-12-31", "end": "2030-12-31", "frequency": "annual"}
    availability = {"availability_start": "2026-12-31", "availability_end": "2027-06-30"}
    facility = client.create_facility(
        project_id,
        {**TERMS, **availability, "payment_dates": dates, "repayment": {"profile": "annuity"}},
    )
    draw = {"kind": "draw", "value_date": "2026-12-31", "amount": "1000000"}
    client.add_entry(facility.facility_id, draw)
    years = [
        {"starts_on": f"{year}-01-01", "ends_on": f"{year}-12-31", "cfads": "300000"}
        for year in range(2027, 2031)
    ]
    client.create_case(project_id, case_body(periods=years, opening_debt=None, equity=None))
    holding = {"facility_id": facility.facility_id, "share": "50", "since": "2026-12-31"}
    client.add_holding(portfolio.portfolio_id, holding)
    terms = {
        "scenarios": 200,
        "seed": 7,
        "shocks": {"cfads": {"distribution": "lognormal", "median": 1, "sigma": 0.2}},
    }
    first = client.stress_portfolio(portfolio.portfolio_id, terms, on="2026-12-31")
    assert (first.scenarios, [one.periods for one in first.projects]) == (200, [4])
    assert first.total.base_min_dscr == pytest.approx(1.09, abs=0.01)
    assert first.total.shortfall.mean > first.total.base_shortfall == 0
    again = client.stress_portfolio(
        portfolio.portfolio_id, terms, on="2026-12-31", as_of=first.as_of
    )
    assert again == first


def test_cases_are_created_revised_compared_and_set_beside_actuals(client: Any) -> None:
    project_id = client.create_project(WIND).project_id
    base = client.create_case(project_id, case_body(opening_debt=Decimal("320.10")))
    assert (base.opening_debt, base.periods[0].cfads) == (Decimal("320.10"), 30)
    low = client.create_case(
        project_id,
        case_body(name="Low", kind="DOWNSIDE", periods=[period(0, "25"), period(1, "60")]),
    )
    assert [one.name for one in client.iterate_cases(project_id, limit=1)] == ["Wind base", "Low"]
    compared = client.compare_cases([base.case_id, {"case_id": low.case_id, "version": 1}])
    assert compared.periods[0].cases[1].cfads_difference == -5
    revised = client.revise_case(low, {"name": "Lower"})
    assert (revised.name, revised.version) == ("Lower", 2)
    assert client.get_case(low.case_id, version=1).name == "Low"
    paid = client.record_actuals(
        project_id, {"currency_code": "EUR", "periods": [period(0, "31.5")]}
    )
    assert paid.recorded_periods[0].cfads == Decimal("31.5")
    assert client.get_actuals(project_id).periods == paid.recorded_periods
    variance = client.get_case_variance(base.case_id)
    assert variance.periods[0].cfads_difference == Decimal("1.5")


def test_a_covenant_is_tested_waived_and_certified(client: Any) -> None:
    project_id = client.create_project(WIND).project_id
    case = client.create_case(project_id, case_body())
    covenant = client.create_covenant(project_id, COVENANT)
    assert (covenant.lockup_level, covenant.test_dates[0]) == (Decimal("1.10"), date(2027, 6, 30))
    test = client.test_covenant(
        covenant.covenant_id,
        {"tested_on": date(2027, 6, 30), "figures": "CASE", "case_id": case.case_id},
    )
    assert (test.ratio, test.outcome) == ("3/4", "DEFAULT")
    found = client.get_covenant_test(test.test_id)
    assert found == test
    (listed,) = client.iterate_covenant_tests(project_id, covenant_id=covenant.covenant_id)
    assert listed.test_id == test.test_id
    with pytest.raises(StaleVersionProblem):
        client.amend_covenant(covenant, {"name": "DSCR"})
    current = client.get_covenant(covenant.covenant_id)
    waiver = {
        "starts_on": "2027-06-30",
        "ends_on": "2027-12-31",
        "reason": "first months",
        "granted_by": "Agent",
    }
    waived = client.waive_covenant(current, waiver)
    assert [one.granted_by for one in waived.waivers] == ["Agent"]
    assert client.amend_covenant(waived, {"name": "DSCR"}).name == "DSCR"
    assert [one.name for one in client.iterate_covenants(project_id)] == ["DSCR"]
    state = client.get_covenant_state(covenant.covenant_id, on="2027-07-01")
    assert (state.newest_test, state.next_test_on) == (
        client.get_covenant_state(covenant.covenant_id, on="2027-07-02").newest_test,
        date(2027, 12, 31),
    )
    outlook = client.get_covenant_headroom(covenant.covenant_id, case.case_id)
    assert outlook.dates[-1].printed_ratio == "1.750000"
    certificate = client.get_certificate(project_id, "2027-06-30")
    assert certificate.covenants[0].test.ratio == "3/4"
    assert not certificate.in_default


def test_reserve_accounts_and_milestones(client: Any) -> None:
    project = client.create_project(WIND)
    account = client.open_reserve_account(
        project.project_id,
        {"name": "DSRA", "kind": "DSRA", "currency_code": "EUR", "target_amount": Decimal(400)},
    )
    client.record_reserve_balance(
        account.account_id, {"value_date": "2027-06-30", "amount": Decimal("395.00")}
    )
    on_day = client.get_reserve_account(account.account_id, on="2027-07-01")
    assert (on_day.shortfall, on_day.account.target_amount) == (5, 400)
    assert [one.name for one in client.iterate_reserve_accounts(project.project_id)] == ["DSRA"]
    milestone = {"milestone_id": "cp-1", "title": "Permit", "draw_stop": True}
    added = client.add_milestone(project, milestone)
    assert client.get_milestones(project.project_id).draw_stops == ("cp-1",)
    decision = {"milestone_id": "cp-1", "decision": "MET", "on": "2026-01-31"}
    with pytest.raises(StaleVersionProblem):
        client.decide_milestone(project, decision)
    client.decide_milestone(added, decision)
    assert client.get_milestones(project.project_id).draw_stops == ()


def test_a_dry_run_shows_a_change_and_writes_nothing(
    client: Any, facility: ProjectFacilityRecord, portfolio: PortfolioRecord
) -> None:
    tried = client.try_command(client.add_entry, facility.facility_id, DRAW)
    assert (tried.is_dry_run, tried.needs_approval) == (True, False)
    amounts = [one.after for one in tried.changes if one.pointer.endswith("/amount")]
    assert amounts == ["250000.10"]
    assert list(client.iterate_entries(facility.facility_id)) == []
    (listed,) = client.iterate_facilities(facility.project_id)
    amended = client.try_command(client.amend_facility, listed, {"name": "Loan B"}, key="a" * 20)
    assert [(one.pointer, one.before, one.after) for one in amended.changes] == [
        ("/name", "Term loan", "Loan B")
    ]
    assert client.get_facility(facility.facility_id).version == 1
    client.try_command(client.create_portfolio, {"name": "Other", "currency_code": "EUR"})
    project = client.get_project(facility.project_id)
    for command, *arguments in (
        (client.update_project, project, {"sector": "solar"}),
        (client.create_case, project.project_id, case_body()),
        (client.amend_portfolio, portfolio, {"name": "Senior"}),
    ):
        assert client.try_command(command, *arguments).changes
    with pytest.raises(InvalidInputProblem):
        client.try_command(client.add_entry, facility.facility_id, {**DRAW, "amount": "9e9"})
    client.amend_facility(facility, {"name": "Loan C"})
    with pytest.raises(StaleVersionProblem):
        client.try_command(client.amend_facility, facility, {"name": "Loan B"})


def test_only_a_command_has_a_dry_run(client: Any, facility: ProjectFacilityRecord) -> None:
    for method, *arguments in (
        (client.get_facility, facility.facility_id),
        (client.calculate, "debt-sizing", {}),
        (client.put_mapping, "plants", {"columns": []}),
        (client.import_file, b"a\n1\n", None),
        (len, ""),
    ):
        with pytest.raises((ValueError, AttributeError)):
            client.try_command(method, *arguments)
    tried = client.try_command(client.create_covenant, facility.project_id, COVENANT)
    assert tried.is_dry_run
    assert list(client.iterate_covenants(facility.project_id)) == []


@pytest.fixture
def guarded_service(tmp_path: Path) -> Iterator[Service]:
    file = tmp_path / "approvals.json"
    file.write_text(json.dumps({"rules": [{"command": "recordEntry", "amount_from": "100000"}]}))
    service = Service(auth="keys", approvals_file=str(file)).start()
    yield service
    service.stop()


def create_key(service: Service, name: str, *scopes: str) -> str:
    response = httpx.post(
        f"{service.url}/v1/admin/clients",
        json={"name": name, "scopes": scopes},
        headers={"Authorization": f"Bearer {service.key}"},
    )
    return str(response.json()["key"])


def test_another_person_decides_about_a_draw(build: Build, guarded_service: Service) -> None:
    url, scopes = guarded_service.url, ("projects:read", "projects:write", "finance:read")
    maker = build(url, token=create_key(guarded_service, "maker", *scopes, "finance:write"))
    checker = build(
        url, token=create_key(guarded_service, "checker", *scopes[::2], "approvals:decide")
    )
    project = maker.create_project(WIND)
    facility_id = maker.create_facility(project.project_id, TERMS).facility_id
    assert maker.try_command(maker.add_entry, facility_id, DRAW).needs_approval
    approval_ids = []
    for _ in range(2):
        with pytest.raises(ApprovalPending) as pending:
            maker.add_entry(facility_id, DRAW)
        approval_ids.append(pending.value.approval_id)
    assert [one.approval_id for one in checker.iterate_approvals(state="pending")] == (
        approval_ids[::-1]
    )
    waiting = checker.get_approval(approval_ids[0])
    assert (waiting.maker, waiting.command, waiting.body["amount"]) == (
        "key:maker",
        "recordEntry",
        250000.1,
    )
    with pytest.raises(ForbiddenProblem):
        maker.decide_approval(approval_ids[0], "approve", "mine")
    assert checker.decide_approval(approval_ids[0], "approve", "agreed").state == "approved"
    assert maker.decide_approval(approval_ids[1], "withdraw", "sent twice").state == "withdrawn"
    assert maker.get_balance(facility_id, "2020-04-30").drawn == Decimal("250000.10")
