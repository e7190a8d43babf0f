"""Exposure: every drill-down adds up to the total, and limits are compared exactly."""

from decimal import Decimal
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.errors import InvalidInput
from spawn.domain.portfolios.exposure import (
    MAX_GROUPS,
    ExposureAmounts,
    HeldExposure,
    PortfolioExposure,
    convert_units,
    round_part,
    split_units,
    take_share,
)
from spawn.domain.portfolios.portfolio import ExposureKey, ExposureLimit

pytestmark = pytest.mark.core

RATES = {
    "EUR": Fraction(1),
    "USD": Fraction(10000, 10573),
    "JPY": Fraction(100, 16094),
    "BHD": Fraction(10000, 3981),
}
SCALES = {"EUR": Fraction(1), "USD": Fraction(1), "JPY": Fraction(1, 100), "BHD": Fraction(10)}
"""Minor units of each currency for one hundredth of its major unit."""

COUNTRY, SECTOR, SPONSOR, NAME = (
    ExposureKey.COUNTRY,
    ExposureKey.SECTOR,
    ExposureKey.SPONSOR,
    ExposureKey.NAME,
)


def a_part(number: int = 0, **changes: object) -> HeldExposure:
    fields = {
        "holding_id": f"h-{number}",
        "exposure_id": f"f-{number}",
        "project_id": f"p-{number}",
        "currency_code": "EUR",
        "outstanding": 100,
        "undrawn": 0,
        **changes,
    }
    keys = {
        COUNTRY: fields.pop("country", "ESP"),
        SECTOR: fields.pop("sector", "wind"),
        ExposureKey.RATING: None,
        ExposureKey.CURRENCY: fields["currency_code"],
        NAME: fields.pop("name", f"Project {number}"),
        ExposureKey.KIND: "senior",
    }
    return HeldExposure(**fields, keys=keys)  # type: ignore[arg-type]  # a dict of fields


def measure(*parts: HeldExposure) -> PortfolioExposure:
    return PortfolioExposure(parts, "EUR", RATES.__getitem__)


parts = st.lists(
    st.builds(
        a_part,
        st.integers(0, 5),
        currency_code=st.sampled_from(sorted(RATES)),
        outstanding=st.integers(0, 10**15),
        undrawn=st.integers(0, 10**6),
        country=st.sampled_from(["ESP", "PRT", None]),
        sector=st.sampled_from(["wind", "solar"]),
        sponsors=st.sampled_from(
            [
                (),
                (("A", Fraction(1, 3)), ("B", Fraction(2, 3))),
                (("A", Fraction(1, 3)),),
                (("C", Fraction(1)),),
            ]
        ),
    ),
    max_size=12,
)


@given(parts, st.permutations(list(ExposureKey)), st.integers(1, 4))
def test_each_level_adds_up_to_the_one_above_it_and_to_the_total(
    held: list[HeldExposure], order: list[ExposureKey], depth: int
) -> None:
    exposure = measure(*held)
    rows = exposure.drill_down(order[:depth])
    exact = sum(
        (
            Fraction(part.outstanding) * RATES[part.currency_code] / SCALES[part.currency_code]
            for part in held
        ),
        Fraction(0),
    )
    assert exposure.total.outstanding == round(exact)
    for level in range(depth):
        for above in [(), *(row.values for row in rows if len(row.values) == level)]:
            children = [
                r.amounts for r in rows if r.values[:level] == above and len(r.values) == level + 1
            ]
            if len(above) != level:
                continue
            parent = next((r.amounts for r in rows if r.values == above), exposure.total)
            assert sum(children, ExposureAmounts()) == parent


@given(parts)
def test_each_part_is_within_one_minor_unit_of_its_exact_amount(held: list[HeldExposure]) -> None:
    exposure = measure(*held)
    for part, amounts in zip(exposure.positions, exposure.parts, strict=True):
        exact = part.outstanding * RATES[part.currency_code] / SCALES[part.currency_code]
        assert abs(amounts.outstanding - exact) < 1


@given(
    st.integers(0, 10**12),
    st.lists(st.fractions(min_value=0, max_value=1, max_denominator=97), min_size=1, max_size=8),
)
def test_a_split_adds_up(units: int, ratios: list[Fraction]) -> None:
    if not any(ratios):
        return
    split = split_units(units, ratios)
    assert sum(split) == units
    exact = [units * ratio / sum(ratios) for ratio in ratios]
    assert all(abs(part - one) < 1 for part, one in zip(split, exact, strict=True))


