"""Reports of a portfolio: what it held on a day, as it was known, the same at any later time."""

from datetime import date, timedelta
from decimal import Decimal

import msgspec
import pytest
from tests.application.portfolios.books import a_facility, a_holding, a_portfolio, a_project

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext
from spawn.application.facilities.ledger_commands import record_entry, reverse_entry
from spawn.application.portfolios.exposure_reports import (
    ExposureReport,
    ReportQuery,
    report_exposure,
)
from spawn.application.portfolios.fx_rate_sets import Correction, RateSetInput, publish_rate_set
from spawn.application.portfolios.portfolio_commands import amend_portfolio
from spawn.domain.errors import Forbidden, InvalidInput, NotFound
from spawn.domain.facilities.facility import FacilityKind
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.portfolios.portfolio import ExposureKey, ExposureLimit
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, Scope

NO_CONTEXT = FinanceContext()
DRAWN_ON = date(2026, 6, 30)
LATER = date(2026, 9, 30)
COUNTRY = (ExposureKey.COUNTRY,)


async def draw(dependencies: Dependencies, facility_id: str, amount: str) -> int:
    facts = EntryFacts(kind=EntryKind.DRAW, value_date=DRAWN_ON, amount=Decimal(amount))
    result = await record_entry(dependencies, LOCAL_PRINCIPAL, facility_id, facts, NO_CONTEXT)
    assert result.stored_entry is not None
    return result.stored_entry.entry.number


async def report(
    dependencies: Dependencies,
    portfolio_id: str,
    keys: tuple[ExposureKey, ...] = COUNTRY,
    **query: object,
) -> ExposureReport:
    options = {"on": LATER, **query}
    return await report_exposure(
        dependencies,
        LOCAL_PRINCIPAL,
        portfolio_id,
        keys,
        ReportQuery(**options),  # type: ignore[arg-type]
    )


def amounts_of(one: ExposureReport) -> tuple[int, int]:
    return one.exposure.total.outstanding, one.exposure.total.undrawn


def groups_of(one: ExposureReport) -> dict[tuple[str | None, ...], int]:
    return {group.values: group.amounts.total for group in one.groups}


async def test_exposure_follows_the_ledger_the_day_and_the_instant(
    dependencies: Dependencies,
) -> None:
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    portfolio_id = await a_portfolio(dependencies)
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="1/3")
    undrawn = await report(dependencies, portfolio_id)
    assert amounts_of(undrawn) == (0, 3_000_000_000)

    number = await draw(dependencies, facility_id, "30000000.00")
    drawn = await report(dependencies, portfolio_id)
    assert amounts_of(drawn) == (1_000_000_000, 2_000_000_000)
    before = await report(dependencies, portfolio_id, on=DRAWN_ON - timedelta(days=1))
    assert amounts_of(before) == (0, 3_000_000_000)
    after_availability = await report(dependencies, portfolio_id, on=date(2028, 1, 1))
    assert amounts_of(after_availability)[1] == 0
    not_yet = await report(dependencies, portfolio_id, on=date(2026, 3, 30))
    assert (amounts_of(not_yet), not_yet.groups) == ((0, 0), [])

    facts = EntryFacts(kind=EntryKind.REVERSAL, value_date=DRAWN_ON)
    await reverse_entry(dependencies, LOCAL_PRINCIPAL, facility_id, number, facts, NO_CONTEXT)
    assert amounts_of(await report(dependencies, portfolio_id)) == (0, 3_000_000_000)
    for earlier in (undrawn, drawn):
        again = await report(dependencies, portfolio_id, as_of=earlier.snapshot.as_of)
        assert amounts_of(again) == amounts_of(earlier)
        assert again.snapshot.as_of == earlier.snapshot.as_of


async def test_an_instant_that_has_not_passed_is_an_error(dependencies: Dependencies) -> None:
    portfolio_id = await a_portfolio(dependencies)
    coming = dependencies.clock.now() + timedelta(hours=1)
    with pytest.raises(InvalidInput, match="in the past"):
        await report(dependencies, portfolio_id, as_of=coming)
    with pytest.raises(NotFound):
        await report(dependencies, portfolio_id, as_of=coming - timedelta(days=1))
    with pytest.raises(NotFound):
        await report(dependencies, dependencies.ids.new())
    outsider = Principal(id="outsider", scopes=frozenset({Scope.PROJECTS_READ}))
    with pytest.raises(Forbidden):
        await report_exposure(dependencies, outsider, portfolio_id, COUNTRY, ReportQuery())


