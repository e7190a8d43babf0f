"""Vectorized IRR, NPV and minimum DSCR over many scenarios in NumPy.

The scalar functions of `rates_of_return` are the reference; tests hold this engine equal to them.
A deal's scenarios form one array, time along the first axis and scenarios along the second, so that
each step of the arithmetic runs over contiguous memory.

The rate of return takes three stages. A scalar solve of the mean path gives a centre. Around it,
f(x) = sum c_t exp(-x t) is a polynomial of low degree in x to many digits, and one matrix product
gives its coefficients for all scenarios; a few short Newton steps find their roots. One full Horner
step in v = 1/(1 + i) then corrects them exactly, and is also the proof: its length bounds the
error, and its partial values are the outstanding balances, whose single sign shows that the root is
the only one (Descartes' rule on the deflated polynomial). Paths without this proof go to the scalar
reference, one at a time.

Determinism: each deal is valued alone, in blocks whose size depends on its array size only, and
each matrix product is smaller than the size at which OpenBLAS would split it between threads. The
same input therefore gives the same bits for any number of workers.
"""

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_PERIODS,
    MAX_RATE,
    MIN_POSITIVE,
    FieldChecker,
)
from spawn.domain.finance.returns.rates_of_return import irr as scalar_irr

FloatArray = NDArray[np.float64]
CodeArray = NDArray[np.int8]
BoolArray = NDArray[np.bool_]

MAX_SCENARIOS = 1_000_000
"""Scenarios per deal."""

_BLOCK_SCENARIOS = 2_048
_DEGREE = 11
_MAX_SINGLE_THREAD_SIZE = 262_144
_POLYNOMIAL_STEPS = 6
_NEWTON_STEPS = 30
_MAX_LOG_DISCOUNT = 600.0
_CENTRE_STEPS = 12
_CENTRE_TOLERANCE = 0.05
_CENTRE_REACH = 300.0
_SHORT_STEP = 1e-5
_POLYNOMIAL_STEP_LIMIT = 1e-4
_MAX_GUESS = 6.0
_INTERVAL_MARGIN = 1.1
_MIN_INTERVAL = 1e-6
_MAX_LOG_RATE = 30.0
_SIGN_TOLERANCE = 1e-12
_MAX_NODE_DISTANCE = 1.02

# Chebyshev nodes on [-1, 1], and the matrix from values there to coefficients of powers.
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_POWERS_FROM_NODES = np.linalg.inv(np.vander(_NODES, increasing=True))


class IrrStatus(IntEnum):
    """The typed outcome of a path, as in `RateOutcome`."""

    UNIQUE = 0
    SEVERAL = 1
    NONE = 2
    UNDEFINED = 3


_STATUS_CODES = {
    "unique": IrrStatus.UNIQUE,
    "several": IrrStatus.SEVERAL,
    "none": IrrStatus.NONE,
    "undefined": IrrStatus.UNDEFINED,
}


class Deal(NamedTuple):
    """A project's equity flows: flow_t = fixed_t + cfads_t x factor_t, t from 0.

    `fixed` has the flows common to all scenarios (equity paid in, debt service as negatives);
    `debt_service` is the positive denominator of the DSCR of a period, 0 where none is due. All
    three have the same length. `discount_rate` is per period, for the NPV.
    """

    fixed: FloatArray
    cfads: FloatArray
    debt_service: FloatArray
    discount_rate: float


class DealValuation(NamedTuple):
    """The IRR, NPV and minimum DSCR of a deal per scenario.

    `irr` is per period and meaningful only where `irr_status` is UNIQUE; elsewhere it is 0.0, a
    placeholder that `unique_irr` omits. `min_dscr` is over the periods with debt service;
    `has_debt_service` is False when there is none, and `min_dscr` is then 0.0.
    """

    irr: FloatArray
    irr_status: CodeArray
    npv: FloatArray
    min_dscr: FloatArray
    has_debt_service: bool

    def unique_irr(self) -> FloatArray:
        """Return the rates of the scenarios that have exactly one."""
        return np.asarray(self.irr[self.irr_status == IrrStatus.UNIQUE])


def allocate_workspace(periods: int, scenarios: int) -> FloatArray:
    """Allocate scratch memory that `value_deal` can reuse for deals up to this size."""
    return np.empty((2, periods, min(scenarios, _BLOCK_SCENARIOS)))


