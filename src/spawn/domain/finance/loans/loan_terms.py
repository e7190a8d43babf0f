"""Terms of a loan: amount, rates, profile and dated events, and the checks of all of them."""

from collections.abc import Sequence
from datetime import date
from typing import Final, Literal

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.finance.limits import (
    MAX_AMOUNT,
    MAX_RATE,
    FieldChecker,
    check_per_period,
)
from spawn.domain.finance.time_base.period_schedule import (
    PeriodSchedule,
    TimeTerms,
    resolve_schedule,
)

RepaymentProfile = Literal["annuity", "straight_line", "bullet", "balloon", "custom", "sculpted"]
GraceInterest = Literal["interest_only", "capitalised"]
ResetEffect = Literal["relevel", "keep_payment"]
PrepaymentEffect = Literal["relevel", "shorten"]
InterestBase = Literal["balance", "fixed"]

_RATE_LIMITS: Final = (-0.5, MAX_RATE)
LOWEST_PERIOD_RATE: Final = -0.9
"""The rate of a whole period that a balance survives."""
_MAX_EVENTS: Final = 2_400
_SHARE_SUM_TOLERANCE: Final = 1e-9  # shares printed with nine decimals pass


class RateReset(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The annual rate from a date on."""

    date: date
    annual_rate: float


class LoanDraw(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A further draw; it bears interest from its date."""

    date: date
    amount: float


class Prepayment(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A prepayment of principal, with the interest accrued on it.

    Later payments are levelled anew (`relevel`) or stay, so that the loan ends earlier (`shorten`).
    By default a given `payment` or `instalment` stays, and others are levelled anew.
    """

    date: date
    amount: float
    effect: PrepaymentEffect | None = None


class LoanTransfer(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A date on which a loan changes hands or ends, at a price (by default its balance).

    The accrued interest is paid beside the price.
    """

    date: date
    price: float | None = None


class LoanOptions(TimeTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a loan beside its amount, rate and profile, on the time of `TimeTerms`.

    `balloon` (amount) or `balloon_share` falls due on the last date, beside its regular payment;
    profile balloon is the straight line to it. `grace_periods` at the start pay no principal; their
    interest is paid or capitalised. `custom_shares` (profile custom) are shares of the principal,
    one a period, that sum to 1. `cfads` (profile sculpted) shapes debt service, so that the DSCR is
    the same in each period.

    Dated loans take events too. `payment` fixes the level payment of an annuity, `instalment` the
    principal of a straight line; the last payment takes the rest. `principal_dates` are the dates
    on which principal falls due, where they are not those of the interest. `accrued_interest` is
    that of a running loan at the start. `capitalise_until` adds interest to the balance up to that
    date. Interest runs on the balance or, `interest_base` `fixed`, on `interest_base_amount` (by
    default the principal), renewed to the balance on the `interest_base_dates`. `rate_resets` set
    the rate from a date on, also inside a period; `reset_effect` levels an annuity anew or keeps
    its payment. `draws`, `prepayments`, `take_over` (the loan is bought) and `termination` (the
    loan ends) are dated.
    """

    balloon: float = 0.0
    balloon_share: float = 0.0
    grace_periods: int = 0
    grace: GraceInterest | None = None
    custom_shares: tuple[float, ...] | None = None
    cfads: tuple[float, ...] | None = None
    payment: float | None = None
    instalment: float | None = None
    allow_negative_amortisation: bool = False
    principal_dates: tuple[date, ...] | None = None
    accrued_interest: float | None = None
    capitalise_until: date | None = None
    interest_base: InterestBase | None = None
    interest_base_amount: float | None = None
    interest_base_dates: tuple[date, ...] | None = None
    rate_resets: tuple[RateReset, ...] | None = None
    reset_effect: ResetEffect | None = None
    draws: tuple[LoanDraw, ...] | None = None
    prepayments: tuple[Prepayment, ...] | None = None
    take_over: LoanTransfer | None = None
    termination: LoanTransfer | None = None


class LoanTerms(LoanOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A loan: amount, rate, profile, and the other terms of `LoanOptions`.

    `principal` is drawn at the start; a series is drawn at the start of the first periods.
    `annual_rates` is one nominal rate or one a period; interest is rate times accrual fraction
    times balance.
    """

    principal: float | tuple[float, ...]
    annual_rates: float | tuple[float, ...]
    profile: RepaymentProfile

    @property
    def has_events(self) -> bool:
        """Whether the loan needs more than one draw and one regular payment a period."""
        return isinstance(self.principal, tuple) or any(
            getattr(self, name) is not None for name in EVENT_FIELDS
        )

    @property
    def first_draw(self) -> float:
        """The amount drawn at the start."""
        return self.principal[0] if isinstance(self.principal, tuple) else self.principal


EVENT_FIELDS: Final = (
    "payment",
    "instalment",
    "principal_dates",
    "accrued_interest",
    "capitalise_until",
    "interest_base",
    "rate_resets",
    "draws",
    "prepayments",
    "take_over",
    "termination",
)
"""Fields that only a loan with dated events has."""


_UNDATED_FIELDS: Final = frozenset({"payment", "instalment", "accrued_interest"})
"""Event fields that need no date: they hold from the start."""


def compute_period_rates(annual: Sequence[float], accruals: Sequence[float]) -> tuple[float, ...]:
    """Return the rates for whole periods: annual rate times accrual fraction.

    Raises:
        InvalidInput: a rate so negative that a period would destroy the balance.
    """
    rates = tuple(rate * tau for rate, tau in zip(annual, accruals, strict=True))
    checker = FieldChecker()
    for index, rate in enumerate(rates):
        if rate < LOWEST_PERIOD_RATE:
            checker.reject(
                f"/annual_rates/{index}", "out_of_range", "is too negative for its period"
            )
    checker.raise_errors()
    return rates


NO_TIME: Final = "give exactly one of payment_dates, dates and accruals"


def resolve_loan_time(terms: TimeTerms) -> PeriodSchedule:
    """Resolve the time of a loan, which has no default number of periods.

    Raises:
        InvalidInput: as `resolve_schedule`, or no time at all.
    """
    if terms.payment_dates is None and terms.dates is None and terms.accruals is None:
        raise InvalidInput.at("/payment_dates", "ambiguous", NO_TIME)
    return resolve_schedule(terms)


def check_loan_terms(terms: LoanTerms, schedule: PeriodSchedule) -> None:
    """Reject terms outside their limits, and terms that the profile or the time has no use for.

    Raises:
        InvalidInput: names each field.
    """
    checker = FieldChecker()
    periods = schedule.periods
    _check_principal(checker, terms, periods)
    check_per_period(checker, "/annual_rates", terms.annual_rates, periods, _RATE_LIMITS)
    checker.require_number("/grace_periods", terms.grace_periods, 0, periods - 1)
    if terms.grace is not None and not terms.grace_periods:
        checker.reject("/grace", "not_applicable", "serves grace_periods; give their number too")
    _check_balloon(checker, terms)
    _check_profile_series(checker, terms, periods)
    _check_event_use(checker, terms, schedule)
    checker.raise_errors()
    if terms.has_events:
        _check_events(checker, terms, schedule)
        checker.raise_errors()


def _check_principal(checker: FieldChecker, terms: LoanTerms, periods: int) -> None:
    if not isinstance(terms.principal, tuple):
        checker.require_positive("/principal", terms.principal)
    elif checker.require_size("/principal", len(terms.principal), periods):
        checker.require_positive("/principal/0", terms.principal[0])
        for index, amount in enumerate(terms.principal[1:], start=1):
            checker.require_amount(f"/principal/{index}", amount, low=0.0)


def _check_balloon(checker: FieldChecker, terms: LoanTerms) -> None:
    checker.require_amount("/balloon", terms.balloon, low=0.0)
    checker.require_number("/balloon_share", terms.balloon_share, 0.0, 1.0)
    if terms.balloon and terms.balloon_share:
        checker.reject(
            "/balloon_share", "ambiguous", "balloon is set too; give an amount or a share"
        )
    if terms.balloon > total_principal(terms):
        checker.reject("/balloon", "out_of_range", "must not exceed the principal")
    if terms.profile == "balloon" and not terms.balloon and not terms.balloon_share:
        checker.reject("/balloon", "required", "profile balloon needs one")
    if terms.profile == "bullet" and (terms.balloon or terms.balloon_share):
        checker.reject("/balloon", "not_applicable", "a bullet repays everything at the end")
    has_fixed_payment = terms.payment is not None or terms.instalment is not None
    if has_fixed_payment and not terms.rate_resets:
        for name in ("balloon", "balloon_share"):
            if getattr(terms, name):
                detail = "the last payment takes what payment or instalment leave"
                checker.reject(f"/{name}", "not_applicable", detail)


def total_principal(terms: LoanTerms) -> float:
    """Return the sum of all draws."""
    first = sum(terms.principal) if isinstance(terms.principal, tuple) else terms.principal
    return first + sum(draw.amount for draw in terms.draws or ())


def _check_profile_series(checker: FieldChecker, terms: LoanTerms, periods: int) -> None:
    if terms.profile == "custom":
        _check_shares(checker, terms.custom_shares, periods)
    elif terms.custom_shares is not None:
        checker.reject("/custom_shares", "not_applicable", "only for profile custom")
    if terms.profile == "sculpted":
        cfads = terms.cfads or ()
        if checker.require_length("/cfads", cfads, periods):
            checker.require_each("/cfads", cfads, 0.0, MAX_AMOUNT)
    elif terms.cfads is not None:
        checker.reject("/cfads", "not_applicable", "only for profile sculpted")


def _check_shares(checker: FieldChecker, shares: tuple[float, ...] | None, periods: int) -> None:
    values = shares or ()
    if not checker.require_length("/custom_shares", values, periods):
        return
    checker.require_each("/custom_shares", values, 0.0, 1.0)
    if not abs(sum(values) - 1.0) <= _SHARE_SUM_TOLERANCE:
        checker.reject("/custom_shares", "wrong_sum", "must sum to 1")


def _check_event_use(checker: FieldChecker, terms: LoanTerms, schedule: PeriodSchedule) -> None:
    """Reject event terms that the profile, the time or other terms leave without a use."""
    uses = {
        "payment": terms.profile == "annuity",
        "instalment": terms.profile == "straight_line",
        "principal_dates": terms.profile in {"annuity", "straight_line", "balloon"},
        "interest_base": terms.profile != "annuity" or terms.payment is not None,
        "allow_negative_amortisation": terms.payment is not None,
        "reset_effect": bool(terms.rate_resets) and terms.profile == "annuity",
        "interest_base_amount": terms.interest_base == "fixed",
        "interest_base_dates": terms.interest_base == "fixed",
    }
    for name, is_used in uses.items():
        value = getattr(terms, name)
        if value is not None and value is not False and not is_used:
            checker.reject(f"/{name}", "not_applicable", _USE_OF[name])
    is_dated = schedule.dates is not None
    follows_events = terms.profile not in {"custom", "sculpted"}
    for name in EVENT_FIELDS:
        if getattr(terms, name) is None:
            continue
        if not follows_events:
            detail = f"does not fit profile {terms.profile}"
            checker.reject(f"/{name}", "not_applicable", detail)
        elif not is_dated and name not in _UNDATED_FIELDS:
            checker.reject(f"/{name}", "not_applicable", "needs dates")
    if isinstance(terms.principal, tuple) and not follows_events:
        detail = f"profile {terms.profile} takes one draw"
        checker.reject("/principal", "not_applicable", detail)


_USE_OF: Final = {
    "payment": "only for profile annuity",
    "instalment": "only for profile straight_line",
    "principal_dates": "the profile has no principal before the end",
    "interest_base": "an annuity is levelled on its balance; give its payment",
    "allow_negative_amortisation": "serves a payment that may not cover the interest",
    "reset_effect": "serves the rate_resets of an annuity",
    "interest_base_amount": "serves interest_base fixed",
    "interest_base_dates": "serves interest_base fixed",
}


def _check_events(checker: FieldChecker, terms: LoanTerms, schedule: PeriodSchedule) -> None:
    for name in ("payment", "instalment", "interest_base_amount"):
        value: float | None = getattr(terms, name)
        if value is not None:
            checker.require_positive(f"/{name}", value)
    if terms.accrued_interest is not None:
        checker.require_amount("/accrued_interest", terms.accrued_interest)
    if terms.rate_resets is not None and isinstance(terms.annual_rates, tuple):
        detail = "the rate is given per period; give the first one and the resets"
        checker.reject("/rate_resets", "ambiguous", detail)
    if terms.principal_dates is not None and terms.grace_periods:
        checker.reject("/grace_periods", "ambiguous", "principal_dates say when principal begins")
    if terms.capitalise_until is not None and terms.grace == "capitalised":
        checker.reject("/capitalise_until", "ambiguous", "the grace is capitalised too")
    if terms.capitalise_until is not None and terms.grace == "interest_only":
        detail = "the grace pays the interest that this capitalises; remove one of them"
        checker.reject("/capitalise_until", "contradiction", detail)
    _check_amounts_of_events(checker, terms)
    if schedule.accrual_dates is not None:
        start, end = schedule.accrual_dates[0], schedule.accrual_dates[-1]
        _check_days_of_events(checker, terms, schedule, start, end)
        _check_lists_of_days(checker, terms, start, end)


def _check_amounts_of_events(checker: FieldChecker, terms: LoanTerms) -> None:
    for index, reset in enumerate(terms.rate_resets or ()):
        pointer = f"/rate_resets/{index}/annual_rate"
        checker.require_number(pointer, reset.annual_rate, *_RATE_LIMITS)
    for name in ("draws", "prepayments"):
        for index, event in enumerate(getattr(terms, name) or ()):
            checker.require_positive(f"/{name}/{index}/amount", event.amount)
    _check_prepayment_effects(checker, terms)
    for name in ("take_over", "termination"):
        transfer: LoanTransfer | None = getattr(terms, name)
        if transfer is not None and transfer.price is not None:
            # A buyer may be paid to take a loan over; a borrower is not paid to end one.
            low = 0.0 if name == "termination" else -MAX_AMOUNT
            checker.require_amount(f"/{name}/price", transfer.price, low=low)


def _check_prepayment_effects(checker: FieldChecker, terms: LoanTerms) -> None:
    is_fixed = terms.payment is not None or terms.instalment is not None
    for index, prepayment in enumerate(terms.prepayments or ()):
        pointer = f"/prepayments/{index}/effect"
        if terms.profile == "bullet" and prepayment.effect == "shorten":
            detail = "a bullet has no instalments that end earlier"
            checker.reject(pointer, "not_applicable", detail)
        if is_fixed and prepayment.effect == "relevel":
            detail = "the payment is given; a prepayment leaves less of the rest at the end"
            checker.reject(pointer, "contradiction", detail)


def _check_days_of_events(
    checker: FieldChecker, terms: LoanTerms, schedule: PeriodSchedule, start: date, end: date
) -> None:
    """Reject events outside the loan, two resets on one day, and an end before the take-over.

    A payment date and the accrual date that it was moved from are one day.
    """
    accrual_day_of = _map_to_accrual_days(schedule)
    days: list[tuple[str, date]] = []
    for name in ("rate_resets", "draws", "prepayments"):
        events = getattr(terms, name)
        if events is not None and checker.require_size(f"/{name}", len(events), _MAX_EVENTS):
            days += [(f"/{name}/{index}/date", event.date) for index, event in enumerate(events)]
    _check_order_of_transfers(checker, terms, schedule, days)
    for name in ("take_over", "termination"):
        transfer: LoanTransfer | None = getattr(terms, name)
        days += [(f"/{name}/date", transfer.date)] if transfer is not None else []
    if terms.capitalise_until is not None:
        days.append(("/capitalise_until", terms.capitalise_until))
    for pointer, day in days:
        if not start < day < end:
            checker.reject(pointer, "out_of_range", f"must be after {start} and before {end}")
    resets = [accrual_day_of.get(reset.date, reset.date) for reset in terms.rate_resets or ()]
    if len(set(resets)) < len(resets):
        checker.reject("/rate_resets", "duplicate", "two resets have one date")


def _check_order_of_transfers(
    checker: FieldChecker, terms: LoanTerms, schedule: PeriodSchedule, days: list[tuple[str, date]]
) -> None:
    """Reject events that the termination leaves without an effect, those of its day too."""
    if terms.termination is None:
        return
    accrual_day_of = _map_to_accrual_days(schedule)
    ending = terms.termination.date
    end = accrual_day_of.get(ending, ending)
    for pointer, day in [*days, *_list_contract_days(terms, schedule, end)]:
        if accrual_day_of.get(day, day) >= end:
            checker.reject(pointer, "out_of_order", f"must be before the termination on {ending}")
    if terms.take_over is not None:
        purchase_day = terms.take_over.date
        if accrual_day_of.get(purchase_day, purchase_day) >= end:
            checker.reject("/termination/date", "out_of_order", "must be after the take-over")


def _map_to_accrual_days(schedule: PeriodSchedule) -> dict[date, date]:
    return dict(zip(schedule.dates or (), schedule.accrual_dates or (), strict=True))


def _list_contract_days(
    terms: LoanTerms, schedule: PeriodSchedule, end: date
) -> list[tuple[str, date]]:
    """Return the dates of the draws of a series, and of a base that is never renewed.

    Principal dates after the end are those of the loan as it was agreed, and remain.
    """
    days: list[tuple[str, date]] = []
    if isinstance(terms.principal, tuple):
        days += [
            (f"/principal/{index}", day)
            for index, (amount, day) in enumerate(
                zip(terms.principal, schedule.accrual_dates or (), strict=False)
            )
            if amount
        ]
    renewals = terms.interest_base_dates or ()
    if renewals and min(renewals) >= end:
        days.append(("/interest_base_dates/0", renewals[0]))
    return days


def _check_lists_of_days(checker: FieldChecker, terms: LoanTerms, start: date, end: date) -> None:
    for name in ("principal_dates", "interest_base_dates"):
        days: tuple[date, ...] | None = getattr(terms, name)
        if days is None or not checker.require_size(f"/{name}", len(days), _MAX_EVENTS):
            continue
        checker.require_increasing(f"/{name}", days)
        for index, day in enumerate(days):
            if not start <= day <= end:
                detail = f"must be from {start} to {end}"
                checker.reject(f"/{name}/{index}", "out_of_range", detail)