async def test_an_equity_stake_is_one_of_the_equity_of_its_project(
    dependencies: Dependencies,
) -> None:
    project_id = await a_project(dependencies, x_rating="BBB")
    for currency in ("EUR", "USD"):
        await a_facility(
            dependencies,
            project_id,
            kind=FacilityKind.EQUITY,
            currency_code=currency,
            commitment=Decimal("100.00"),
        )
    await a_facility(dependencies, project_id)
    portfolio_id = await a_portfolio(dependencies, fx_source="ecb")
    await a_holding(dependencies, portfolio_id, project_id=project_id, share="25")
    rates = RateSetInput(
        on=date(2026, 9, 28), source="ecb", base_currency="EUR", rates={"USD": Decimal("1.25")}
    )
    with pytest.raises(InvalidInput) as failure:
        await report(dependencies, portfolio_id)
    assert failure.value.errors[0].code == "missing_rates"
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rates)
    keys = (ExposureKey.RATING, ExposureKey.CURRENCY)
    first = await report(dependencies, portfolio_id, keys)
    assert groups_of(first) == {
        ("BBB",): 4500,
        ("BBB", "EUR"): 2500,
        ("BBB", "USD"): 2000,
    }
    assert first.fx is not None
    assert (first.fx.rate_set.id, first.fx.age_days) == ("2026-09-28.ecb", 2)
    in_dollars = await report(dependencies, portfolio_id, keys, currency_code="USD")
    assert groups_of(in_dollars)["BBB",] == 5625
    with pytest.raises(InvalidInput, match="BRL"):
        await report(dependencies, portfolio_id, currency_code="BRL")

    correction = Correction(revision=1, reason="published again")
    corrected = msgspec.structs.replace(rates, rates={"USD": Decimal(1) / 2}, correction=correction)
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, corrected)
    assert groups_of(await report(dependencies, portfolio_id, keys))["BBB",] == 7500
    again = await report(dependencies, portfolio_id, keys, as_of=first.snapshot.as_of)
    assert groups_of(again) == groups_of(first)


async def test_limits_are_of_the_portfolio_as_it_was_and_in_its_currency(
    dependencies: Dependencies,
) -> None:
    facility_id = await a_facility(dependencies, await a_project(dependencies))
    limit = ExposureLimit(by=ExposureKey.COUNTRY, max_amount=Decimal("45000000.00"))
    portfolio_id = await a_portfolio(dependencies, limits=(limit,), fx_source="ecb")
    await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="50")
    rates = RateSetInput(on=LATER, source="ecb", base_currency="USD", rates={"EUR": Decimal("0.5")})
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rates)
    met = await report(dependencies, portfolio_id, currency_code="USD")
    assert [status.breaches for status in met.limits] == [()]
    lower = msgspec.structs.replace(limit, max_amount=Decimal("44999999.99"))
    terms = {"limits": (lower,)}
    await amend_portfolio(dependencies, LOCAL_PRINCIPAL, portfolio_id, terms, NO_CONTEXT)
    breached = await report(dependencies, portfolio_id, currency_code="USD")
    (status,) = breached.limits
    assert [one.values for one in status.breaches] == [("ESP",)]
    assert breached.exposure.total.total == 2 * breached.limits_total.total
    again = await report(dependencies, portfolio_id, as_of=met.snapshot.as_of)
    assert [status.breaches for status in again.limits] == [()]


async def test_two_projects_of_one_name_are_two_names(dependencies: Dependencies) -> None:
    portfolio_id = await a_portfolio(dependencies)
    ids = [await a_project(dependencies) for _ in range(2)]
    for project_id in ids:
        facility_id = await a_facility(dependencies, project_id)
        await a_holding(dependencies, portfolio_id, facility_id=facility_id, share="10")
    groups = groups_of(await report(dependencies, portfolio_id, (ExposureKey.NAME,)))
    assert {values[0] for values in groups} == {f"Sierra Wind ({one})" for one in ids}
