"""Outputs of many cases at once by the vectorized engine, where all of them allow it.

Such cases are the returns of periodic flows of equal length, each with one rate: one matrix product
replaces a solve a case. The scalar calculator remains the reference; a test holds both equal.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import Final, Protocol

from spawn.application.analysis.returns_calculator import MAX_PERIODS_PER_YEAR, ReturnsCase
from spawn.application.analysis.sensitivity.case_evaluation import CaseEvaluator, Steps
from spawn.application.analysis.sensitivity.result_outputs import ResultOutput
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_RATE
from spawn.domain.json_tokens import Token


class CellCases(Protocol):
    """The cases of a table, each built when it is its turn."""

    def __len__(self) -> int:
        """Return the number of cases."""

    def __iter__(self) -> Iterator[dict[str, Token]]:
        """Yield the tokens of each case."""


Columns = Sequence[Sequence[float | None]]
BatchOutput = Callable[[CaseEvaluator, CellCases, Sequence[ResultOutput]], Steps[Columns | None]]
"""A function that returns a column of values for each output; None if a case needs the scalar."""

MIN_BATCH_CASES: Final = 16
"""Cases below which the scalar calculator is as fast."""

_BLOCK_CASES: Final = 256
"""Cases of one step."""

_BATCH_FIELDS: Final = frozenset({"cash_flows", "periods_per_year", "discount_rate"})
_SPARE_FIELDS: Final = tuple(
    name for name in ReturnsCase.__struct_fields__ if name not in _BATCH_FIELDS
)


def compute_returns_batch(
    evaluator: CaseEvaluator,
    cases: CellCases,
    outputs: Sequence[ResultOutput],
) -> Steps[Columns | None]:
    """Return the rates and present values of periodic flows, a step a case and one a block."""
    if len(cases) < MIN_BATCH_CASES or any(o.text not in _READERS for o in outputs):
        return None
    columns: list[list[float | None]] = [[] for _ in outputs]
    remaining = iter(cases)
    length: int | None = None
    while block := list(islice(remaining, _BLOCK_CASES)):
        batch: list[ReturnsCase] = []
        for tokens in block:
            try:
                case: ReturnsCase = evaluator.read(tokens)
            except InvalidInput:
                return None
            batch.append(case)
            length = _count_flows(case) if length is None else length
            if not _is_plain(case) or _count_flows(case) != length:
                return None
            yield
        values = _value_block(batch, outputs)
        if values is None:
            return None
        for column, more in zip(columns, values, strict=True):
            column.extend(more)
        yield
    return columns


def _value_block(batch: Sequence[ReturnsCase], outputs: Sequence[ResultOutput]) -> Columns | None:
    """Value some cases; None where a rate is not proved, or the engine rejects a number."""
    # The engine needs NumPy, whose import takes longer than most requests.
    from spawn.domain.finance.simulation.vectorized import value_flow_series

    series = [case.cash_flows or () for case in batch]
    rates = [_period_rate(case) for case in batch]
    needs_irr = any(output.text != _NPV for output in outputs)
    try:
        values = value_flow_series(series, rates, needs_irr=needs_irr)
    except InvalidInput:  # the scalar calculator names the cell
        return None
    if values is None:
        return None
    irrs, present_values = values
    return [
        present_values if output.text == _NPV else _annualize(output.text, batch, irrs)
        for output in outputs
    ]


def _is_plain(case: ReturnsCase) -> bool:
    """Return whether a case has no field beyond those of the batch, and they are valid."""
    return (
        bool(case.cash_flows)
        and all(getattr(case, name) is None for name in _SPARE_FIELDS)
        and (case.discount_rate is None or -1.0 < case.discount_rate <= MAX_RATE)
        and 1 <= _count_periods(case) <= MAX_PERIODS_PER_YEAR
    )


def _count_flows(case: ReturnsCase) -> int:
    return len(case.cash_flows or ())


def _count_periods(case: ReturnsCase) -> int:
    return 1 if case.periods_per_year is None else case.periods_per_year


def _period_rate(case: ReturnsCase) -> float | None:
    if case.discount_rate is None:
        return None
    return math.expm1(math.log1p(case.discount_rate) / _count_periods(case))


def _annualize(output: str, batch: Sequence[ReturnsCase], irrs: Sequence[float]) -> list[float]:
    annualize = _READERS[output]
    return [annualize(irr, _count_periods(case)) for irr, case in zip(irrs, batch, strict=True)]


_NPV: Final = "/npv"
_READERS: Final[dict[str, Callable[[float, int], float]]] = {
    _NPV: lambda irr, _periods: irr,
    "/rate": lambda irr, _periods: irr,
    "/rates/0": lambda irr, _periods: irr,
    "/effective_pa/0": lambda irr, periods: math.expm1(periods * math.log1p(irr)),
    "/nominal_pa/0": lambda irr, periods: irr * periods,
}
"""The outputs of the batch, computed from the rate a period and the periods a year."""

BATCH_OUTPUTS: Final[dict[str, BatchOutput]] = {"returns": compute_returns_batch}
"""Batches by calculator; a calculator without one is calculated case by case."""
