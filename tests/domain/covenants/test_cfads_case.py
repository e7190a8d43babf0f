"""CFADS cases: periods without a gap, exact amounts, revisions of used cases."""

from datetime import date
from decimal import Decimal
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spawn.domain.covenants.cash_periods import CashPeriod, forward_window, trailing_window
from spawn.domain.covenants.cfads_case import (
    CaseKind,
    CaseStatus,
    CaseTerms,
    CfadsCase,
    draw_up_case,
    mark_used,
    revise_case,
)
from spawn.domain.dates import add_months
from spawn.domain.errors import InvalidInput

pytestmark = pytest.mark.core


def half_years(count: int, *, start: date = date(2027, 1, 1), **amounts: str) -> list[CashPeriod]:
    texts = {"cfads": "60", "interest": "12", "principal": "28", **amounts}
    values: dict[str, Any] = {name: Decimal(text) for name, text in texts.items()}
    return [
        CashPeriod(
            starts_on=add_months(start, 6 * number),
            ends_on=date.fromordinal(add_months(start, 6 * number + 6).toordinal() - 1),
            **values,
        )
        for number in range(count)
    ]


def terms(periods: list[CashPeriod], **fields: Any) -> CaseTerms:
    return CaseTerms(
        **{
            "name": "Base",
            "kind": CaseKind.BASE,
            "currency_code": "EUR",
            "periods": tuple(periods),
            **fields,
        }
    )


def a_case(periods: list[CashPeriod] | None = None, **fields: Any) -> CfadsCase:
    return draw_up_case(
        terms(periods or half_years(4), **fields),
        case_id="c-1",
        project_id="p-1",
        engine_version="1.0.0",
    )


def errors_of(*arguments: Any, **fields: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as caught:
        terms(*arguments, **fields)
    return [(error.pointer, error.code) for error in caught.value.errors]


def test_a_gap_names_the_period_and_the_day_that_is_missing() -> None:
    periods = half_years(4)
    del periods[1]
    with pytest.raises(InvalidInput) as caught:
        terms(periods)
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == ("/periods/1/starts_on", "gap")
    assert error.detail == (
        "period 2 starts on 2028-01-01: a gap after period 1, which ends on 2027-06-30;"
        " it must start on 2027-07-01"
    )


def test_periods_do_not_overlap_and_do_not_end_before_they_start() -> None:
    periods = half_years(3)
    periods[1] = msgspec.structs.replace(periods[1], starts_on=date(2027, 6, 30))
    assert errors_of(periods) == [("/periods/1/starts_on", "overlap")]
    periods[1] = msgspec.structs.replace(periods[1], ends_on=date(2027, 6, 1))
    assert ("/periods/1/ends_on", "date_order") in errors_of(periods)
    first = msgspec.structs.replace(periods[0], ends_on=date.max)
    last = msgspec.structs.replace(periods[0], starts_on=date.max, ends_on=date.max)
    assert errors_of([first, last]) == [("/periods/1/starts_on", "overlap")]


def test_lines_add_up_to_the_cfads_exactly() -> None:
    lines = {"revenue": Decimal("0.10"), "costs": Decimal("-0.30"), "grant": Decimal("0.20")}
    period = msgspec.structs.replace(half_years(1)[0], cfads=Decimal(0), lines=lines)
    assert terms([period]).periods[0].cfads == 0
    wrong = msgspec.structs.replace(period, cfads=Decimal("0.01"))
    assert errors_of([wrong]) == [("/periods/0/cfads", "contradiction")]


def test_debt_service_is_whole_and_never_negative() -> None:
    period = half_years(1)[0]
    assert errors_of([msgspec.structs.replace(period, interest=None)]) == [
        ("/periods/0/interest", "missing")
    ]
    assert errors_of([msgspec.structs.replace(period, principal=Decimal(-1))]) == [
        ("/periods/0/principal", "out_of_range")
    ]
    without = msgspec.structs.replace(period, interest=None, principal=None)
    assert terms([without]).periods[0].debt_service == 0


def test_amounts_have_the_scale_of_the_currency() -> None:
    assert str(terms(half_years(1), equity=Decimal(1)).equity) == "1.00"
    assert errors_of(half_years(1, cfads="0.001")) == [("/periods/0/cfads", "too_precise")]
    assert errors_of(half_years(1), currency_code="XAU") == [("/currency_code", "no_minor_unit")]
    assert errors_of(half_years(1), opening_debt=Decimal("NaN")) == [
        ("/opening_debt", "not_finite")
    ]


def test_principal_repays_at_most_what_is_owed() -> None:
    assert terms(half_years(2), opening_debt=Decimal(56)).opening_debt == 56
    with pytest.raises(InvalidInput) as caught:
        terms(half_years(3), opening_debt=Decimal(70))
    assert caught.value.errors[0].pointer == "/periods/2/principal"
    assert "period 3 repays 28.00, and 14.00 is owed" not in caught.value.detail
    assert "period 3 repays 28, and 14 is owed" in caught.value.detail


def test_a_draft_changes_in_place_and_a_used_case_by_a_revision_with_a_reason() -> None:
    draft = a_case()
    changed = revise_case(draft, terms(half_years(2)), reason=None, engine_version="1.1.0")
    assert (changed.revision, changed.status) == (1, CaseStatus.DRAFT)
    used = mark_used(changed)
    assert used.status is CaseStatus.USED
    for reason in (None, "  "):
        with pytest.raises(InvalidInput) as caught:
            revise_case(used, terms(half_years(3)), reason=reason, engine_version="1.1.0")
        assert caught.value.errors[0].pointer == "/reason"
    revised = revise_case(used, terms(half_years(3)), reason="repriced", engine_version="1.1.0")
    assert (revised.revision, revised.status) == (2, CaseStatus.DRAFT)
    assert (revised.revision_reason, revised.engine_version) == ("repriced", "1.1.0")


def test_the_same_figures_make_no_revision() -> None:
    used = mark_used(a_case())
    same = terms(half_years(4, cfads="60.00"))
    assert revise_case(used, same, reason=None, engine_version="2.0.0") is used
    assert mark_used(used) is used


@given(count=st.integers(1, 12), size=st.integers(1, 60), last=st.integers(0, 11))
def test_a_window_holds_whole_periods_of_exactly_its_months(
    count: int, size: int, last: int
) -> None:
    periods = half_years(count)
    end = periods[min(last, count - 1)].ends_on
    for window in (trailing_window(periods, end, size), forward_window(periods, end, size)):
        if window is not None:
            assert 6 * len(window) == size
    number = min(last, count - 1) + 1
    trailing, forward = trailing_window(periods, end, size), forward_window(periods, end, size)
    assert (trailing is not None) is (size % 6 == 0 and size // 6 <= number)
    assert (forward is not None) is (size % 6 == 0 and size // 6 <= count - number)


def test_a_window_of_months_that_end_on_their_last_days_is_full() -> None:
    ends = [date(2027, 8, 31), date(2027, 9, 30), date(2027, 10, 31), date(2027, 11, 30)]
    ends += [date(2027, 12, 31), date(2028, 1, 31), date(2028, 2, 29)]
    periods = [
        CashPeriod(
            starts_on=date.fromordinal(before.toordinal() + 1), ends_on=end, cfads=Decimal(1)
        )
        for before, end in pairwise(ends)
    ]
    assert trailing_window(periods, date(2028, 2, 29), 6) == tuple(periods)
    assert trailing_window(periods, date(2028, 2, 28), 6) is None
