"""Rules of a facility's terms, and the only ways to make a facility: propose and amend.

Each rule that the calculators have for a loan is theirs: dates, day counts and repayment terms are
checked by the code that computes with them.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from datetime import date
from decimal import Decimal
from typing import Final, TypeVar

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.facilities.facility import (
    Facility,
    FacilityFees,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.loan_projection import (
    build_probe_loan,
    locate_loan_error,
    resolve_facility_time,
)
from spawn.domain.finance.loans.loan_terms import check_loan_terms
from spawn.domain.money import DECIMAL_CONTEXT, fit_amount
from spawn.domain.projects.extensions import check_extensions
from spawn.domain.schema_version import Value
from spawn.domain.text import check_line, check_visible, normalize

V = TypeVar("V")

MAX_NAME: Final = 200
"""Characters of a facility's, a lender's or a curve's name."""

MAX_LENDERS: Final = 200
MAX_MARGIN_STEPS: Final = 200
MAX_LENDER_STEPS: Final = 200
MAX_RANK: Final = 20
MAX_DECIMALS: Final = 12
"""Decimals of a rate, a fee or a share of lenders."""

_HUNDRED: Final = Decimal(100)
_LOWEST_RATE: Final = Decimal("-0.5")
_HIGHEST_RATE: Final = Decimal(100)
_DEBT_TERMS: Final = ("rate", "day_count", "payment_dates", "dates", "repayment", "maturity_date")


def propose_facility(facility_id: str, project_id: str, terms: FacilityTermSheet) -> Facility:
    """Return a new facility with these terms.

    Raises:
        InvalidInput: names each term that breaks a rule.
    """
    members = {name: getattr(terms, name) for name in FacilityTermSheet.__struct_fields__}
    return _complete(Facility(facility_id=facility_id, project_id=project_id, **members))


def amend_facility(facility: Facility, terms: FacilityTermSheet) -> Facility:
    """Return a facility with other terms; whether its ledger allows them is the ledger's rule.

    A term that does not change stays as it is stored, even if a later rule would not admit it.

    Raises:
        InvalidInput: names each term that breaks a rule, and is other or did not break it before.
    """
    members = {name: getattr(terms, name) for name in FacilityTermSheet.__struct_fields__}
    candidate = _normalize_names(msgspec.structs.replace(facility, **members))
    changes = _list_changes(_normalize_names(facility), candidate)
    if not changes:
        return facility
    kept_errors = {
        (error.pointer, error.code)
        for error in _list_violations(facility)
        if not error.pointer.startswith(tuple(f"/{name}" for name in changes))
    }
    amended = _complete(candidate, lambda error: (error.pointer, error.code) in kept_errors)
    same = set(members) - set(_list_changes(_normalize_names(facility), amended))
    return msgspec.structs.replace(amended, **{name: getattr(facility, name) for name in same})


def _list_changes(before: FacilityTermSheet, after: FacilityTermSheet) -> list[str]:
    names = FacilityTermSheet.__struct_fields__
    return [name for name in names if getattr(before, name) != getattr(after, name)]


def _list_violations(facility: Facility) -> list[FieldError]:
    """Return every error of a stored facility by the rules of today."""
    violations: list[FieldError] = []

    def note(error: FieldError) -> bool:
        violations.append(error)
        return True

    try:
        _complete(facility, note)
    except InvalidInput as error:
        violations += error.errors
    return violations


def set_governed_attributes(
    facility: Facility,
    attributes: Mapping[str, Value | None],
    extensions: Mapping[str, msgspec.Raw | None],
) -> Facility:
    """Return a facility after a merge patch of its governed attributes and extensions.

    Raises:
        InvalidInput: names each extension that breaks a rule.
    """
    merged = _merge(facility.extensions, extensions)
    errors: list[FieldError] = []
    check_extensions(merged, errors)
    if errors:
        raise InvalidInput(errors)
    return msgspec.structs.replace(
        facility, attributes=_merge(facility.attributes, attributes), extensions=merged
    )


def _merge(current: Mapping[str, V], patch: Mapping[str, V | None]) -> Mapping[str, V]:
    """Return a mapping after a patch: a value replaces, None removes."""
    merged = {**current, **patch}
    return {name: value for name, value in merged.items() if value is not None}


