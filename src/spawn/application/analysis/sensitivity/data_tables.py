"""Data tables: outputs of a calculator over the values of one input or two."""

import csv
import io
from collections.abc import Iterator, Sequence
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.calculation_results import format_cell
from spawn.application.analysis.sensitivity.batch_outputs import BATCH_OUTPUTS
from spawn.application.analysis.sensitivity.case_evaluation import (
    CaseEvaluator,
    Evaluation,
    Steps,
    prefix_errors,
)
from spawn.application.analysis.sensitivity.case_variation import (
    CaseVariation,
    Change,
    resolve_variation,
    share_a_field,
)
from spawn.application.analysis.sensitivity.result_outputs import ResultOutput, resolve_output
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, FieldChecker
from spawn.domain.json_tokens import NumberToken, Token
from spawn.ports.holidays import HolidaySource

MAX_CELLS: Final = 2_500
"""Cells of a table: rows x columns."""

MAX_OUTPUTS: Final = 20
"""Outputs of a table."""

MAX_TABLE_NUMBERS: Final = 1_000_000
"""Numbers of the case times cells: the work of a table."""


class TableAxis(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An input and the values that it takes.

    `vary` is a JSON Pointer into the case, or several for fields that vary together; `*` stands
    for every item of an array. `change` sets the field to a value (`value`), multiplies it
    (`factor`) or adds the value (`shift`), a series as a whole.
    """

    vary: str | tuple[str, ...]
    values: tuple[float, ...]
    change: Change = "value"


class TableCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case, the input of the rows and of the columns, and JSON Pointers of the outputs.

    Without `columns` the table has one column.
    """

    case: dict[str, Any]
    rows: TableAxis
    outputs: tuple[str, ...]
    columns: TableAxis | None = None


class TableCell(msgspec.Struct, frozen=True, kw_only=True):
    """The outputs of one case, in the order of the request; else its errors.

    An output is null where the result has none, such as a DSCR without debt service.
    """

    values: tuple[float | None, ...] | None
    errors: tuple[FieldError, ...] = ()


class TableResult(msgspec.Struct, frozen=True, kw_only=True):
    """The cells by row and column; `base` has the outputs of the case as it is.

    `problems` is the number of cells with errors.
    """

    outputs: tuple[str, ...]
    rows: TableAxis
    columns: TableAxis | None
    cells: tuple[tuple[TableCell, ...], ...]
    base: TableCell
    problems: int
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def build_table(
    name: str, request: TableCase, *, deadline: Deadline, holidays: HolidaySource | None = None
) -> Steps[TableResult]:
    """Calculate every cell, a step each.

    Raises:
        InvalidInput: an unknown field or output, one field on both axes, or too much work.
        DeadlineExceeded: the request was abandoned in the meantime.
    """
    evaluator = CaseEvaluator(name, deadline, holidays)
    calculator = evaluator.calculator
    _check_size(request)
    outputs = [
        resolve_output(calculator.result, text, f"/outputs/{index}")
        for index, text in enumerate(request.outputs)
    ]
    axes = _resolve_axes(calculator.case, request)
    base = _to_cell(evaluator.evaluate(request.case), outputs)
    yield
    cells = yield from _fill_cells(name, evaluator, _CellCases(request, axes), outputs)
    width = len(request.columns.values) if request.columns else 1
    problems = sum(1 for cell in cells if cell.values is None)
    return TableResult(
        outputs=request.outputs,
        rows=request.rows,
        columns=request.columns,
        cells=tuple(tuple(cells[at : at + width]) for at in range(0, len(cells), width)),
        base=base,
        problems=problems,
        conventions={"cells": "by row, then column; the outputs of a cell in the order given"},
        warnings=_list_warnings(cells, problems, outputs),
    )


def _fill_cells(
    name: str, evaluator: CaseEvaluator, cases: "_CellCases", outputs: Sequence[ResultOutput]
) -> Steps[list[TableCell]]:
    """Return the cell of each case: vectorized where all cases allow it, else one by one."""
    batch = BATCH_OUTPUTS.get(name)
    if batch is not None:
        columns = yield from batch(evaluator, cases, outputs)
        if columns is not None:
            return [TableCell(values=values) for values in zip(*columns, strict=True)]
    cells = []
    for case in cases:
        cells.append(_to_cell(evaluator.evaluate(case), outputs))
        yield
    return cells


def _to_cell(evaluation: Evaluation, outputs: Sequence[ResultOutput]) -> TableCell:
    if evaluation.result is None:
        return TableCell(values=None, errors=prefix_errors(evaluation.errors))
    return TableCell(values=evaluation.read(outputs))


def _resolve_axes(case: type[msgspec.Struct], request: TableCase) -> list[CaseVariation]:
    axes = [
        resolve_variation(case, request.case, axis.vary, axis.change, f"/{name}/vary")
        for name, axis in (("rows", request.rows), ("columns", request.columns))
        if axis is not None
    ]
    if len(axes) > 1 and share_a_field(*axes):
        detail = "the rows vary this field; vary another one"
        raise InvalidInput.at("/columns/vary", "duplicate", detail)
    return axes


def encode_table_csv(table: TableResult) -> bytes:
    """Encode a header and one line per cell: its inputs, its outputs and its first error."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\r\n")
    columns = table.columns.values if table.columns else (None,)
    writer.writerow(["row", "column", *table.outputs, "error"])
    for row, cells in zip(table.rows.values, table.cells, strict=True):
        for column, cell in zip(columns, cells, strict=True):
            values = cell.values or (None,) * len(table.outputs)
            error = f"{cell.errors[0].pointer}: {cell.errors[0].detail}" if cell.errors else None
            writer.writerow([format_cell(value) for value in (row, column, *values, error)])
    return text.getvalue().encode()


class _CellCases:
    """The case of each cell, by row, then column; built when it is its turn."""

    def __init__(self, request: TableCase, axes: Sequence[CaseVariation]) -> None:
        self._request, self._axes = request, axes

    def __len__(self) -> int:
        columns = self._request.columns
        return len(self._request.rows.values) * (len(columns.values) if columns else 1)

    def __iter__(self) -> Iterator[dict[str, Token]]:
        request, axes = self._request, self._axes
        for row_value in request.rows.values:
            row_case = axes[0].apply(request.case, row_value)
            if request.columns is None:
                yield row_case
            else:
                for column_value in request.columns.values:
                    yield axes[1].apply(row_case, column_value)


def _check_size(request: TableCase) -> None:
    checker = FieldChecker()
    checker.require_size("/outputs", len(request.outputs), MAX_OUTPUTS)
    cells = 1
    for name, axis in (("rows", request.rows), ("columns", request.columns)):
        if axis is not None:
            checker.require_size(f"/{name}/values", len(axis.values), MAX_CELLS)
            checker.require_each(f"/{name}/values", axis.values, -MAX_AMOUNT, MAX_AMOUNT)
            cells *= len(axis.values)
    numbers = _count_numbers(request.case)
    if cells > MAX_CELLS:
        detail = f"the table has {cells} cells, at most {MAX_CELLS} are allowed; send parts of it"
        checker.reject("/rows/values", "too_many", detail)
    elif cells * numbers > MAX_TABLE_NUMBERS:
        detail = (
            f"{cells} cells of a case with {numbers} numbers are more than {MAX_TABLE_NUMBERS} "
            "numbers; send parts of the table"
        )
        checker.reject("/rows/values", "too_many", detail)
    checker.raise_errors()


def _count_numbers(token: Token) -> int:
    if isinstance(token, list):
        return sum(map(_count_numbers, token))
    if isinstance(token, dict):
        return sum(map(_count_numbers, token.values()))
    return 1 if isinstance(token, NumberToken) else 0


def _list_warnings(
    cells: Sequence[TableCell], problems: int, outputs: Sequence[ResultOutput]
) -> tuple[str, ...]:
    warnings = []
    if problems:
        warnings.append(f"{problems} of {len(cells)} cells have errors in place of values")
    for index, output in enumerate(outputs):
        if problems < len(cells) and all(
            c.values is None or c.values[index] is None for c in cells
        ):
            warnings.append(f"{output.text} has no value in any cell")
    return tuple(warnings)
