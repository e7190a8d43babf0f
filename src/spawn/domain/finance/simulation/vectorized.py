"""Revaluing many scenarios at once: IRR, NPV and minimum DSCR in NumPy.

The scalar functions of `returns` are the reference; this engine is tested equal to them. A deal's
scenarios form one array, time along the first axis and scenarios along the second, so that each
step of the arithmetic runs over contiguous memory.

The rate of return is found in three stages. A scalar solve of the mean path gives a centre. Around
it, f(x) = sum c_t exp(-x t) is a polynomial of low degree in x to many digits, and one matrix
product gives its coefficients for all scenarios, whose roots a few short Newton steps find. One
full Horner step in v = 1/(1 + i) then corrects them exactly, and is also the proof: its length
bounds the error, and its partial values are the outstanding balances, whose single sign shows
that the root is the only one (Descartes' rule on the deflated polynomial). What this does not
certify goes to the scalar reference, one path at a time.

Determinism: each deal is valued alone, in blocks whose size depends on its shape only, and each
matrix product is kept below the size at which OpenBLAS would split it between threads. The same
input therefore gives the same bits, whatever the number of workers.
"""

import math
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import MAX_AMOUNT, MAX_PERIODS, MAX_RATE, SMALLEST, Checker
from spawn.domain.finance.returns.rates_of_return import irr as scalar_irr

Floats = NDArray[np.float64]
Codes = NDArray[np.int8]
Flags = NDArray[np.bool_]

MAX_SCENARIOS = 1_000_000
"""Scenarios of one deal."""

_BLOCK = 2_048
_DEGREE = 11
_BLAS_ONE_THREAD = 262_144
_POLISH_STEPS = 6
_NEWTON_STEPS = 30
_LOG_TOP = 600.0
_CENTRE_STEPS = 12
_CENTRE_NEAR = 0.05
_CENTRE_REACH = 300.0
_SHORT_STEP = 1e-5
_POLISHED = 1e-4
_WIDEST = 6.0
_MARGIN = 1.1
_NARROW = 1e-6
_FAR = 30.0
_CLEAR = 1e-12
_OUTSIDE = 1.02

# Chebyshev nodes on [-1, 1], and the matrix from values there to coefficients of powers.
_NODES = np.cos(np.pi * (np.arange(_DEGREE + 1) + 0.5) / (_DEGREE + 1))
_FROM_NODES = np.linalg.inv(np.vander(_NODES, increasing=True))


class IrrStatus(IntEnum):
    """The typed outcome of each path, as in `returns.RateOutcome`."""

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
    """One project's equity view: flow_t = fixed_t + cfads_t x factor_t, t from 0.

    `fixed` holds what scenarios do not move (equity paid in, debt service as negative amounts);
    `debt_service` is the positive amount that the DSCR of a period divides by, 0 where none is
    due. All three have the same length. `discount_rate` is per period, for the NPV.
    """

    fixed: Floats
    cfads: Floats
    debt_service: Floats
    discount_rate: float


class Valuation(NamedTuple):
    """One number a scenario.

    `irr` is per period and meaningful only where `irr_status` is UNIQUE; elsewhere it is 0.0, a
    placeholder that `unique_irr` leaves out. `min_dscr` is over the periods with debt service;
    `tested` is False when there is none, and `min_dscr` is then 0.0.
    """

    irr: Floats
    irr_status: Codes
    npv: Floats
    min_dscr: Floats
    tested: bool

    def unique_irr(self) -> Floats:
        """The rates of the scenarios that have exactly one."""
        return np.asarray(self.irr[self.irr_status == IrrStatus.UNIQUE])


def workspace(periods: int, scenarios: int) -> Floats:
    """Scratch memory that `value_deal` may reuse from deal to deal of at most this size."""
    return np.empty((2, periods, min(scenarios, _BLOCK)))