def list_changed_terms(before: Facility | None, after: Facility) -> tuple[str, ...]:
    """Return the names of the fields that differ, in document order; all of a new facility."""
    names = FacilityTermSheet.__struct_fields__
    if before is None:
        return (*names, *after.attributes, *after.extensions)
    return (
        *(name for name in names if getattr(before, name) != getattr(after, name)),
        *_list_differences(before.attributes, after.attributes),
        *_list_differences(before.extensions, after.extensions),
    )


def _list_differences(before: Mapping[str, object], after: Mapping[str, object]) -> Iterator[str]:
    for name in {**before, **after}:
        if before.get(name) != after.get(name):
            yield name


def _complete(
    facility: Facility, ignores: Callable[[FieldError], bool] = lambda _error: False
) -> Facility:
    """Return the facility with texts and amounts in canonical form; check every rule.

    Args:
        facility: the terms.
        ignores: whether an error is none of these terms.
    """
    errors: list[FieldError] = []
    facility = _normalize_names(facility)
    commitment = _fit(facility.commitment, facility, "/commitment", errors)
    fee = _fit(facility.fees.agency_fee, facility, "/fees/agency_fee", errors)
    _check_general_terms(facility, errors)
    _check_lenders(facility.lenders, "/lenders", errors)
    _check_lender_steps(facility, errors)
    if facility.kind.is_debt:
        _check_debt(facility, errors)
    else:
        for name in _DEBT_TERMS:
            if getattr(facility, name) is not None:
                detail = f"serves debt; {facility.kind} bears no interest and is not repaid"
                errors.append(FieldError(f"/{name}", "not_applicable", detail))
        _check_unused_terms(facility, errors)
    _raise_remaining(errors, ignores)
    fees = msgspec.structs.replace(facility.fees, agency_fee=fee)
    facility = msgspec.structs.replace(facility, commitment=commitment, fees=fees)
    return _check_time(facility, ignores) if facility.kind.is_debt else facility


def _raise_remaining(errors: list[FieldError], ignores: Callable[[FieldError], bool]) -> None:
    remaining = [error for error in errors if not ignores(error)]
    if remaining:
        raise InvalidInput(remaining)


def _normalize_names(facility: Facility) -> Facility:
    """Return the facility with its names in the form in which equal names are equal."""
    steps = tuple(
        msgspec.structs.replace(step, lenders=normalize_lenders(step.lenders))
        for step in facility.lender_steps
    )
    return msgspec.structs.replace(
        facility,
        name=normalize(facility.name),
        lenders=normalize_lenders(facility.lenders),
        lender_steps=steps,
    )


def normalize_lenders(lenders: tuple[LenderShare, ...]) -> tuple[LenderShare, ...]:
    """Return lenders with their names in the form in which equal names are equal."""
    return tuple(msgspec.structs.replace(one, lender=normalize(one.lender)) for one in lenders)


def _check_unused_terms(facility: Facility, errors: list[FieldError]) -> None:
    """Append the terms that only a loan has a use for: nothing is paid in a grant or equity."""
    detail = f"serves debt; {facility.kind} has no payments"
    errors.extend(
        FieldError(f"/fees/{name}", "not_applicable", detail)
        for name in FacilityFees.__struct_fields__
        if getattr(facility.fees, name)
    )
    if facility.is_revolving:
        errors.append(FieldError("/is_revolving", "not_applicable", detail))


def _fit(amount: Decimal, facility: Facility, pointer: str, errors: list[FieldError]) -> Decimal:
    try:
        return fit_amount(
            amount, facility.currency_code, pointer=pointer, currency_pointer="/currency_code"
        )
    except InvalidInput as error:
        errors.extend(one for one in error.errors if one not in errors)
        return amount


def _check_general_terms(facility: Facility, errors: list[FieldError]) -> None:
    check_line(facility.name, "/name", MAX_NAME, errors)
    check_visible(facility.name, "/name", errors)
    if facility.commitment.is_finite() and facility.commitment <= 0:
        errors.append(FieldError("/commitment", "not_positive", "must be above 0"))
    if facility.availability_end < facility.availability_start:
        detail = "must not be before availability_start"
        errors.append(FieldError("/availability_end", "out_of_order", detail))
    if not 1 <= facility.rank <= MAX_RANK:
        errors.append(FieldError("/rank", "out_of_range", f"must be from 1 to {MAX_RANK}"))
    fees = facility.fees
    for name, fee in (("upfront_fee", fees.upfront_fee), ("commitment_fee", fees.commitment_fee)):
        _check_fraction(fee, f"/fees/{name}", (Decimal(0), Decimal(1)), errors)
    if fees.agency_fee.is_finite() and fees.agency_fee < 0:
        errors.append(FieldError("/fees/agency_fee", "out_of_range", "must not be negative"))


