"""Formula of the debt that CFADS carry beside other facilities."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from spawn.application.analysis.explanation import Explanation, Explanations
from spawn.domain.finance.facilities.repayment_terms import RepaidFacility


class FacilitySeries(NamedTuple):
    """Debt service without the balloon and rates per period, over the tenor of a facility."""

    payments: list[float]
    period_rates: list[float]


def explain_sculpted_capacity(
    facilities: Sequence[RepaidFacility],
    series: Sequence[FacilitySeries],
    cfads: Sequence[float],
    capacity: float | None,
) -> Explanations:
    """Explain the capacity of the sculpted facility; with a floor no one formula has it."""
    places = [n for n, each in enumerate(facilities) if each.is_sculpted]
    if not places or capacity is None or facilities[places[0]].principal_floor is not None:
        return {}
    place = places[0]
    facility, tenor = facilities[place], len(series[place].payments)
    grace = facility.grace_periods
    prior_service = [0.0] * tenor
    for n, (other, own) in enumerate(zip(facilities, series, strict=True)):
        if n != place and other.rank <= facility.rank:
            for t, payment in enumerate(own.payments[:tenor]):
                prior_service[t] += payment
    target = facility.target_dscr
    inputs: dict[str, Any] = {
        "cfads": list(cfads[grace:tenor]),
        "prior_service": prior_service[grace:],
        "target_dscr": target[grace:] if isinstance(target, tuple) else target,
        "period_rates": series[place].period_rates[grace:],
    }
    formula = "sum(pos(cfads - prior_service) / target_dscr * df(period_rates))"
    if facility.target_basis == "total_service":
        formula = "sum(pos(pos(cfads) / target_dscr - prior_service) * df(period_rates))"
    if facility.balloon:
        formula += " + balloon * last(df(period_rates))"
        inputs["balloon"] = facility.balloon
    note = f"periods after the {grace} of the grace" if grace else ""
    return {"dscr_capacity": Explanation(capacity, formula, inputs, note)}
