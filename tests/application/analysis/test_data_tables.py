"""Data tables: each cell equals the calculator, or has its own errors."""

import json
from typing import Any

import pytest

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.sensitivity import batch_outputs
from spawn.application.analysis.sensitivity.data_tables import (
    MAX_CELLS,
    TableAxis,
    TableCase,
    TableResult,
    build_table,
)
from spawn.domain.errors import DeadlineExceeded, InvalidInput
from spawn.domain.finance.debt_sizing import size_debt
from spawn.domain.finance.debt_sizing_case import SizingCase
from spawn.domain.json_tokens import parse_object

Json = dict[str, Any]

SIZING: Json = {"cfads": [13.0, 13.0, 13.0], "annual_rates": 0.06, "target_dscr": 1.3}


def build_request(case: Json, outputs: tuple[str, ...], **axes: TableAxis) -> TableCase:
    return TableCase(case=parse_object(json.dumps(case).encode()), outputs=outputs, **axes)


def tabulate(name: str, case: Json, *outputs: str, **axes: TableAxis) -> TableResult:
    steps = build_table(name, build_request(case, outputs, **axes), deadline=Deadline())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: TableResult = end.value
            return result


def axis(vary: str, *values: float, **options: Any) -> TableAxis:
    return TableAxis(vary=vary, values=values, **options)


def test_each_cell_equals_the_calculator() -> None:
    factors, ratios = (0.8, 1.0, 1.3), (1.2, 1.5)
    table = tabulate(
        "debt-sizing",
        SIZING,
        "/debt",
        "/wal_years",
        rows=axis("/cfads", *factors, change="factor"),
        columns=axis("/target_dscr", *ratios),
    )
    for factor, cells in zip(factors, table.cells, strict=True):
        for ratio, cell in zip(ratios, cells, strict=True):
            case = SizingCase(cfads=(13.0 * factor,) * 3, annual_rates=0.06, target_dscr=ratio)
            sized = size_debt(case)
            assert cell.values == (sized.debt, sized.wal_years)
    assert table.base.values is not None
    assert table.base.values[0] == pytest.approx(13.0 / 1.3 * (1 - 1.06**-3) / 0.06)
    assert (table.problems, table.warnings) == (0, ())


def test_a_cell_without_a_result_has_its_errors() -> None:
    table = tabulate(
        "debt-sizing", SIZING, "/debt", rows=axis("/cfads", -1.0, 1.0, change="factor"),
        columns=axis("/target_dscr", 1.3, -2.0),
    )  # fmt: skip
    errors = [[[(e.pointer, e.code) for e in cell.errors] for cell in row] for row in table.cells]
    assert errors == [
        [[("/case/cfads", "no_debt_capacity")], [("/case/target_dscr", "not_positive")]],
        [[], [("/case/target_dscr", "not_positive")]],
    ]
    assert table.cells[1][0].values is not None
    assert table.problems == 3
    assert table.warnings == ("3 of 4 cells have errors in place of values",)


def test_a_required_field_may_be_the_varied_one() -> None:
    case = {"cfads": [13.0], "annual_rates": 0.0}
    table = tabulate("debt-sizing", case, "/debt", rows=axis("/target_dscr", 1.0, 2.0))
    assert [cell.values for (cell,) in table.cells] == [(13.0,), (6.5,)]
    assert [error.pointer for error in table.base.errors] == ["/case/target_dscr"]


def test_an_output_without_a_number_is_null() -> None:
    table = tabulate(
        "debt-sizing", SIZING, "/rows/2/dscr", "/rows/9/dscr", rows=axis("/tenor_periods", 2, 3)
    )
    assert [cell.values for (cell,) in table.cells] == [(None, None), (pytest.approx(1.3), None)]
    assert table.warnings == ("/rows/9/dscr has no value in any cell",)