def value_deal(deal: Deal, factors: Floats, scratch: Floats | None = None) -> Valuation:
    """Value one deal over its scenarios; `factors` is (periods, scenarios), multiplying CFADS.

    `scratch` is a `workspace` to reuse; its contents mean nothing before and after.

    Raises:
        InvalidInput: shapes that do not fit, too many periods or scenarios, a non-finite number,
            a discount rate outside its bounds.
    """
    _check_deal(deal, factors)
    periods, scenarios = factors.shape
    rates, status = np.zeros(scenarios), np.zeros(scenarios, dtype=np.int8)
    npv, cover = np.empty(scenarios), np.zeros(scenarios)
    weights = _discount_weights(deal.discount_rate, periods, "/discount_rate")
    if scratch is None or scratch.shape[1] < periods or scratch.shape[2] < min(scenarios, _BLOCK):
        scratch = workspace(periods, scenarios)
    with np.errstate(over="ignore", invalid="ignore"):  # the check of the NPV refuses them
        for start in range(0, scenarios, _BLOCK):
            part = slice(start, min(start + _BLOCK, scenarios))
            cash = scratch[0][:periods, : part.stop - part.start]
            np.multiply(factors[:, part], deal.cfads[:, None], cash)
            cover[part] = _min_cover(cash, deal.debt_service, scratch[1])
            np.add(cash, deal.fixed[:, None], cash)
            npv[part] = np.einsum("t,ts->s", weights, cash)
            if not np.isfinite(npv[part]).all():
                raise InvalidInput.at("/factors", "out_of_range", "a path is not finite")
            rates[part], status[part] = _block_irr(cash, scratch[1])
    return Valuation(rates, status, npv, cover, bool((deal.debt_service >= SMALLEST).any()))


def _min_cover(cash: Floats, debt_service: Floats, scratch: Floats) -> Floats:
    """The smallest CFADS / debt service of each path; zeros when no debt service is due."""
    tested = np.flatnonzero(debt_service >= SMALLEST)
    if tested.size == 0:
        return np.zeros(cash.shape[1])
    first, last = int(tested[0]), int(tested[-1]) + 1
    if tested.size < last - first:  # a gap in the debt service: copy the tested rows together
        return np.asarray((cash[tested] / debt_service[tested, None]).min(axis=0))
    ratio = scratch[: last - first, : cash.shape[1]]
    np.divide(cash[first:last], debt_service[first:last, None], ratio)
    return np.asarray(ratio.min(axis=0))


def value_portfolio(
    deals: Sequence[Deal],
    factors: Callable[[int], Floats],
    on_valued: Callable[[int, Valuation], None],
) -> None:
    """Value deals one after the other; memory holds one deal's scenarios at a time.

    `factors(k)` gives the (periods, scenarios) factors of deal k; `on_valued` takes each result
    and may stop the run by raising. Deals are independent, so that callers may share them out.

    Raises:
        InvalidInput: as `value_deal`.
    """
    scratch: Floats | None = None
    for index, deal in enumerate(deals):
        paths = factors(index)
        if scratch is None and paths.ndim == 2:  # noqa: PLR2004 - time and scenario
            scratch = workspace(*paths.shape)
        on_valued(index, value_deal(deal, paths, scratch))


def batch_irr(flows: Floats) -> tuple[Floats, Codes]:
    """Rates of return per period of many paths, (periods, scenarios), and their status.

    Raises:
        InvalidInput: an array that is not two-dimensional, empty, too large or not finite.
    """
    _check_shape(flows, "/flows")
    _check_paths(flows)
    rates, status = np.zeros(flows.shape[1]), np.zeros(flows.shape[1], dtype=np.int8)
    for start in range(0, flows.shape[1], _BLOCK):
        part = slice(start, min(start + _BLOCK, flows.shape[1]))
        block = np.ascontiguousarray(flows[:, part])
        rates[part], status[part] = _block_irr(block, np.empty_like(block))
    return rates, status


def batch_npv(flows: Floats, rate: float) -> Floats:
    """Net present values of many paths, the first flow not discounted.

    Raises:
        InvalidInput: as `batch_irr`, or a rate outside (-1, 100].
    """
    _check_shape(flows, "/flows")
    _check_rate(rate, "/rate")
    _check_paths(flows)
    return np.asarray(np.einsum("t,ts->s", _discount_weights(rate, flows.shape[0], "/rate"), flows))


def percentiles(values: Floats, levels: Sequence[float]) -> tuple[float, ...]:
    """Percentiles by linear interpolation; `levels` run from 0 to 100.

    Raises:
        InvalidInput: no values, or a level outside 0..100.
    """
    check = Checker()
    if values.size == 0:
        check.refuse("/values", "empty", "has no values")
    check.each("/levels", levels, 0.0, 100.0)
    check.done()
    return tuple(float(value) for value in np.percentile(values, levels))


