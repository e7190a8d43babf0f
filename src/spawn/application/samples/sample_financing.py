"""Synthetic financing of a sample project: a senior loan, its ledger, a case and a covenant.

The loan follows the attributes of its project: debt is what equity leaves of the cost, the tenor
that of the project, and the cash covers debt service by the target of the sector. Older loans are
taken over with an opening position; younger ones have every draw and payment. Payments are exactly
what falls due, up to a day; a project in default misses the last one. Lenders are fictitious.
"""

import random
from bisect import bisect_right
from datetime import date, timedelta
from decimal import ROUND_HALF_EVEN, Decimal
from enum import StrEnum
from itertools import pairwise
from typing import Any

import msgspec

from spawn.application.projects.sample_data import SampleProject
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_case import CaseKind, CaseTerms
from spawn.domain.covenants.covenant_set import CovenantTermSheet
from spawn.domain.covenants.exact_ratios import CoverMetric
from spawn.domain.dates import add_months
from spawn.domain.facilities.facility import (
    Facility,
    FacilityFees,
    FacilityKind,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.ledger import EntryFacts, EntryKind, LedgerEntry, build_entry_id
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.facilities.principal_arrears import PrincipalDues, find_principal_dues
from spawn.domain.projects.project import ProjectStatus

LENDERS = (
    *("Anchor Credit Bank", "Baltic Project Finance", "Cedar Development Bank"),
    *("Delta Infrastructure Debt Fund", "Equator Export Finance", "Foundry Insurance Loans"),
)
FIRST_FULL_YEAR = 2022
"""Loans closed since then have their whole ledger; older ones an opening position."""

DEFAULT_LEVEL = Decimal("1.05")
LOCKUP_MARGIN = Decimal("0.10")
RELEASE_MARGIN = Decimal("0.05")
WINDOW_MONTHS = 12
PAYMENTS_AFTER_OPENING = 2
_DRAWS = 4
_LAST_PLAIN_DAY = 28
_DAY = timedelta(days=1)
_YEAR_MONTHS, _PERIOD_MONTHS = 12, 6
_COVER_CYCLE = 40
_DRAWN_STATUSES = frozenset(
    {
        *(ProjectStatus.CONSTRUCTION, ProjectStatus.SUSPENDED),
        *(ProjectStatus.OPERATION, ProjectStatus.DEFAULTED),
    }
)
OPERATING = frozenset({ProjectStatus.OPERATION, ProjectStatus.DEFAULTED})


class SampleCover(StrEnum):
    """The cover of debt service by the cash of a sample project."""

    SOUND = "sound"
    NEAR_LOCKUP = "near_lockup"
    LOCKED_UP = "locked_up"
    IN_DEFAULT = "in_default"
    WAIVED = "waived"


class SampleFinancing(msgspec.Struct, frozen=True, kw_only=True):
    """The ledger of the loan of one sample project, and how its cash covers the debt service.

    The `tested_on` date is that of the recorded test of the `covenant` on the `case`; all three
    are None before the project has operated for a year.
    """

    entries: tuple[EntryFacts, ...]
    cover: SampleCover
    case: CaseTerms | None = None
    covenant: CovenantTermSheet | None = None
    tested_on: date | None = None


def build_loan_terms(sample: SampleProject, seed: str, on: date) -> FacilityTermSheet | None:
    """Return the terms of the loan of a sample project; None before its close, and once repaid.

    Args:
        sample: the project.
        seed: text that the random figures derive from.
        on: the day by which a repaid loan has matured.
    """
    if get_status(sample) not in _DRAWN_STATUSES | {ProjectStatus.FINANCIAL_CLOSE}:
        return None
    terms = _build_terms(_seed_random(seed), sample)
    return None if terms.dates is None or terms.dates[-1] <= on else terms


def generate_financing(
    sample: SampleProject, facility: Facility, seed: str, on: date, operating_number: int
) -> SampleFinancing:
    """Return the ledger of the loan of a sample project, its case and its covenant.

    Args:
        sample: the project.
        facility: the loan, as recorded.
        seed: text that the random figures derive from.
        on: the last day of entries and tests.
        operating_number: counts the projects in operation, and picks how cash covers debt.
    """
    status, rng = get_status(sample), _seed_random(f"{seed}:ledger")
    cover = _choose_cover(status, operating_number)
    facts = _EntryBuilder(facility, on)
    if status in _DRAWN_STATUSES:
        facts.record_loan(rng, misses_last=cover is SampleCover.IN_DEFAULT)
    financing = SampleFinancing(entries=tuple(facts.entries), cover=cover)
    service = facts.list_service(_read(sample, "cod_date")) if status in OPERATING else []
    currency_code, target = facility.currency_code, _read(sample, "dscr")
    return _add_covenant(rng, financing, service, on, (currency_code, target))


def _seed_random(seed: str) -> random.Random:
    return random.Random(seed)  # noqa: S311 - sample data, not a secret


def get_status(sample: SampleProject) -> ProjectStatus:
    """Return the status of a sample project after its transitions."""
    return sample.transitions[-1].to if sample.transitions else ProjectStatus.PROPOSED


def _read(sample: SampleProject, name: str) -> Any:
    return sample.attributes.core[name]


def _choose_cover(status: ProjectStatus, number: int) -> SampleCover:
    if status is ProjectStatus.DEFAULTED:
        return SampleCover.IN_DEFAULT
    by_rest = {5: SampleCover.NEAR_LOCKUP, 15: SampleCover.LOCKED_UP, 25: SampleCover.NEAR_LOCKUP}
    if number == 2:  # noqa: PLR2004 - one project of each sample
        return SampleCover.WAIVED
    return by_rest.get(number % _COVER_CYCLE, SampleCover.SOUND)


def _build_terms(rng: random.Random, sample: SampleProject) -> FacilityTermSheet:
    close, cod = _read(sample, "financial_close_date"), _read(sample, "cod_date")
    first = _plain_day(close)
    equity = Decimal(bytes(sample.attributes.extensions["x_equity_share"] or b"0").decode())
    debt = _round_down(_read(sample, "total_amount") * (1 - equity))
    is_full = close.year >= FIRST_FULL_YEAR
    months = (cod.year - first.year) * _YEAR_MONTHS + cod.month - first.month
    grace_periods = max(-(-months // _PERIOD_MONTHS), 1)
    repayments = int(_read(sample, "maturity_years")) * _YEAR_MONTHS // _PERIOD_MONTHS
    periods = grace_periods + repayments
    floats = rng.random() < 0.4  # noqa: PLR2004 - two loans in five float
    return FacilityTermSheet(
        name="Senior term loan",
        kind=FacilityKind.SENIOR,
        currency_code=_read(sample, "currency_code"),
        commitment=debt,
        availability_start=close,
        availability_end=cod + timedelta(days=30),
        lenders=_build_lenders(rng),
        rate=RateBasis(curve="6M reference rate", margin=_spread(rng), floor=Decimal(0))
        if floats
        else RateBasis(fixed_rate=_spread(rng) + Decimal("0.03")),
        fees=FacilityFees(upfront_fee=Decimal("0.015"), commitment_fee=Decimal("0.005"))
        if is_full
        else FacilityFees(),
        day_count="ACT/360" if floats else "ACT/365F",
        # Listed, not rolled: a loan is resolved with each of its entries.
        dates=tuple(add_months(first, _PERIOD_MONTHS * number) for number in range(periods + 1)),
        repayment=FacilityRepayment(
            profile="straight_line" if floats else "annuity",
            grace_periods=grace_periods,
            grace="interest_only",
        ),
    )


def _plain_day(day: date) -> date:
    """Return the day in a form that every month has."""
    return day.replace(day=min(day.day, _LAST_PLAIN_DAY))


def _round_down(amount: Decimal) -> Decimal:
    """Return a sum of three significant digits, as commitments are quoted."""
    whole = Decimal(int(amount))
    quantum = Decimal(1).scaleb(max(whole.adjusted() - 2, 0))
    return Decimal(int(whole / quantum)) * Decimal(int(quantum))


def _spread(rng: random.Random) -> Decimal:
    return Decimal(rng.randrange(150, 326, 25)).scaleb(-4)


def _build_lenders(rng: random.Random) -> tuple[LenderShare, ...]:
    names = rng.sample(LENDERS, 3)
    shares = (Decimal("33.333"), Decimal("33.333"), Decimal("33.334"))
    return tuple(LenderShare(lender=n, share=s) for n, s in zip(names, shares, strict=True))


class DebtService(msgspec.Struct, frozen=True):
    """The payment of a loan on a due date by its schedule, and the due date before."""

    after: date
    due_on: date
    interest: Decimal
    principal: Decimal


class _EntryBuilder:
    """The facts of a ledger in the making, in the order of their days."""

    def __init__(self, facility: Facility, on: date) -> None:
        self._facility = facility
        self._on = on
        self._ledger: list[LedgerEntry] = []
        self._dates = facility.dates or ()
        self.entries: list[EntryFacts] = []
        self._dues = PrincipalDues(currency_code=facility.currency_code)

    def record_loan(self, rng: random.Random, *, misses_last: bool) -> None:
        """Record the draws or the opening position, the fixings, and the payments."""
        facility, on = self._facility, self._on
        is_full = facility.availability_start.year >= FIRST_FULL_YEAR
        starts = self._draw() if is_full else self._open()
        if not starts:
            return
        start = starts[0]
        due = [day for day in self._dates[1:] if start < day <= on]
        if facility.rate is not None and facility.rate.curve is not None:
            for day in (start, *due):
                rate = Decimal(rng.randrange(180, 420, 5)).scaleb(-4)
                self._add(EntryFacts(kind=EntryKind.RATE_FIXING, value_date=day, rate=rate))
        self._ledger.sort(key=lambda entry: (entry.value_date, entry.number))
        self._dues = find_principal_dues(facility, self._ledger)
        for day in due[: len(due) - misses_last]:
            self._pay(day)
        # A rate is fixed before the draw that bears it.
        self.entries.sort(key=lambda e: (e.value_date, e.kind is not EntryKind.RATE_FIXING))

    def _draw(self) -> list[date]:
        facility = self._facility
        first, last = facility.availability_start, facility.availability_end
        step = (last - timedelta(days=60) - first) / _DRAWS
        days = [first + step * number for number in range(_DRAWS)]
        part = Decimal(int(facility.commitment) // _DRAWS)
        rest = facility.commitment - part * (_DRAWS - 1)
        past_days = [day for day in days if day <= self._on]
        for number, day in enumerate(past_days, start=1):
            amount = rest if number == _DRAWS else part
            self._add(EntryFacts(kind=EntryKind.DRAW, value_date=day, amount=amount))
        return past_days

    def _open(self) -> list[date]:
        """Record the balance of some payments ago, by the straight line of the remaining term."""
        last = bisect_right(self._dates, self._on) - 1
        index = max(last - PAYMENTS_AFTER_OPENING, 1)
        grace = self._facility.repayment.grace_periods if self._facility.repayment else 0
        periods = len(self._dates) - 1
        share = Decimal(periods - max(index, grace)) / Decimal(periods - grace)
        day, amount = self._dates[index], _round_down(self._facility.commitment * share)
        if day > self._on or amount <= 0:
            return []
        self._add(EntryFacts(kind=EntryKind.OPENING, value_date=day, amount=amount))
        return [day]

    def _pay(self, day: date) -> None:
        """Record a payment of everything that is due on a day."""
        entries = [entry for entry in self._ledger if entry.value_date <= day]
        position = fold(self._facility, entries, day)
        principal = self._dues.sum_due(day) - position.repaid
        amount = position.fees_due + position.interest_due + max(principal, Decimal(0))
        if amount > 0:
            self._add(EntryFacts(kind=EntryKind.PAYMENT, value_date=day, amount=amount))
            self._ledger.sort(key=lambda entry: (entry.value_date, entry.number))

    def _add(self, facts: EntryFacts) -> None:
        number = len(self.entries) + 1
        members = {name: getattr(facts, name) for name in EntryFacts.__struct_fields__}
        self.entries.append(facts)
        self._ledger.append(
            LedgerEntry(
                **members,
                entry_id=build_entry_id(self._facility.facility_id, number),
                facility_id=self._facility.facility_id,
                project_id=self._facility.project_id,
                number=number,
                currency_code=self._facility.currency_code,
            )
        )

    def list_service(self, cod: date) -> list[DebtService]:
        """Return the debt service of each period that begins after commercial operation."""
        schedule, cash_flows = self._dues.schedule, dict[tuple[str, date], float]()
        for event in schedule.events if schedule is not None else ():
            if event.date is not None and event.kind in {"interest", "principal"}:
                key = event.kind, event.date
                cash_flows[key] = cash_flows.get(key, 0.0) + event.cash_flow
        start = min((day for _, day in cash_flows), default=date.max)
        return [
            DebtService(
                before,
                day,
                _whole(cash_flows, "interest", day),
                _whole(cash_flows, "principal", day),
            )
            for before, day in pairwise(self._dates)
            if day >= start and before >= _plain_day(cod)
        ]


def _whole(cash_flows: dict[tuple[str, date], float], kind: str, day: date) -> Decimal:
    return Decimal(repr(cash_flows.get((kind, day), 0.0))).quantize(Decimal(1), ROUND_HALF_EVEN)


def _add_covenant(
    rng: random.Random,
    financing: SampleFinancing,
    service: list[DebtService],
    on: date,
    terms: tuple[str, Decimal],
) -> SampleFinancing:
    """Return the financing with its case, and a covenant that was tested on the last due date."""
    currency_code, target = terms
    lockup = max(target - LOCKUP_MARGIN, DEFAULT_LEVEL + LOCKUP_MARGIN)
    by_cover = {
        SampleCover.NEAR_LOCKUP: lockup + Decimal("0.02"),
        SampleCover.LOCKED_UP: DEFAULT_LEVEL + Decimal("0.03"),
        SampleCover.IN_DEFAULT: Decimal("0.97"),
        SampleCover.WAIVED: Decimal("1.01"),
    }
    ratio = by_cover.get(financing.cover, max(target, lockup + RELEASE_MARGIN))
    test_days = [one.due_on for one in service[1:] if one.due_on <= on]
    if not test_days:
        return financing
    return msgspec.structs.replace(
        financing,
        case=CaseTerms(
            name="Base case",
            kind=CaseKind.BASE,
            currency_code=currency_code,
            periods=tuple(_cash_period(rng, one, ratio, test_days[-1], target) for one in service),
        ),
        covenant=CovenantTermSheet(
            name="Debt service cover, trailing year",
            metric=CoverMetric.DSCR,
            test_dates=tuple(one.due_on for one in service[1:]),
            lockup_level=lockup,
            release_level=lockup + RELEASE_MARGIN,
            default_level=DEFAULT_LEVEL,
            window_months=WINDOW_MONTHS,
        ),
        tested_on=test_days[-1],
    )


def _cash_period(
    rng: random.Random, service: DebtService, ratio: Decimal, tested_on: date, target: Decimal
) -> CashPeriod:
    """Return the cash of a period: at the ratio until the test, at the target after it."""
    spread = Decimal(rng.randrange(0, 80)).scaleb(-3)
    cover = ratio if service.due_on <= tested_on else target + spread
    due = service.interest + service.principal
    return CashPeriod(
        starts_on=service.after + _DAY,
        ends_on=service.due_on,
        cfads=(due * cover).quantize(Decimal(1), ROUND_HALF_EVEN),
        interest=service.interest,
        principal=service.principal,
    )
