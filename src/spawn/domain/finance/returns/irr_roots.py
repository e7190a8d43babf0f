"""All real roots of the IRR polynomial f(x) = sum c_i exp(-x t_i), as log rates.

With x = ln(1 + r) the equation of the rate of return is a Dirichlet polynomial, and two facts
count its roots without a search:

* Descartes: there are at most as many roots as sign changes of c, with the same parity.
* Laguerre (1883): the roots right of x are at most the sign changes of the partial sums
  S_k = sum_{i<=k} c_i exp(-x t_i), and the roots left of x at most those of the tail sums.
  At a root all S_k of one sign therefore prove that it is the only one. (For periodic flows S_k
  is the outstanding balance of Teichroew, Robichek and Montalbano, 1965.)

One of them and a few steps of Newton or Halley on ln(inflows/outflows), which is nearly a straight
line in x (`one_sign_change`), suffice for most series. For the others `irr_root_isolation` isolates
every root.
"""

from decimal import Context, Decimal, localcontext
from functools import partial
from operator import is_not
from typing import NamedTuple

from spawn.domain.finance.returns.irr_polynomial import IrrPolynomial
from spawn.domain.finance.returns.irr_root_isolation import isolate_roots
from spawn.domain.finance.returns.one_sign_change import solve_one_sign_change
from spawn.domain.finance.returns.precise_roots import EXACT_DIGITS, MAX_PRECISE_FLOWS, ExactSeries


class IrrRoots(NamedTuple):
    """The roots in ascending order, in log form, and the sign changes of the coefficients."""

    log_rates: tuple[float, ...]
    sign_changes: int
    warnings: tuple[str, ...] = ()


def find_irr_roots(
    times: list[float], amounts: list[float], ticks_per_year: int | None = None
) -> IrrRoots:
    """Find all real roots for increasing `times` and as many non-zero `amounts`.

    With `ticks_per_year` the times are whole ticks: a multiple root is then exact.

    Raises:
        WorkLimitExceeded: the work limit was reached before all roots were isolated.
    """
    signs = [amount > 0.0 for amount in amounts]
    changes = sum(map(is_not, signs, signs[1:]))
    if changes == 0:
        return IrrRoots((), 0)
    if changes == 1:
        split = signs.index(not signs[0])
        if (root := solve_one_sign_change(times, amounts, split)) is not None:
            return IrrRoots((root,), 1)
    largest = max(map(abs, amounts))
    origin = times[0]
    polynomial = IrrPolynomial([t - origin for t in times], [a / largest for a in amounts])
    if (root := polynomial.solve_newton()) is not None and (
        changes == 1 or (polynomial.is_only_root(root) and polynomial.is_well_conditioned(root))
    ):
        return IrrRoots((root,), changes)
    if changes == 1:
        return IrrRoots((polynomial.refine_root(*polynomial.root_bounds()),), changes)
    can_be_exact = len(times) <= MAX_PRECISE_FLOWS
    log_rates, warnings = isolate_roots(
        polynomial,
        partial(_build_exact_series, times, amounts, ticks_per_year) if can_be_exact else None,
    )
    return IrrRoots(log_rates, changes, warnings)


def _build_exact_series(
    times: list[float], amounts: list[float], ticks_per_year: int | None
) -> ExactSeries:
    """Return the flows as they are written."""
    values = tuple(Decimal(repr(float(amount))) for amount in amounts)
    if ticks_per_year is None:
        return ExactSeries(tuple(Decimal(repr(time - times[0])) for time in times), values)
    first = round(times[0] * ticks_per_year)
    with localcontext(Context(prec=EXACT_DIGITS)):
        ticks = [Decimal(round(time * ticks_per_year) - first) for time in times]
        return ExactSeries(tuple(tick / ticks_per_year for tick in ticks), values)