def value_deal(deal: Deal, factors: FloatArray, scratch: FloatArray | None = None) -> DealValuation:
    """Value one deal over its scenarios; `factors` is (periods, scenarios), multiplying CFADS.

    `scratch` is memory from `allocate_workspace`; its contents are undefined before and after.

    Raises:
        InvalidInput: arrays of different lengths, too many periods or scenarios, a non-finite
            number, a discount rate outside its limits.
    """
    _check_deal(deal, factors)
    periods, scenarios = factors.shape
    rates, status = np.zeros(scenarios), np.zeros(scenarios, dtype=np.int8)
    npv, min_dscr = np.empty(scenarios), np.zeros(scenarios)
    weights = _discount_weights(deal.discount_rate, periods, "/discount_rate")
    if (
        scratch is None
        or scratch.shape[1] < periods
        or scratch.shape[2] < min(scenarios, _BLOCK_SCENARIOS)
    ):
        scratch = allocate_workspace(periods, scenarios)
    with np.errstate(over="ignore", invalid="ignore"):  # the check of the NPV rejects them
        for start in range(0, scenarios, _BLOCK_SCENARIOS):
            part = slice(start, min(start + _BLOCK_SCENARIOS, scenarios))
            cash = scratch[0][:periods, : part.stop - part.start]
            np.multiply(factors[:, part], deal.cfads[:, None], cash)
            min_dscr[part] = _min_dscr(cash, deal.debt_service, scratch[1])
            np.add(cash, deal.fixed[:, None], cash)
            npv[part] = np.einsum("t,ts->s", weights, cash)
            if not np.isfinite(npv[part]).all():
                raise InvalidInput.at(
                    "/factors", "out_of_range", "a path is not finite; give smaller factors"
                )
            rates[part], status[part] = _block_irr(cash, scratch[1])
    return DealValuation(
        rates, status, npv, min_dscr, bool((deal.debt_service >= MIN_POSITIVE).any())
    )


def _min_dscr(cash: FloatArray, debt_service: FloatArray, scratch: FloatArray) -> FloatArray:
    """Return the smallest CFADS / debt service of each path; zeros without debt service."""
    tested_periods = np.flatnonzero(debt_service >= MIN_POSITIVE)
    if tested_periods.size == 0:
        return np.zeros(cash.shape[1])
    first, last = int(tested_periods[0]), int(tested_periods[-1]) + 1
    if tested_periods.size < last - first:  # a gap in the debt service: gather the tested rows
        return np.asarray((cash[tested_periods] / debt_service[tested_periods, None]).min(axis=0))
    ratio = scratch[: last - first, : cash.shape[1]]
    np.divide(cash[first:last], debt_service[first:last, None], ratio)
    return np.asarray(ratio.min(axis=0))


def value_portfolio(
    deals: Sequence[Deal],
    factors: Callable[[int], FloatArray],
    on_result: Callable[[int, DealValuation], None],
) -> None:
    """Value deals one after the other; memory holds one deal's scenarios at a time.

    `factors(k)` returns the (periods, scenarios) factors of deal k; `on_result` receives each
    result and may stop the run by raising. Deals are independent, so that callers may distribute
    them.

    Raises:
        InvalidInput: as `value_deal`.
    """
    scratch: FloatArray | None = None
    for index, deal in enumerate(deals):
        paths = factors(index)
        if scratch is None and paths.ndim == 2:  # noqa: PLR2004 - time and scenario
            scratch = allocate_workspace(*paths.shape)
        on_result(index, value_deal(deal, paths, scratch))


def batch_irr(flows: FloatArray) -> tuple[FloatArray, CodeArray]:
    """Compute rates of return per period of (periods, scenarios) paths, and their status.

    Raises:
        InvalidInput: an array that is not two-dimensional, empty, too large or not finite.
    """
    _check_shape(flows, "/flows")
    _check_paths(flows)
    rates, status = np.zeros(flows.shape[1]), np.zeros(flows.shape[1], dtype=np.int8)
    for start in range(0, flows.shape[1], _BLOCK_SCENARIOS):
        part = slice(start, min(start + _BLOCK_SCENARIOS, flows.shape[1]))
        block = np.ascontiguousarray(flows[:, part])
        rates[part], status[part] = _block_irr(block, np.empty_like(block))
    return rates, status