@pytest.mark.parametrize(
    ("fields", "pointer", "code"),
    [
        ({"outputs": ()}, "/outputs", "empty"),
        ({"outputs": ("/debt", "/dept")}, "/outputs/1", "unknown_field"),
        ({"rows": axis("/cfad", 1.0)}, "/rows/vary", "unknown_field"),
        ({"rows": axis("/balloon")}, "/rows/values", "empty"),
        ({"rows": axis("/balloon", 1e30)}, "/rows/values/0", "out_of_range"),
        ({"columns": axis("/target_dscr", 1.0)}, "/columns/vary", "duplicate"),
        (
            {"columns": axis("/balloon", *([1.0] * (MAX_CELLS // 2 + 1)))},
            "/rows/values",
            "too_many",
        ),
        (
            {"case": {**SIZING, "cfads": [1.0] * 2_000}, "columns": axis("/balloon", *[1.0] * 900)},
            "/rows/values",
            "too_many",
        ),
    ],
)
def test_an_invalid_table_names_its_field(fields: Json, pointer: str, code: str) -> None:
    request: Json = {
        "case": SIZING, "outputs": ("/debt",), "rows": axis("/target_dscr", 1.1, 1.2), **fields
    }  # fmt: skip
    table = build_request(request.pop("case"), request.pop("outputs"), **request)
    with pytest.raises(InvalidInput) as caught:
        list(build_table("debt-sizing", table, deadline=Deadline()))
    assert [(error.pointer, error.code) for error in caught.value.errors] == [(pointer, code)]


def test_an_expired_deadline_stops_the_table() -> None:
    deadline = Deadline()
    table = build_request(SIZING, ("/debt",), rows=axis("/target_dscr", *([1.3] * 9)))
    steps = build_table("debt-sizing", table, deadline=deadline)
    next(steps)
    deadline.expire()
    with pytest.raises(DeadlineExceeded):
        list(steps)


RATES = tuple(0.01 * index for index in range(-10, 30))
OUTPUTS = ("/npv", "/rate", "/rates/0", "/effective_pa/0", "/nominal_pa/0")


def tabulate_returns(case: Json, monkeypatch: pytest.MonkeyPatch, **axes: TableAxis) -> None:
    """Compare the batch with the calculator, cell by cell."""
    batch = tabulate("returns", case, *OUTPUTS, **axes)
    with monkeypatch.context() as patch:
        patch.setattr(batch_outputs, "BATCH_OUTPUTS", {})
        patch.setattr(batch_outputs, "MIN_BATCH_CASES", 10**9)
        scalar = tabulate("returns", case, *OUTPUTS, **axes)
    for ours, theirs in zip(batch.cells, scalar.cells, strict=True):
        for one, other in zip(ours, theirs, strict=True):
            assert one.errors == other.errors
            assert (one.values is None) == (other.values is None)
            for figure, expected in zip(one.values or (), other.values or (), strict=True):
                if expected is None or figure is None:
                    assert figure is expected
                else:
                    assert figure == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("per_year", [1, 4])
def test_the_batch_of_equal_lengths_equals_the_calculator(
    per_year: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    case: Json = {"cash_flows": [-100, *[3.0 + index % 5 for index in range(40)]]}
    case["periods_per_year"] = per_year
    rows = axis("/discount_rate", *RATES)
    columns = axis("/cash_flows/0", -120.0, -80.0, -60.0)
    tabulate_returns(case, monkeypatch, rows=rows, columns=columns)


@pytest.mark.parametrize(
    "cash_flows", [[-100, 230, -132], [100, 230, 132], [-100, 60, 60]], ids=["two", "none", "one"]
)
def test_flows_without_one_rate_are_left_to_the_calculator(
    cash_flows: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = axis("/discount_rate", *RATES, -2.0)
    tabulate_returns({"cash_flows": cash_flows}, monkeypatch, rows=rows)


def test_the_batch_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_case: object) -> None:
        raise AssertionError("the scalar calculator ran")

    case = {"cash_flows": [-100, 60, 60], "discount_rate": 0.1}
    steps = build_table(
        "returns", build_request(case, ("/npv",), rows=axis("/discount_rate", *RATES)),
        deadline=Deadline(),
    )  # fmt: skip
    next(steps)  # the case as it is
    monkeypatch.setattr("spawn.application.analysis.returns_calculator.irr", fail)
    list(steps)
