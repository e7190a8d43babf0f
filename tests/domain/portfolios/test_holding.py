"""Shares are exact, and no day has more than the whole of an exposure in all portfolios."""

from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import Conflict, InvalidInput
from spawn.domain.portfolios.holding import (
    ExposureAllocation,
    ExposureKind,
    Holding,
    allocate_exposure,
    check_holding,
    format_share,
    parse_share,
)
from spawn.domain.portfolios.portfolio import (
    ExposureKey,
    ExposureLimit,
    Portfolio,
    check_portfolio,
    find_limited_group,
)

pytestmark = pytest.mark.core

START = date(2026, 1, 1)


def a_holding(number: int, share: str, since: int = 0, until: int | None = None) -> Holding:
    return Holding(
        holding_id=f"h-{number}",
        portfolio_id=f"p-{number % 3}",
        exposure_kind=ExposureKind.FACILITY,
        exposure_id="f-1",
        project_id="project",
        share=share,
        since=START + timedelta(days=since),
        until=None if until is None else START + timedelta(days=until),
    )


@pytest.mark.parametrize(
    ("text", "ratio", "canonical"),
    [
        ("33.5", Fraction(67, 200), "33.5"),
        ("100", Fraction(1), "100"),
        ("100.000", Fraction(1), "100"),
        ("0.000000000001", Fraction(1, 10**14), "0.000000000001"),
        ("1/3", Fraction(1, 3), "1/3"),
        ("2/6", Fraction(1, 3), "1/3"),
        ("1/4", Fraction(1, 4), "25"),
        ("1/1", Fraction(1), "100"),
    ],
)
def test_a_share_is_a_percentage_or_a_ratio(text: str, ratio: Fraction, canonical: str) -> None:
    assert parse_share(text) == ratio
    assert format_share(ratio) == canonical


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("0", "out_of_range"),
        ("100.01", "out_of_range"),
        ("4/3", "out_of_range"),
        ("-1", "not_a_share"),
        ("1e1", "not_a_share"),
        ("1/0", "not_a_share"),
        ("01", "not_a_share"),
        ("0.0000000000001", "not_a_share"),
        ("٣", "not_a_share"),
        ("", "not_a_share"),
    ],
)
def test_other_shares_are_rejected(text: str, code: str) -> None:
    with pytest.raises(InvalidInput) as failure:
        parse_share(text, pointer="/share")
    assert [(e.pointer, e.code) for e in failure.value.errors] == [("/share", code)]


@given(st.fractions(min_value=Fraction(1, 10**9), max_value=1, max_denominator=10**9))
def test_a_share_is_read_as_it_was_written(share: Fraction) -> None:
    assert parse_share(format_share(share)) == share


def test_a_holding_ends_after_it_begins() -> None:
    with pytest.raises(InvalidInput, match="after since"):
        check_holding(a_holding(1, "50", since=5, until=5))
    holding = check_holding(a_holding(1, "1/2", since=5, until=6))
    assert (holding.share, holding.ratio) == ("50", Fraction(1, 2))
    days = [START + timedelta(days=n) for n in (4, 5, 6)]
    assert [holding.is_held(day) for day in days] == [False, True, False]


def test_an_allocation_names_the_first_day_with_more_than_the_whole() -> None:
    allocation = allocate_exposure(None, a_holding(1, "60", until=10))
    allocation = allocate_exposure(allocation, a_holding(2, "60", since=10))
    with pytest.raises(Conflict, match=r"100\.5 % of this exposure from 2026-01-08"):
        allocate_exposure(allocation, a_holding(3, "40.5", since=7, until=8))
    assert len(allocate_exposure(allocation, a_holding(3, "40", since=7, until=20)).slices) == 3


def test_a_holding_that_was_removed_leaves_its_share() -> None:
    allocation = allocate_exposure(None, a_holding(1, "100"))
    with pytest.raises(Conflict):
        allocate_exposure(allocation, a_holding(2, "1/1000"))
    gone = msgspec.structs.replace(a_holding(1, "100"), is_active=False)
    assert allocate_exposure(allocation, gone) == ExposureAllocation(slices=())


slices = st.lists(
    st.tuples(
        st.integers(1, 5),
        st.fractions(min_value=Fraction(1, 50), max_value=1, max_denominator=50),
        st.integers(0, 8),
        st.one_of(st.none(), st.integers(1, 5)),
    ),
    max_size=10,
)