def _check_fraction(
    value: Decimal, pointer: str, limits: tuple[Decimal, Decimal], errors: list[FieldError]
) -> None:
    low, high = limits
    if not value.is_finite() or not low <= value <= high:
        detail = f"must be a number from {low} to {high}"
        errors.append(FieldError(pointer, "out_of_range", detail))
    elif value.quantize(Decimal(1).scaleb(-MAX_DECIMALS), None, DECIMAL_CONTEXT) != value:
        detail = f"must have at most {MAX_DECIMALS} decimals"
        errors.append(FieldError(pointer, "too_precise", detail))


def _check_lenders(
    lenders: tuple[LenderShare, ...], pointer: str, errors: list[FieldError]
) -> None:
    """Append the errors of the lenders: names, shares, and their sum of exactly 100."""
    if not 1 <= len(lenders) <= MAX_LENDERS:
        detail = f"must have 1 to {MAX_LENDERS} lenders"
        errors.append(FieldError(pointer, "wrong_length", detail))
        return
    names: set[str] = set()
    error_count = len(errors)
    for index, lender in enumerate(lenders):
        at = f"{pointer}/{index}"
        check_line(lender.lender, f"{at}/lender", MAX_NAME, errors)
        check_visible(lender.lender, f"{at}/lender", errors)
        if lender.lender.casefold() in names:
            errors.append(FieldError(f"{at}/lender", "duplicate", "names a lender twice"))
        names.add(lender.lender.casefold())
        _check_fraction(lender.share, f"{at}/share", (Decimal(0), _HUNDRED), errors)
        if lender.share == 0:
            errors.append(FieldError(f"{at}/share", "not_positive", "must be above 0"))
    if len(errors) == error_count:
        total = _sum(lender.share for lender in lenders)
        if total != _HUNDRED:
            detail = f"shares must add up to exactly 100; they add up to {total:f}"
            errors.append(FieldError(pointer, "not_a_hundred", detail))


def _check_lender_steps(facility: Facility, errors: list[FieldError]) -> None:
    """Append the errors of the steps: ascending dates, and lenders as those of the terms."""
    steps = facility.lender_steps
    if len(steps) > MAX_LENDER_STEPS:
        errors.append(FieldError("/lender_steps", "too_many", f"at most {MAX_LENDER_STEPS} steps"))
    before, name = facility.availability_start, "availability_start"
    for index, step in enumerate(steps[:MAX_LENDER_STEPS]):
        pointer = f"/lender_steps/{index}"
        if step.from_date <= before:
            detail = f"must be after {name}, {before}"
            errors.append(FieldError(f"{pointer}/from_date", "out_of_order", detail))
        before, name = step.from_date, "the step before"
        _check_lenders(step.lenders, f"{pointer}/lenders", errors)


def _sum(amounts: Iterable[Decimal]) -> Decimal:
    total = Decimal(0)
    for amount in amounts:
        total = DECIMAL_CONTEXT.add(total, amount)
    return total


def _check_debt(facility: Facility, errors: list[FieldError]) -> None:
    """Append the errors of a loan's rate and repayment, and of terms that it lacks."""
    if facility.rate is None:
        errors.append(FieldError("/rate", "missing", "a loan needs its rate"))
    else:
        _check_rate(facility.rate, errors)
    if facility.repayment is None:
        errors.append(FieldError("/repayment", "missing", "a loan needs its repayment"))
    else:
        _check_repayment(facility.repayment, errors)
        if facility.is_revolving and facility.repayment.balloon_share:
            detail = "what is drawn of a revolving facility has no end; give an amount, balloon"
            errors.append(FieldError("/repayment/balloon_share", "not_applicable", detail))
    if facility.payment_dates is None and facility.dates is None:
        detail = "a loan needs payment_dates or dates"
        errors.append(FieldError("/payment_dates", "missing", detail))


