"""Publish, correct, find and convert: the rates of a day as they were recorded at any time."""

import asyncio
from datetime import date
from decimal import Decimal

import msgspec
import pytest

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.fx_rate_sets import (
    Correction,
    RateSetInput,
    convert_amount,
    find_rates,
    get_rate_set,
    publish_rate_set,
)
from spawn.domain.errors import Duplicate, Forbidden, InvalidInput, NotFound, StaleVersion
from spawn.domain.money import Money
from spawn.domain.principal import LOCAL_PRINCIPAL, Principal, Scope

FRIDAY = date(2026, 11, 27)
INPUT = RateSetInput(on=FRIDAY, source="ecb", base_currency="EUR", rates={"USD": Decimal("1.0573")})


def corrected(revision: int, rate: str) -> RateSetInput:
    correction = Correction(revision, "the source published it again")
    return msgspec.structs.replace(INPUT, rates={"USD": Decimal(rate)}, correction=correction)


async def test_a_correction_is_a_revision_and_the_first_remains(
    dependencies: Dependencies,
) -> None:
    first = await publish_rate_set(dependencies, LOCAL_PRINCIPAL, INPUT)
    again = await publish_rate_set(dependencies, LOCAL_PRINCIPAL, INPUT)
    assert (first.is_new, again.is_new, again.aggregate.version) == (True, False, 1)
    other = msgspec.structs.replace(INPUT, rates={"USD": Decimal(2)})
    with pytest.raises(Duplicate):
        await publish_rate_set(dependencies, LOCAL_PRINCIPAL, other)
    second = await publish_rate_set(dependencies, LOCAL_PRINCIPAL, corrected(1, "1.0574"))
    assert (second.aggregate.version, second.aggregate.state.reason) == (
        2,
        "the source published it again",
    )
    with pytest.raises(StaleVersion):
        await publish_rate_set(dependencies, LOCAL_PRINCIPAL, corrected(1, "1.0575"))

    set_id, instant = first.aggregate.id, first.aggregate.updated_at
    for options in ({"revision": 1}, {"as_of": instant}):
        stored = await get_rate_set(dependencies, LOCAL_PRINCIPAL, set_id, **options)
        assert stored.state.find_rate("USD") == Decimal("1.0573")
    money = Money(Decimal("1057.40"), "USD")
    for as_of, amount in ((None, "1000.00"), (instant, "1000.09")):
        conversion = await convert_amount(
            dependencies, LOCAL_PRINCIPAL, money, "EUR", source="ecb", on=FRIDAY, as_of=as_of
        )
        assert conversion.target == Money(Decimal(amount), "EUR")


async def test_a_set_that_does_not_exist_cannot_be_corrected(dependencies: Dependencies) -> None:
    with pytest.raises(InvalidInput, match="no rates"):
        await publish_rate_set(dependencies, LOCAL_PRINCIPAL, corrected(1, "1.1"))
    with pytest.raises(NotFound):
        await get_rate_set(dependencies, LOCAL_PRINCIPAL, "2026-11-27.ecb")


async def test_the_newest_set_before_a_day_applies_until_it_is_too_old(
    dependencies: Dependencies,
) -> None:
    for day, rate in ((26, "1.05"), (27, "1.06")):
        rate_input = msgspec.structs.replace(
            INPUT, on=date(2026, 11, day), rates={"USD": Decimal(rate)}
        )
        await publish_rate_set(dependencies, LOCAL_PRINCIPAL, rate_input)
    other = msgspec.structs.replace(INPUT, on=date(2026, 11, 28), source="desk")
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, other)
    for day, set_day, age in ((26, 26, 0), (27, 27, 0), (30, 27, 3)):
        use = await find_rates(dependencies, source="ecb", on=date(2026, 11, day))
        assert (use.rate_set.state.on.day, use.age_days) == (set_day, age)
    for on in (date(2026, 11, 25), date(2026, 12, 5)):
        with pytest.raises(InvalidInput) as failure:
            await find_rates(dependencies, source="ecb", on=on)
        (error,) = failure.value.errors
        assert (error.code, str(on) in error.detail) == ("missing_rates", True)
    use = await find_rates(dependencies, source="ecb", on=date(2026, 12, 5), max_age_days=8)
    assert use.age_days == 8


async def test_of_racing_corrections_of_one_revision_one_wins(dependencies: Dependencies) -> None:
    await publish_rate_set(dependencies, LOCAL_PRINCIPAL, INPUT)
    results = await asyncio.gather(
        *(
            publish_rate_set(dependencies, LOCAL_PRINCIPAL, corrected(1, f"1.{number + 10}"))
            for number in range(8)
        ),
        return_exceptions=True,
    )
    failures = [result for result in results if isinstance(result, BaseException)]
    assert len(failures) == 7
    assert all(isinstance(failure, StaleVersion) for failure in failures)


async def test_rates_need_the_scopes_of_the_financing(dependencies: Dependencies) -> None:
    reader = Principal(id="reader", scopes=frozenset({Scope.FINANCE_READ, Scope.PROJECTS_WRITE}))
    with pytest.raises(Forbidden):
        await publish_rate_set(dependencies, reader, INPUT)
    outsider = Principal(id="outsider", scopes=frozenset({Scope.PROJECTS_READ}))
    with pytest.raises(Forbidden):
        await get_rate_set(dependencies, outsider, "2026-11-27.ecb")