def batch_npv(flows: FloatArray, rate: float) -> FloatArray:
    """Compute net present values of many paths, the first flow not discounted.

    Raises:
        InvalidInput: as `batch_irr`, or a rate outside (-1, 100].
    """
    _check_shape(flows, "/flows")
    _check_rate(rate, "/rate")
    _check_paths(flows)
    return np.asarray(np.einsum("t,ts->s", _discount_weights(rate, flows.shape[0], "/rate"), flows))


def value_flow_series(
    series: Sequence[Sequence[float]], rates: Sequence[float | None], *, needs_irr: bool
) -> tuple[list[float], list[float | None]] | None:
    """Return the rate of return and the present value of each of many series of equal length.

    Args:
        series: the flows of each series, the first not discounted.
        rates: the discount rate per period of each series; None without a present value.
        needs_irr: whether to compute the rates of return, which are empty otherwise.

    Returns:
        None if the rate of a series is not proved to be its only one.

    Raises:
        InvalidInput: as `batch_irr` and `batch_npv`.
    """
    flows = np.ascontiguousarray(np.array(series, dtype=np.float64).T)
    _check_shape(flows, "/flows")
    _check_paths(flows)
    irrs: list[float] = []
    if needs_irr:
        values, status = _block_irr(flows, np.empty_like(flows), solves_unproved=False)
        if (status != IrrStatus.UNIQUE).any():
            return None
        irrs = values.tolist()
    present_values: list[float | None] = [None] * len(series)
    for rate in {rate for rate in rates if rate is not None}:
        positions = [index for index, other in enumerate(rates) if other == rate]
        values = batch_npv(np.ascontiguousarray(flows[:, positions]), rate)
        for index, value in zip(positions, values.tolist(), strict=True):
            present_values[index] = value
    return irrs, present_values


def percentiles(values: FloatArray, levels: Sequence[float]) -> tuple[float, ...]:
    """Compute percentiles by linear interpolation; `levels` run from 0 to 100.

    Raises:
        InvalidInput: no values, or a level outside 0..100.
    """
    checker = FieldChecker()
    if values.size == 0:
        checker.reject("/values", "empty", "must have at least one value")
    checker.require_each("/levels", levels, 0.0, 100.0)
    checker.raise_errors()
    return tuple(float(value) for value in np.percentile(values, levels))


def _check_deal(deal: Deal, factors: FloatArray) -> None:
    _check_shape(factors, "/factors")
    checker = FieldChecker()
    for pointer, values in (
        ("/fixed", deal.fixed),
        ("/cfads", deal.cfads),
        ("/debt_service", deal.debt_service),
    ):
        if values.shape != factors.shape[:1]:
            checker.reject(pointer, "wrong_length", f"must have {factors.shape[0]} items")
    checker.raise_errors()
    if not bool((deal.debt_service >= 0.0).all()):
        raise InvalidInput.at("/debt_service", "out_of_range", "must not be negative")
    _check_rate(deal.discount_rate, "/discount_rate")


def _check_shape(values: FloatArray, pointer: str) -> None:
    if values.ndim != 2 or values.dtype != np.float64:  # noqa: PLR2004 - time and scenario
        raise InvalidInput.at(pointer, "wrong_shape", "must be float64 (periods, scenarios)")
    checker = FieldChecker()
    checker.require_size(pointer, values.shape[0], MAX_PERIODS + 1)
    checker.require_size(pointer, values.shape[1], MAX_SCENARIOS)
    checker.raise_errors()


def _check_rate(rate: float, pointer: str) -> None:
    if not -1.0 < rate <= MAX_RATE:
        raise InvalidInput.at(pointer, "out_of_range", f"must be above -1 and at most {MAX_RATE}")


def _check_paths(flows: FloatArray) -> None:
    # Minimum and maximum propagate a NaN, which fails the comparison.
    if not (float(flows.min()) >= -MAX_AMOUNT and float(flows.max()) <= MAX_AMOUNT):
        raise InvalidInput.at("/flows", "out_of_range", f"must be finite, at most {MAX_AMOUNT:g}")