@given(slices)
def test_no_day_ever_has_more_than_the_whole(
    steps: list[tuple[int, Fraction, int, int | None]],
) -> None:
    allocation = ExposureAllocation(slices=())
    for number, share, since, length in steps:
        until = None if length is None else since + length
        holding = a_holding(number, format_share(share), since, until)
        days = [START + timedelta(days=n) for n in range(15)]
        others = [s for s in allocation.slices if s.holding_id != holding.holding_id]
        held = {
            day: sum(
                (
                    parse_share(s.share)
                    for s in others
                    if s.since <= day and (s.until is None or day < s.until)
                ),
                Fraction(0),
            )
            + (share if holding.is_held(day) else 0)
            for day in days
        }
        try:
            allocation = allocate_exposure(allocation, holding)
        except Conflict:
            assert max(held.values()) > 1
        else:
            assert max(held.values()) <= 1


def limit_of(key: ExposureKey, value: str) -> dict[str, object]:
    return {"limits": (ExposureLimit(by=key, value=value, max_share=Decimal(10)),)}


@pytest.mark.parametrize(
    ("changes", "pointer", "code"),
    [
        ({"name": " "}, "/name", "empty"),
        ({"name": "a\u202eb"}, "/name", "invisible_character"),
        ({"currency_code": "EURO"}, "/currency_code", "unknown_currency"),
        ({"fx_source": "ECB"}, "/fx_source", "invalid_name"),
        ({"max_fx_age_days": 367}, "/max_fx_age_days", "out_of_range"),
        ({"limits": (ExposureLimit(by=ExposureKey.NAME),)}, "/limits/0/max_amount", "ambiguous"),
        (
            {"limits": (ExposureLimit(by=ExposureKey.NAME, max_amount=Decimal(-1)),)},
            "/limits/0/max_amount",
            "out_of_range",
        ),
        (
            {"limits": (ExposureLimit(by=ExposureKey.NAME, max_amount=Decimal("0.001")),)},
            "/limits/0/max_amount",
            "too_precise",
        ),
        (
            {"limits": (ExposureLimit(by=ExposureKey.NAME, max_share=Decimal(101)),)},
            "/limits/0/max_share",
            "out_of_range",
        ),
        (
            {"limits": (ExposureLimit(by=ExposureKey.NAME, max_share=Decimal(10)),) * 2},
            "/limits/1",
            "duplicate",
        ),
        (limit_of(ExposureKey.COUNTRY, "ZZZ"), "/limits/0/value", "unknown_country"),
        (limit_of(ExposureKey.COUNTRY, "esp"), "/limits/0/value", "unknown_country"),
        (limit_of(ExposureKey.CURRENCY, "eur"), "/limits/0/value", "unknown_currency"),
        (limit_of(ExposureKey.KIND, "snior"), "/limits/0/value", "not_in_enum"),
        (limit_of(ExposureKey.SPONSOR, "A\u200bB"), "/limits/0/value", "invisible_character"),
    ],
)
def test_an_invalid_portfolio_is_rejected_by_field(
    changes: dict[str, object], pointer: str, code: str
) -> None:
    portfolio = Portfolio(portfolio_id="p", name="Debt", currency_code="EUR")
    with pytest.raises(InvalidInput) as failure:
        check_portfolio(msgspec.structs.replace(portfolio, **changes))
    assert [(e.pointer, e.code) for e in failure.value.errors] == [(pointer, code)]


def test_a_limit_names_its_group_as_exposures_do() -> None:
    portfolio = Portfolio(portfolio_id="p", name="Debt", currency_code="EUR")
    for key, text, value in (
        (ExposureKey.COUNTRY, "ES", "ESP"),
        (ExposureKey.KIND, "senior", "senior"),
        (ExposureKey.SPONSOR, "Cafe\u0301", "Caf\u00e9"),
    ):
        checked = check_portfolio(msgspec.structs.replace(portfolio, **limit_of(key, text)))
        assert [limit.value for limit in checked.limits] == [value]


def test_an_amendment_keeps_the_limits_of_an_earlier_release() -> None:
    limits = tuple(
        ExposureLimit(by=key, value=value, max_share=Decimal(10))
        for key, value in ((ExposureKey.COUNTRY, "Spain"), (ExposureKey.KIND, "Senior debt"))
    )
    stored = Portfolio(portfolio_id="p", name="Debt", currency_code="EUR", limits=limits)
    renamed = check_portfolio(msgspec.structs.replace(stored, name="Loans"), stored.limits)
    assert renamed.limits == limits
    assert find_limited_group(limits[0]) == "Spain"
    assert find_limited_group(msgspec.structs.replace(limits[0], value="ES")) == "ESP"
