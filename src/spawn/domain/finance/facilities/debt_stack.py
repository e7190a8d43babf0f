"""Facilities beside each other: their sizes at a funded cost, and their debt service by rank.

Facilities of a given amount or share repay by their profile. The sculpted one takes the CFADS that
are left by the facilities of its rank and of those before it. Every size follows from the funded
cost U: a share is one of U, a gearing cap limits the debt to its share of U.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from operator import sub
from typing import Final, Literal, NamedTuple

import msgspec

from spawn.domain.errors import FieldError, Infeasible, InvalidInput
from spawn.domain.finance.facilities.facility_terms import LENDER_KINDS
from spawn.domain.finance.facilities.repayment_terms import (
    AFFINE_FIELDS,
    RepaidFacility,
    expand_targets,
    loan_fields_of,
    tenor_of,
)
from spawn.domain.finance.facilities.sculpting import (
    SculptingTerms,
    carry_balances,
    find_service_factor,
    repay_debt,
)
from spawn.domain.finance.limits import MAX_AMOUNT, MIN_POSITIVE, ROUNDING_NOISE
from spawn.domain.finance.loans.loan_results import LoanRow
from spawn.domain.finance.loans.loan_schedule import build_loan_on_schedule
from spawn.domain.finance.loans.loan_terms import LoanTerms, compute_period_rates
from spawn.domain.finance.period_lists import list_periods
from spawn.domain.finance.time_base.period_schedule import PeriodSchedule

SizeLimit = Literal[
    "dscr", "gearing", "share_of_cost", "commitment", "llcr", "plcr", "average_life"
]

_LARGEST_FACTOR: Final = 1e9


class Repayment(NamedTuple):
    """A facility in its periods of repayment; the balloon is a part of the last principal.

    Balances run from the start to the end, the other series by period, all of them over the
    tenor. `payments` are interest that is paid, principal and the `extras`, apart from the balloon
    and early repayments, which CFADS do not carry (ADR 0009).
    `annual_rates` are those of a loan whose rate is reset inside a period.
    """

    balances: Sequence[float]
    interest: Sequence[float]
    capitalised: Sequence[float]
    principal: Sequence[float]
    payments: Sequence[float]
    balloon: float
    level_payment: float | None = None
    warnings: tuple[str, ...] = ()
    annual_rates: Sequence[float] | None = None
    extras: "PaymentExtras | None" = None

    @property
    def balances_before_balloon(self) -> list[float]:
        """The balances; the last one is what the balloon repays."""
        return [*self.balances[:-1], self.balloon]

    @property
    def growing_periods(self) -> list[int]:
        """The periods, from 1, whose payment is below the interest, the balloon apart."""
        balances = self.balances_before_balloon
        noise = ROUNDING_NOISE * max(balances)
        return [t for t in range(1, len(balances)) if balances[t] > balances[t - 1] + noise]


class PaymentExtras(NamedTuple):
    """Payments by period beside interest and scheduled principal, of a loan with events."""

    accrued_interest: Sequence[float]
    premium: Sequence[float]
    early_repayment: Sequence[float]


class StackSizing(NamedTuple):
    """The facilities at a funded cost; `factor` scales the debt service of the sculpted one.

    In `exceeded_periods` the service ahead is above the CFADS / target of all service; in
    `short_periods` the interest of the balloon is above what the target allows.
    """

    amounts: tuple[float, ...]
    repayments: tuple[Repayment, ...]
    binding: SizeLimit
    capacity: float | None
    factor: float | None
    floor_periods: tuple[int, ...] = ()
    exceeded_periods: tuple[int, ...] = ()
    short_periods: tuple[int, ...] = ()

    def sum_payments(self, periods: int) -> list[float]:
        """Return the debt service of all facilities by period, the balloons apart."""
        total = [0.0] * periods
        for repayment in self.repayments:
            for t, payment in enumerate(repayment.payments):
                total[t] += payment
        return total


class _UnitLoan(msgspec.Struct):
    """The last repayment of a facility: it scales with the amount, or serves the same amount."""

    amount: float
    repayment: Repayment


class DebtStack:
    """Facilities on the periods of repayment; sizes and repayments follow from a funded cost."""

    def __init__(
        self,
        facilities: Sequence[RepaidFacility],
        schedule: PeriodSchedule,
        annual_rates: Sequence[Sequence[float]],
        *,
        max_gearing: float | None,
        is_within_cost: bool = False,
        places: Sequence[int] | None = None,
        periods_before: int = 0,
    ) -> None:
        """Prepare facilities whose terms have been checked.

        Args:
            facilities: in any order.
            schedule: the periods of repayment.
            annual_rates: by facility, one a period of repayment.
            max_gearing: senior and mezzanine debt over the funded cost, at most.
            is_within_cost: whether debt exceeds the funded cost in no case, also without a cap.
            places: the indices of the facilities in the case, by default their own.
            periods_before: the number of periods before repayment, which messages count.
        """
        self.periods_before = periods_before
        self._facilities = facilities
        self._schedule = schedule
        self.annual_rates = annual_rates
        self._max_gearing = 1.0 if max_gearing is None and is_within_cost else max_gearing
        self._is_within_cost = is_within_cost
        self._limit_pointer = "/facilities" if max_gearing is None else "/max_gearing"
        self._places = range(len(facilities)) if places is None else places
        fractions = schedule.accrual_fractions
        self.period_rates = [compute_period_rates(rates, fractions) for rates in annual_rates]
        self._loans: dict[int, _UnitLoan] = {}
        places = [index for index, each in enumerate(facilities) if each.is_sculpted]
        self.sculpted_index = places[0] if places else None

    def size(
        self,
        cfads: Sequence[float],
        funded_cost: float,
        *,
        other_funding: float = 0.0,
        is_final: bool = True,
    ) -> StackSizing:
        """Size every facility at a funded cost, on the CFADS that debt service may take.

        A capped debt leaves room for the `other_funding` of the cost, such as grants. A trial that
        is not final takes a debt beyond its limits as it is, because the funded cost is still
        searched for.

        Raises:
            InvalidInput: CFADS that carry no debt, debt beyond the gearing cap, or repayment
                terms that do not fit an amount.
        """
        amounts = [
            each.commitment if each.commitment is not None else (each.share or 0.0) * funded_cost
            for each in self._facilities
        ]
        repayments = [
            self.repay(index, amount) if index != self.sculpted_index else _NOTHING
            for index, amount in enumerate(amounts)
        ]
        if self.sculpted_index is None:
            if is_final:
                self._check_gearing(amounts, funded_cost)
            binding: SizeLimit = (
                "commitment"
                if all(each.share is None for each in self._facilities)
                else "share_of_cost"
            )
            return StackSizing(tuple(amounts), tuple(repayments), binding, None, None)
        terms = self._sculpting_terms(self.sculpted_index, cfads, repayments)
        limit = None
        if self._max_gearing is not None:
            limit = min(self._max_gearing * funded_cost, funded_cost - other_funding)
        sizing = self._sculpt(terms, limit, amounts, repayments)
        if is_final:
            self._check_sculpting(sizing, funded_cost, other_funding)
        return sizing

    def _sculpt(
        self,
        terms: SculptingTerms,
        limit: float | None,
        amounts: list[float],
        repayments: list[Repayment],
    ) -> StackSizing:
        index = self.sculpted_index or 0
        largest = carry_balances(terms)
        capacity = largest[0] if self._facilities[index].target_dscr is not None else None
        debt, binding = self._limit_debt(index, capacity, limit, amounts)
        factor = find_service_factor(terms, debt, largest[0])
        amounts[index] = debt
        if factor is None or not 0.0 < factor <= _LARGEST_FACTOR:
            return StackSizing(tuple(amounts), tuple(repayments), binding, capacity, None)
        if factor != 1.0:
            largest = carry_balances(terms, factor)
        balances, factor = repay_debt(terms, largest, debt, factor)
        repayments[index] = _build_repayment(balances, self.period_rates[index], terms.balloon)
        floor_periods = () if terms.floor is None else _list_floor_periods(terms, balances)
        exceeded_periods = _list_exceeded_periods(terms, factor)
        return StackSizing(
            tuple(amounts),
            tuple(repayments),
            binding,
            capacity,
            factor,
            floor_periods,
            exceeded_periods,
            _list_short_periods(terms, largest),
        )

    def _check_sculpting(
        self, sizing: StackSizing, funded_cost: float, other_funding: float
    ) -> None:
        """Reject a sculpted debt that cash or gearing do not allow, and one that grows."""
        index = self.sculpted_index or 0
        capacity, pointer = sizing.capacity, f"/facilities/{self._places[index]}"
        if capacity is not None and not MIN_POSITIVE <= capacity <= MAX_AMOUNT:
            detail = "carries no debt; lower the target DSCR or raise CFADS"
            raise Infeasible.at("/cfads", "no_debt_capacity", detail)
        if sizing.amounts[index] < MIN_POSITIVE:
            raise self._no_room_error(sizing.amounts, funded_cost, other_funding)
        if sizing.factor is None:
            detail = "the CFADS do not repay this debt; lower it or its balloon"
            raise Infeasible.at(pointer, "no_debt_capacity", detail)
        self._check_gearing(sizing.amounts, funded_cost)
        if sizing.short_periods:
            numbers = [self.periods_before + number for number in sizing.short_periods]
            detail = f"its interest is above what CFADS allow in {list_periods(numbers)}; lower it"
            raise Infeasible.at(f"{pointer}/balloon", "exceeds_debt", detail)
        self._check_growth(index, sizing.repayments[index])
        self._check_floor(index, sizing.repayments[index])

    def _no_room_error(
        self, amounts: Sequence[float], funded_cost: float, other_funding: float
    ) -> Infeasible:
        """Return the error of a sculpted debt for which the others leave no cost to fund."""
        others = self._sum_debt(amounts)
        gearing_limit = (self._max_gearing or 0.0) * funded_cost
        if self._limit_pointer == "/max_gearing" and gearing_limit <= others:
            detail = "leaves no debt to size beside the other facilities; raise it"
            return Infeasible.at("/max_gearing", "no_debt_capacity", detail)
        detail = (
            f"the others fund {others + other_funding:.10g} of the cost of {funded_cost:.10g} and "
            "leave no debt to size; lower them"
        )
        return Infeasible.at("/facilities", "no_debt_capacity", detail)

    def _sculpting_terms(
        self, index: int, cfads: Sequence[float], repayments: Sequence[Repayment]
    ) -> SculptingTerms:
        """Return the debt service that CFADS allow beside the facilities ahead."""
        facility, periods = self._facilities[index], self._schedule.periods
        tenor = tenor_of(facility, periods)
        ahead = [0.0] * tenor
        for other, repayment in zip(self._facilities, repayments, strict=True):
            if other.rank <= facility.rank:
                for t, payment in enumerate(repayment.payments[:tenor]):
                    ahead[t] += payment
        targets = expand_targets(facility, periods)
        floor = facility.principal_floor
        is_total = facility.target_basis == "total_service"
        cash = cfads[:tenor] if is_total else list(map(sub, cfads[:tenor], ahead))
        return SculptingTerms(
            [max(amount, 0.0) / target for amount, target in zip(cash, targets, strict=True)],
            self.period_rates[index][:tenor],
            facility.grace_periods,
            facility.balloon,
            floor,
            ahead if is_total and any(ahead) else None,
        )

    def _limit_debt(
        self, index: int, capacity: float | None, limit: float | None, amounts: Sequence[float]
    ) -> tuple[float, SizeLimit]:
        """Return the sculpted debt: as given, or what cash and gearing allow."""
        if capacity is None:
            is_share = self._facilities[index].share is not None
            return amounts[index], "share_of_cost" if is_share else "commitment"
        if limit is None:
            return capacity, "dscr"
        room = max(limit - self._sum_debt(amounts), 0.0)
        return (capacity, "dscr") if room >= capacity else (room, "gearing")

    def _sum_debt(self, amounts: Sequence[float]) -> float:
        """Return senior and mezzanine debt; the sculpted one counts once it has an amount."""
        return sum(
            amount
            for each, amount in zip(self._facilities, amounts, strict=True)
            if each.kind in LENDER_KINDS
        )

    def _check_gearing(self, amounts: Sequence[float], funded_cost: float) -> None:
        if self._max_gearing is None:
            return
        limit = self._max_gearing * funded_cost
        debt = self._sum_debt(amounts)
        if debt > limit * (1.0 + ROUNDING_NOISE):
            name = "the cap of" if self._limit_pointer == "/max_gearing" else "the funded cost of"
            detail = f"the facilities sum up to {debt:.10g}, above {name} {limit:.10g}; lower them"
            raise Infeasible.at(self._limit_pointer, "exceeds_debt", detail)

    def repay(self, index: int, amount: float) -> Repayment:
        """Return the repayment of a facility by its profile, from the last one where it scales.

        Raises:
            InvalidInput: terms of the loan that do not fit the amount.
        """
        facility = self._facilities[index]
        loan = self._loans.get(index)
        if loan is not None and loan.amount == amount:
            return loan.repayment
        scales = all(getattr(facility, name, None) in {None, 0.0} for name in AFFINE_FIELDS)
        if not scales:
            repayment = self._build_loan(index, amount)
            self._loans[index] = _UnitLoan(amount, repayment)
            return repayment
        if loan is None:
            loan = self._loans[index] = _UnitLoan(1.0, self._build_loan(index, 1.0))
        return _scale_repayment(loan.repayment, amount)

    def _build_loan(self, index: int, amount: float) -> Repayment:
        facility = self._facilities[index]
        tenor = tenor_of(facility, self._schedule.periods)
        rates = tuple(self.annual_rates[index][:tenor])
        schedule = self._schedule.take_periods(0, tenor)
        with (
            prefix_errors(f"/facilities/{self._places[index]}", {"/principal": "/commitment"}),
            _point_at_payment(has_switch=not self._is_within_cost),
        ):
            loan = build_loan_on_schedule(
                LoanTerms(
                    principal=amount,
                    annual_rates=rates[0] if len(set(rates)) == 1 else rates,
                    profile=facility.profile or "annuity",
                    **loan_fields_of(facility),  # type: ignore[arg-type]  # the loan's own fields
                ),
                schedule,
            )
        rows = loan.rows
        balloon = 0.0
        if getattr(facility, "termination", None) is None:
            due_last = rows[-1].principal - rows[-1].early_repayment
            balloon = facility.balloon + facility.balloon_share * amount
            # Prepayments may have repaid a part of it.
            balloon = due_last if facility.profile == "bullet" else min(balloon, due_last)
        payments = [row.payment - row.early_repayment for row in rows]
        payments[-1] -= balloon
        repayment = Repayment(
            balances=[amount, *(row.closing_balance for row in rows)],
            interest=[row.interest for row in rows],
            capitalised=[row.capitalised for row in rows],
            principal=[row.principal for row in rows],
            payments=payments,
            balloon=balloon,
            level_payment=loan.level_payment,
            warnings=tuple(f"{facility.name}: {warning}" for warning in loan.warnings),
            annual_rates=[row.annual_rate for row in rows],
            extras=_list_extras(rows),
        )
        if self._is_within_cost:
            self._reject_growing_loan(index, repayment)
        return repayment

    def _reject_growing_loan(self, index: int, repayment: Repayment) -> None:
        """Reject a level payment below the interest: nobody lends the rest in operation."""
        numbers = [self.periods_before + number for number in repayment.growing_periods]
        if numbers:
            detail = f"its payments are below the interest in {list_periods(numbers)}; use another"
            pointer = f"/facilities/{self._places[index]}/profile"
            raise Infeasible.at(pointer, "negative_amortisation", detail)

    def _check_floor(self, index: int, repayment: Repayment) -> None:
        """Reject a floor that the debt, or the cash of a period, is too small for."""
        facility = self._facilities[index]
        floor, balances = facility.principal_floor, repayment.balances_before_balloon
        if not floor:
            return
        below = [
            self.periods_before + t + 1
            for t in range(facility.grace_periods, len(balances) - 1)
            if balances[t] - balances[t + 1] < floor - ROUNDING_NOISE * max(balances[0], floor)
        ]
        if below:
            detail = f"is not paid in {list_periods(below)}: debt or CFADS are too small; lower it"
            pointer = f"/facilities/{self._places[index]}/principal_floor"
            raise Infeasible.at(pointer, "exceeds_debt", detail)

    def _check_growth(self, index: int, repayment: Repayment) -> None:
        facility = self._facilities[index]
        if facility.allow_negative_amortisation:
            return
        growing = [self.periods_before + t for t in repayment.growing_periods]
        if growing and facility.principal_floor is not None:
            detail = f"is above the debt of {repayment.balances[0]:.10g}; lower it"
            pointer = f"/facilities/{self._places[index]}/balloon"
            raise Infeasible.at(pointer, "exceeds_debt", detail)
        if growing:
            raise Infeasible.at(
                f"/facilities/{self._places[index]}/principal_floor",
                "negative_amortisation",
                f"the balance would grow in {list_periods(growing)}; give a floor"
                + ("" if self._is_within_cost else ", or allow_negative_amortisation"),
            )


_NOTHING: Final = Repayment((), (), (), (), (), 0.0)


def _list_extras(rows: Sequence[LoanRow]) -> PaymentExtras | None:
    if not any(row.accrued_interest or row.premium or row.early_repayment for row in rows):
        return None
    return PaymentExtras(
        [row.accrued_interest for row in rows],
        [row.premium for row in rows],
        [row.early_repayment for row in rows],
    )


def _build_repayment(
    balances: Sequence[float], rates: Sequence[float], balloon: float
) -> Repayment:
    tenor = len(balances) - 1
    interest = [balances[t] * rates[t] for t in range(tenor)]
    principal = [balances[t] - balances[t + 1] for t in range(tenor)]
    payments = [paid + due for paid, due in zip(interest, principal, strict=True)]
    principal[-1] += balloon
    return Repayment([*balances[:-1], 0.0], interest, [0.0] * tenor, principal, payments, balloon)


def _scale_repayment(unit: Repayment, amount: float) -> Repayment:
    def scale(values: Sequence[float]) -> list[float]:
        return [amount * value for value in values]

    return Repayment(
        scale(unit.balances),
        scale(unit.interest),
        scale(unit.capitalised),
        scale(unit.principal),
        scale(unit.payments),
        amount * unit.balloon,
        None if unit.level_payment is None else amount * unit.level_payment,
        unit.warnings,
        unit.annual_rates,
    )


def _list_floor_periods(terms: SculptingTerms, balances: Sequence[float]) -> tuple[int, ...]:
    """Return the periods in which principal is at its floor."""
    floor, noise = terms.floor or 0.0, ROUNDING_NOISE * balances[0]
    return tuple(
        t + 1
        for t in range(terms.grace, len(terms.services))
        if balances[t] - balances[t + 1] <= floor + noise
    )


def _list_short_periods(terms: SculptingTerms, largest: Sequence[float]) -> tuple[int, ...]:
    """Return the periods that leave less debt than the balloon room for interest and floor."""
    noise = ROUNDING_NOISE * max(largest)
    return tuple(
        t + 1
        for t in range(terms.grace, len(terms.services))
        if terms.floor is not None and largest[t] < terms.balloon - noise
    )


def _list_exceeded_periods(terms: SculptingTerms, factor: float) -> tuple[int, ...]:
    """Return the periods in which the service ahead is more than all service may be."""
    return tuple(
        t + 1
        for t, other in enumerate(terms.ahead or ())
        if other > terms.services[t] * factor * (1.0 + ROUNDING_NOISE)
    )


@contextmanager
def _point_at_payment(*, has_switch: bool) -> Iterator[None]:
    """Reject a payment below its interest by itself, where no switch allows it."""
    try:
        yield
    except Infeasible as error:
        if has_switch or error.errors[0].pointer != "/allow_negative_amortisation":
            raise
        detail = "does not cover the interest of the loan; raise it"
        raise Infeasible.at("/payment", "negative_amortisation", detail) from error


@contextmanager
def prefix_errors(pointer: str, names: dict[str, str]) -> Iterator[None]:
    """Prefix the pointers of errors inside; `names` are pointers with another name here."""
    try:
        yield
    except InvalidInput as error:
        errors = [_prefix_error(entry, pointer, names) for entry in error.errors]
        raise type(error)(errors) from error


def _prefix_error(error: FieldError, pointer: str, names: dict[str, str]) -> FieldError:
    path = error.pointer
    if path.startswith("/annual_rates"):
        path = "/rate"
    return msgspec.structs.replace(error, pointer=pointer + names.get(path, path))