def _check_deal(deal: Deal, factors: Floats) -> None:
    _check_shape(factors, "/factors")
    check = Checker()
    for pointer, values in (
        ("/fixed", deal.fixed),
        ("/cfads", deal.cfads),
        ("/debt_service", deal.debt_service),
    ):
        if values.shape != factors.shape[:1]:
            check.refuse(pointer, "wrong_length", f"must have {factors.shape[0]} items")
    check.done()
    if not bool((deal.debt_service >= 0.0).all()):
        raise InvalidInput.at("/debt_service", "out_of_range", "must not be negative")
    _check_rate(deal.discount_rate, "/discount_rate")


def _check_shape(values: Floats, pointer: str) -> None:
    if values.ndim != 2 or values.dtype != np.float64:  # noqa: PLR2004 - time and scenario
        raise InvalidInput.at(pointer, "wrong_shape", "must be float64 (periods, scenarios)")
    check = Checker()
    check.size(pointer, values.shape[0], MAX_PERIODS + 1)
    check.size(pointer, values.shape[1], MAX_SCENARIOS)
    check.done()


def _check_rate(rate: float, pointer: str) -> None:
    if not -1.0 < rate <= MAX_RATE:
        raise InvalidInput.at(pointer, "out_of_range", f"must be above -1 and at most {MAX_RATE}")


def _check_paths(flows: Floats) -> None:
    # Minimum and maximum let a NaN through to the comparison, which it fails.
    if not (float(flows.min()) >= -MAX_AMOUNT and float(flows.max()) <= MAX_AMOUNT):
        raise InvalidInput.at("/flows", "out_of_range", f"must be finite, at most {MAX_AMOUNT:g}")


def _discount_weights(rate: float, periods: int, pointer: str) -> Floats:
    if -math.log1p(rate) * periods > _LOG_TOP:
        raise InvalidInput.at(pointer, "overflow", "discounts beyond float64")
    return np.asarray(np.exp(-np.log1p(rate) * np.arange(periods)))