def test_the_sum_is_rounded_once_and_not_each_part() -> None:
    # Three times 0.333… cents of a yen's worth: rounded each, the sum would be 0.
    assert convert_units([(1, "JPY")] * 3, "EUR", RATES) == [1, 1, 0]
    assert round_part(Decimal("100.00"), Fraction(1, 3), "EUR") == 3333
    assert round_part(Decimal("0.05"), Fraction(1, 2), "EUR") == 2
    assert round_part(Decimal("0.07"), Fraction(1, 2), "EUR") == 4
    assert [take_share(units, Fraction(1, 2)) for units in (-3, -1, 1, 3)] == [-2, 0, 0, 2]


def test_groups_are_in_order_of_their_exposure_with_their_parts_after_them() -> None:
    exposure = measure(
        a_part(1, outstanding=10, country="PRT"),
        a_part(2, outstanding=30, sector="solar"),
        a_part(3, outstanding=40, undrawn=5),
        a_part(4, outstanding=1, country=None),
    )
    rows = [(row.values, row.amounts.total) for row in exposure.drill_down((COUNTRY, SECTOR))]
    assert rows == [
        (("ESP",), 75),
        (("ESP", "wind"), 45),
        (("ESP", "solar"), 30),
        (("PRT",), 10),
        (("PRT", "wind"), 10),
        ((None,), 1),
        ((None, "wind"), 1),
    ]


def test_a_sponsor_has_its_share_and_the_rest_is_of_unknown_ones() -> None:
    sponsors = (("A", Fraction(1, 3)), ("B", Fraction(1, 3)))
    exposure = measure(a_part(outstanding=100, sponsors=sponsors), a_part(1, outstanding=50))
    groups = {values[0]: one.total for values, one in exposure.group((SPONSOR,)).items()}
    assert groups == {"A": 34, "B": 33, None: 83}


def test_a_breach_is_reported_for_each_group_of_its_key() -> None:
    exposure = measure(
        a_part(1, outstanding=5001, country="ESP"),
        a_part(2, outstanding=2500, country="PRT"),
        a_part(3, outstanding=2499, country="FRA"),
    )

    def check(**limit: object) -> tuple[list[str | None], Fraction]:
        (status,) = exposure.check_limits([ExposureLimit(**limit)])  # type: ignore[arg-type]
        return [one.values[0] for one in status.breaches], status.maximum

    assert check(by=COUNTRY, max_share=Decimal(25)) == (["ESP"], Fraction(2500))
    assert check(by=COUNTRY, max_share=Decimal("24.99")) == (["ESP", "PRT"], Fraction(2499))
    assert check(by=COUNTRY, value="PRT", max_share=Decimal(25)) == ([], Fraction(2500))
    assert check(by=COUNTRY, max_amount=Decimal("50.01")) == ([], Fraction(5001))
    assert check(by=COUNTRY, max_amount=Decimal("50.00"))[0] == ["ESP"]
    assert check(by=COUNTRY, value="DEU", max_amount=Decimal(0))[0] == []
    assert check(by=SPONSOR, max_share=Decimal(99))[0] == [None]


def test_the_index_is_10000_for_one_group_and_falls_with_their_number() -> None:
    one = measure(a_part(1, name="A"), a_part(2, name="A"))
    assert one.measure_concentration(NAME, 5).hhi == 10_000
    four = measure(*(a_part(number, outstanding=25) for number in range(4)))
    concentration = four.measure_concentration(NAME, 3)
    assert (float(concentration.hhi), concentration.groups) == (2500, 4)
    assert len(concentration.largest) == 3
    uneven = measure(a_part(1, outstanding=70), a_part(2, outstanding=30))
    assert uneven.measure_concentration(NAME, 5).hhi == 70**2 + 30**2
    assert measure().measure_concentration(NAME, 5).hhi == 0


def test_a_missing_rate_and_too_many_groups_are_errors() -> None:
    with pytest.raises(KeyError):
        measure(a_part(currency_code="GBP"))
    many = measure(*(a_part(number) for number in range(MAX_GROUPS + 1)))
    with pytest.raises(InvalidInput, match="fewer keys"):
        many.drill_down((NAME,))
    assert len(many.drill_down((COUNTRY,))) == 1