def _discount_weights(rate: float, periods: int, pointer: str) -> FloatArray:
    if -math.log1p(rate) * periods > _MAX_LOG_DISCOUNT:
        raise InvalidInput.at(pointer, "overflow", "discounts beyond float64; raise the rate")
    return np.asarray(np.exp(-np.log1p(rate) * np.arange(periods)))


def _multiply_single_threaded(matrix: FloatArray, flows: FloatArray) -> FloatArray:
    """Multiply in column blocks small enough for BLAS to use one thread."""
    rows, periods = matrix.shape
    width = max(_MAX_SINGLE_THREAD_SIZE // (rows * periods), 1)
    result = np.empty((rows, flows.shape[1]))
    for start in range(0, flows.shape[1], width):
        part = slice(start, start + width)
        np.matmul(matrix, flows[:, part], out=result[:, part])
    return result


def _block_irr(
    flows: FloatArray, scratch: FloatArray, *, solves_unproved: bool = True
) -> tuple[FloatArray, CodeArray]:
    """Return rates and status of one block of paths; `scratch` is as large as `flows`.

    The scalar solve of a path without proof takes as long as thousands of others; without it, the
    path is UNDEFINED.
    """
    rates = np.zeros(flows.shape[1])
    status = np.full(flows.shape[1], IrrStatus.UNDEFINED, dtype=np.int8)
    unproved_paths = np.ones(flows.shape[1], dtype=bool)
    active_flows = _trim_zero_rows(flows)
    centre = _approximate_log_rate(active_flows.mean(axis=1)) if active_flows.shape[0] > 1 else None
    if centre is not None:
        log_rates, is_proved = _prove_rates(active_flows, centre, scratch)
        rates[is_proved] = np.expm1(log_rates[is_proved])
        status[is_proved] = IrrStatus.UNIQUE
        unproved_paths = ~is_proved
    for column in np.flatnonzero(unproved_paths) if solves_unproved else ():
        outcome = scalar_irr(flows[:, column].tolist())
        rates[column] = outcome.rate or 0.0
        status[column] = _STATUS_CODES[outcome.status]
    return rates, status


def _trim_zero_rows(flows: FloatArray) -> FloatArray:
    """Return the rows from the first to the last with any flow."""
    first, last = 0, flows.shape[0]
    while first < last and not flows[first].any():
        first += 1
    while last > first and not flows[last - 1].any():
        last -= 1
    return flows[first:last]


def _approximate_log_rate(path: FloatArray) -> float | None:
    """Approximate the log rate of one path by Newton on ln(inflows / outflows)."""
    times = np.arange(path.shape[0], dtype=np.float64)
    inflow, outflow = np.maximum(path, 0.0), np.maximum(-path, 0.0)
    x = 0.0
    for _ in range(_CENTRE_STEPS):
        decay = np.exp(-x * times)
        discounted_inflow, discounted_outflow = float(inflow @ decay), float(outflow @ decay)
        if not (discounted_inflow > 0.0 and discounted_outflow > 0.0):
            return None
        decay *= times
        mean_distance = (
            float(inflow @ decay) / discounted_inflow - float(outflow @ decay) / discounted_outflow
        )
        if mean_distance == 0.0:
            return None
        step = math.log(discounted_inflow / discounted_outflow) / mean_distance
        x += step
        if not abs(x) * times[-1] <= _CENTRE_REACH:
            return None
        if abs(step) * times[-1] <= _CENTRE_TOLERANCE:
            break
    return x


def _prove_rates(
    flows: FloatArray, centre: float, scratch: FloatArray
) -> tuple[FloatArray, BoolArray]:
    """Return log rates near a centre, and which are proved exact and the only root."""
    with np.errstate(all="ignore"):  # the comparisons below reject what diverges
        x, slope = _estimate_log_rates(flows, centre)
        balances = _horner_balances(flows, np.exp(-x), scratch)
        step = balances[0] / slope
        is_only_root = _have_single_sign(balances[1:])
        span = flows.shape[0] - 1
        # The slope is good to about the step, hence the error to about its square.
        inaccurate = np.flatnonzero(~(np.abs(step) * span <= _SHORT_STEP))
        x -= step
        if inaccurate.size:
            columns = np.ascontiguousarray(flows[:, inaccurate])
            x[inaccurate], is_only_root[inaccurate] = _iterate_newton(columns, x[inaccurate])
        return x, is_only_root & (np.abs(x) <= _MAX_LOG_RATE)


def _iterate_newton(flows: FloatArray, x: FloatArray) -> tuple[FloatArray, BoolArray]:
    """Take full Newton steps for paths that the local polynomial approximates badly."""
    span = flows.shape[0] - 1
    scratch = np.empty_like(flows)
    has_converged = np.zeros(x.shape, dtype=bool)
    x = np.where(np.isfinite(x), x, 0.0)
    for _ in range(_NEWTON_STEPS):
        v = np.exp(-x)
        balances = _horner_balances(flows, v, scratch)
        slope = np.zeros_like(v)
        for row in balances[:0:-1]:
            slope *= v
            slope += row
        step = -balances[0] / (slope * v)
        has_converged = np.abs(step) * span <= _SHORT_STEP
        x = x - step
        if has_converged.all():
            break
    return x, has_converged & _have_single_sign(balances[1:])


def _estimate_log_rates(flows: FloatArray, centre: float) -> tuple[FloatArray, FloatArray]:
    """Estimate log rates, and the slope of f there, by the local polynomial of each path."""
    times = np.arange(flows.shape[0], dtype=np.float64)
    lags = times - 0.5 * times[-1]
    decay = np.exp(-centre * times)
    moments = np.stack([decay, -lags * decay, lags * lags * decay])
    value, slope, curvature = np.einsum("kt,ts->ks", moments, flows)
    guess = -value / slope
    guess /= 1.0 + 0.5 * guess * curvature / slope  # Halley's step
    limit = _MAX_GUESS / times[-1]
    guess = np.nan_to_num(guess, nan=0.0, posinf=limit, neginf=-limit).clip(-limit, limit)
    low, high = min(float(guess.min()), 0.0), max(float(guess.max()), 0.0)
    shift, half = (
        0.5 * (low + high),
        max(_INTERVAL_MARGIN * 0.5 * (high - low), _MIN_INTERVAL / times[-1]),
    )
    values = np.exp(-np.outer(shift + half * _NODES, lags)) * decay
    coefficients = _multiply_single_threaded(_POWERS_FROM_NODES @ values, flows)
    guess -= shift
    guess /= half
    u, slope = _solve_polynomials(coefficients, guess)
    distance = shift + half * u
    return centre + distance, slope * np.exp(-0.5 * times[-1] * distance) / half


def _solve_polynomials(coefficients: FloatArray, u: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Take Newton steps on all local polynomials together; return roots and last slopes."""
    rows = list(coefficients[-2::-1])
    value, slope = np.empty_like(u), np.empty_like(u)
    for _ in range(_POLYNOMIAL_STEPS):
        value[:] = coefficients[-1]
        slope.fill(0.0)
        for row in rows:
            np.multiply(slope, u, slope)
            np.add(slope, value, slope)
            np.multiply(value, u, value)
            np.add(value, row, value)
        value /= slope
        u -= value
        np.clip(u, -_MAX_NODE_DISTANCE, _MAX_NODE_DISTANCE, out=u)
        if float(np.abs(value).max()) <= _POLYNOMIAL_STEP_LIMIT:
            break
    return u, slope


def _horner_balances(flows: FloatArray, v: FloatArray, scratch: FloatArray) -> FloatArray:
    """Evaluate Horner's scheme: row 0 is f(v), row t the balance after period t."""
    last = flows.shape[0] - 1
    balances = scratch[: last + 1, : flows.shape[1]]
    balances[last] = flows[last]
    previous_row = balances[last]
    for row, flow in zip(list(balances)[-2::-1], list(flows)[-2::-1], strict=True):
        np.multiply(previous_row, v, row)
        np.add(row, flow, row)
        previous_row = row
    return balances


def _have_single_sign(balances: FloatArray) -> BoolArray:
    """Return whether all balances of a path have one sign, beyond rounding."""
    low, high = balances.min(axis=0), balances.max(axis=0)
    return np.asarray((low > _SIGN_TOLERANCE * high) | (high < _SIGN_TOLERANCE * low))