def _product(matrix: Floats, flows: Floats) -> Floats:
    """The matrix product, in column blocks that BLAS computes on one thread."""
    rows, periods = matrix.shape
    width = max(_BLAS_ONE_THREAD // (rows * periods), 1)
    result = np.empty((rows, flows.shape[1]))
    for start in range(0, flows.shape[1], width):
        part = slice(start, start + width)
        np.matmul(matrix, flows[:, part], out=result[:, part])
    return result


def _block_irr(flows: Floats, scratch: Floats) -> tuple[Floats, Codes]:
    """Rates and status of one block of paths; `scratch` is as large as `flows`."""
    rates = np.zeros(flows.shape[1])
    status = np.full(flows.shape[1], IrrStatus.UNDEFINED, dtype=np.int8)
    open_paths = np.ones(flows.shape[1], dtype=bool)
    live = _trimmed(flows)
    centre = _centre(live.mean(axis=1)) if live.shape[0] > 1 else None
    if centre is not None:
        log_rates, certain = _certified(live, centre, scratch)
        rates[certain] = np.expm1(log_rates[certain])
        status[certain] = IrrStatus.UNIQUE
        open_paths = ~certain
    for column in np.flatnonzero(open_paths):
        outcome = scalar_irr(flows[:, column].tolist())
        rates[column] = outcome.rate or 0.0
        status[column] = _STATUS_CODES[outcome.status]
    return rates, status


def _trimmed(flows: Floats) -> Floats:
    """The rows from the first to the last in which any path moves."""
    first, last = 0, flows.shape[0]
    while first < last and not flows[first].any():
        first += 1
    while last > first and not flows[last - 1].any():
        last -= 1
    return flows[first:last]


def _centre(path: Floats) -> float | None:
    """A log rate near the root of one path: Newton on ln(inflows / outflows), roughly."""
    times = np.arange(path.shape[0], dtype=np.float64)
    inflow, outflow = np.maximum(path, 0.0), np.maximum(-path, 0.0)
    x = 0.0
    for _ in range(_CENTRE_STEPS):
        decay = np.exp(-x * times)
        gain, cost = float(inflow @ decay), float(outflow @ decay)
        if not (gain > 0.0 and cost > 0.0):
            return None
        decay *= times
        distance = float(inflow @ decay) / gain - float(outflow @ decay) / cost
        if distance == 0.0:
            return None
        step = math.log(gain / cost) / distance
        x += step
        if not abs(x) * times[-1] <= _CENTRE_REACH:
            return None
        if abs(step) * times[-1] <= _CENTRE_NEAR:
            break
    return x


def _certified(flows: Floats, centre: float, scratch: Floats) -> tuple[Floats, Flags]:
    """Log rates near a centre, and which of them are exact and proved to be the only root."""
    with np.errstate(all="ignore"):  # what strays is caught by the comparisons below
        x, slope = _start(flows, centre)
        balances = _balances(flows, np.exp(-x), scratch)
        step = balances[0] / slope
        alone = _single_signed(balances[1:])
        span = flows.shape[0] - 1
        # The slope is good to about the step, hence the error to about its square.
        late = np.flatnonzero(~(np.abs(step) * span <= _SHORT_STEP))
        x -= step
        if late.size:
            x[late], alone[late] = _newton(np.ascontiguousarray(flows[:, late]), x[late])
        return x, alone & (np.abs(x) <= _FAR)


def _newton(flows: Floats, x: Floats) -> tuple[Floats, Flags]:
    """Full Newton steps for the paths that the local polynomial served badly."""
    span = flows.shape[0] - 1
    scratch = np.empty_like(flows)
    settled = np.zeros(x.shape, dtype=bool)
    x = np.where(np.isfinite(x), x, 0.0)
    for _ in range(_NEWTON_STEPS):
        v = np.exp(-x)
        balances = _balances(flows, v, scratch)
        slope = np.zeros_like(v)
        for row in balances[:0:-1]:
            slope *= v
            slope += row
        step = -balances[0] / (slope * v)
        settled = np.abs(step) * span <= _SHORT_STEP
        x = x - step
        if settled.all():
            break
    return x, settled & _single_signed(balances[1:])


def _start(flows: Floats, centre: float) -> tuple[Floats, Floats]:
    """Approximate log rates, and the slope of f there, from the local polynomial of each path."""
    times = np.arange(flows.shape[0], dtype=np.float64)
    lags = times - 0.5 * times[-1]
    decay = np.exp(-centre * times)
    moments = np.stack([decay, -lags * decay, lags * lags * decay])
    value, slope, bend = np.einsum("kt,ts->ks", moments, flows)
    guess = -value / slope
    guess /= 1.0 + 0.5 * guess * bend / slope  # Halley's step
    limit = _WIDEST / times[-1]
    guess = np.nan_to_num(guess, nan=0.0, posinf=limit, neginf=-limit).clip(-limit, limit)
    low, high = min(float(guess.min()), 0.0), max(float(guess.max()), 0.0)
    shift, half = 0.5 * (low + high), max(_MARGIN * 0.5 * (high - low), _NARROW / times[-1])
    values = np.exp(-np.outer(shift + half * _NODES, lags)) * decay
    coefficients = _product(_FROM_NODES @ values, flows)
    guess -= shift
    guess /= half
    u, slope = _polynomial_root(coefficients, guess)
    distance = shift + half * u
    return centre + distance, slope * np.exp(-0.5 * times[-1] * distance) / half


def _polynomial_root(coefficients: Floats, u: Floats) -> tuple[Floats, Floats]:
    """Newton steps on the local polynomials, all paths together, and the last slopes."""
    rows = list(coefficients[-2::-1])
    value, slope = np.empty_like(u), np.empty_like(u)
    for _ in range(_POLISH_STEPS):
        value[:] = coefficients[-1]
        slope.fill(0.0)
        for row in rows:
            np.multiply(slope, u, slope)
            np.add(slope, value, slope)
            np.multiply(value, u, value)
            np.add(value, row, value)
        value /= slope
        u -= value
        np.clip(u, -_OUTSIDE, _OUTSIDE, out=u)
        if float(np.abs(value).max()) <= _POLISHED:
            break
    return u, slope


def _balances(flows: Floats, v: Floats, scratch: Floats) -> Floats:
    """The partial values of Horner's scheme: row 0 is f(v), row t the balance after period t."""
    last = flows.shape[0] - 1
    balances = scratch[: last + 1, : flows.shape[1]]
    balances[last] = flows[last]
    before = balances[last]
    for row, flow in zip(list(balances)[-2::-1], list(flows)[-2::-1], strict=True):
        np.multiply(before, v, row)
        np.add(row, flow, row)
        before = row
    return balances


def _single_signed(balances: Floats) -> Flags:
    """Whether all balances of a path have one sign, beyond rounding."""
    low, high = balances.min(axis=0), balances.max(axis=0)
    return np.asarray((low > _CLEAR * high) | (high < _CLEAR * low))