def _check_rate(rate: RateBasis, errors: list[FieldError]) -> None:
    if (rate.fixed_rate is None) == (rate.curve is None):
        detail = "give exactly one of fixed_rate and curve"
        errors.append(FieldError("/rate/fixed_rate", "ambiguous", detail))
    if rate.curve is not None:
        check_line(rate.curve, "/rate/curve", MAX_NAME, errors)
    elif rate.margin or rate.margin_steps or rate.floor is not None:
        detail = "margin, margin_steps and floor serve a curve"
        errors.append(FieldError("/rate/margin", "not_applicable", detail))
    limits = (_LOWEST_RATE, _HIGHEST_RATE)
    values = {"fixed_rate": rate.fixed_rate, "margin": rate.margin, "floor": rate.floor}
    for name, value in values.items():
        if value is not None:
            _check_fraction(value, f"/rate/{name}", limits, errors)
    if len(rate.margin_steps) > MAX_MARGIN_STEPS:
        detail = f"at most {MAX_MARGIN_STEPS} steps"
        errors.append(FieldError("/rate/margin_steps", "too_many", detail))
    before: date | None = None
    for index, step in enumerate(rate.margin_steps[:MAX_MARGIN_STEPS]):
        pointer = f"/rate/margin_steps/{index}"
        _check_fraction(step.margin, f"{pointer}/margin", limits, errors)
        if before is not None and step.from_date <= before:
            detail = "must be after the step before"
            errors.append(FieldError(f"{pointer}/from_date", "out_of_order", detail))
        before = step.from_date


def _check_repayment(repayment: FacilityRepayment, errors: list[FieldError]) -> None:
    if repayment.profile == "sculpted":
        detail = "a stored facility states its sculpted schedule as custom_shares, profile custom"
        errors.append(FieldError("/repayment/profile", "not_applicable", detail))
    if repayment.grace_periods < 0:
        detail = "must not be negative"
        errors.append(FieldError("/repayment/grace_periods", "out_of_range", detail))
    is_bullet = repayment.profile == "bullet"
    if is_bullet and repayment.grace_periods and repayment.grace != "capitalised":
        detail = "a bullet repays nothing before the end; a grace serves it if capitalised"
        errors.append(FieldError("/repayment/grace_periods", "not_applicable", detail))


def _check_time(facility: Facility, ignores: Callable[[FieldError], bool]) -> Facility:
    """Check the loan as the calculators do, and return the facility with its maturity."""
    schedule = resolve_facility_time(facility)
    dates = schedule.dates or ()
    errors: list[FieldError] = []
    if facility.maturity_date not in {None, dates[-1]}:
        detail = f"the last payment date is {dates[-1]}; correct or remove it"
        errors.append(FieldError("/maturity_date", "contradiction", detail))
    if facility.availability_start < dates[0]:
        detail = f"must not be before {dates[0]}, when the first period begins"
        errors.append(FieldError("/availability_start", "out_of_order", detail))
    if facility.availability_end >= dates[-1]:
        detail = f"must be before the maturity on {dates[-1]}"
        errors.append(FieldError("/availability_end", "out_of_order", detail))
    _check_steps_within(facility, dates[0], dates[-1], errors)
    try:
        check_loan_terms(build_probe_loan(facility), schedule)
    except InvalidInput as error:
        errors += [locate_loan_error(one) for one in error.errors]
    _raise_remaining(errors, ignores)
    return msgspec.structs.replace(facility, maturity_date=dates[-1])


def _check_steps_within(
    facility: Facility, start: date, maturity: date, errors: list[FieldError]
) -> None:
    """Append the steps that begin when no interest accrues, or no payment is due, any more."""
    for index, step in enumerate(facility.rate.margin_steps if facility.rate else ()):
        if not start < step.from_date < maturity:
            detail = f"must be after the start on {start} and before the maturity on {maturity}"
            pointer = f"/rate/margin_steps/{index}/from_date"
            errors.append(FieldError(pointer, "out_of_range", detail))
    for index, transfer in enumerate(facility.lender_steps):
        if transfer.from_date > maturity:
            detail = f"must not be after the maturity on {maturity}"
            pointer = f"/lender_steps/{index}/from_date"
            errors.append(FieldError(pointer, "out_of_range", detail))
