"""Reserve accounts of a project: a target, and balances as facts with a value date."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.covenants.cash_periods import CashPeriod, add_exactly, forward_window
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import fit_amount, get_exponent
from spawn.domain.text import check_line, check_prose

RESERVE_KIND: Final = "reserve_account"
RESERVE_OPENED_EVENT: Final = "reserve_account.opened"
RESERVE_AMENDED_EVENT: Final = "reserve_account.amended"
RESERVE_BALANCED_EVENT: Final = "reserve_account.balanced"
"""Kind of the aggregate, and its events."""

MAX_BALANCES: Final = 2_000
"""Days with a balance of one account."""

MAX_TARGET_MONTHS: Final = 36
MAX_RESERVE_NAME, MAX_BALANCE_REASON = 200, 1_000
"""Months of a target, and characters of the texts of an account."""


class ReserveKind(StrEnum):
    """The kind of a reserve account."""

    DSRA = "DSRA"
    MAINTENANCE = "MAINTENANCE"
    DECOMMISSIONING = "DECOMMISSIONING"
    OTHER = "OTHER"


class ReserveAccountTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The terms of a reserve account; amounts are in major units of its currency.

    The target is either `target_amount`, or the debt service of the next `target_months`, which
    only a DSRA has.
    """

    name: str
    kind: ReserveKind
    currency_code: str
    target_months: int | None = None
    target_amount: Decimal | None = None

    def __post_init__(self) -> None:
        """Check every invariant and raise one `InvalidInput` with all violations."""
        errors: list[FieldError] = []
        check_line(self.name, "/name", MAX_RESERVE_NAME, errors)
        try:
            get_exponent(self.currency_code, pointer="/currency_code")
            if self.target_amount is not None:
                amount = fit_amount(
                    self.target_amount, self.currency_code, pointer="/target_amount"
                )
                msgspec.structs.force_setattr(self, "target_amount", amount)
        except InvalidInput as error:
            errors.extend(error.errors)
        _check_target(self, errors)
        if errors:
            raise InvalidInput(errors)


def _check_target(terms: ReserveAccountTerms, errors: list[FieldError]) -> None:
    months, amount = terms.target_months, terms.target_amount
    if (months is None) is (amount is None):
        detail = "give either target_months or target_amount"
        errors.append(FieldError("/target_amount", "ambiguous" if months else "missing", detail))
    if months is not None and not 1 <= months <= MAX_TARGET_MONTHS:
        detail = f"must be 1 to {MAX_TARGET_MONTHS} months"
        errors.append(FieldError("/target_months", "out_of_range", detail))
    if months is not None and terms.kind is not ReserveKind.DSRA:
        detail = "months of debt service are the target of a DSRA"
        errors.append(FieldError("/target_months", "not_applicable", detail))
    if amount is not None and amount.is_finite() and amount < 0:
        errors.append(FieldError("/target_amount", "out_of_range", "must be 0 or more"))


class ReserveBalance(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The balance of an account at the end of a day; a correction has a reason."""

    value_date: date
    amount: Decimal
    evidence: str | None = None
    reason: str | None = None


class ReserveAccountState(
    ReserveAccountTerms, frozen=True, kw_only=True, forbid_unknown_fields=True
):
    """A reserve account of a project with its newest balances, in the order of value dates."""

    account_id: str
    project_id: str
    balances: tuple[ReserveBalance, ...] = ()


def record_balance(account: ReserveAccountState, balance: ReserveBalance) -> ReserveAccountState:
    """Return the account with a balance; one of a day that is known corrects it.

    Raises:
        InvalidInput: the balance is negative or invalid, a correction has no reason, or there are
            too many.
    """
    errors: list[FieldError] = []
    amount = balance.amount
    try:
        amount = fit_amount(amount, account.currency_code, pointer="/amount")
    except InvalidInput as error:
        errors.extend(error.errors)
    else:
        if amount < 0:
            errors.append(FieldError("/amount", "out_of_range", "no reserve is below 0"))
    if balance.evidence is not None:
        check_line(balance.evidence, "/evidence", MAX_RESERVE_NAME, errors)
    if balance.reason is not None:
        check_prose(balance.reason, "/reason", MAX_BALANCE_REASON, errors)
    by_date = {one.value_date: one for one in account.balances}
    if balance.value_date in by_date and not (balance.reason or "").strip():
        detail = f"is required: the balance of {balance.value_date} is recorded already"
        errors.append(FieldError("/reason", "required", detail))
    by_date[balance.value_date] = msgspec.structs.replace(balance, amount=amount)
    if len(by_date) > MAX_BALANCES:
        errors.append(FieldError("", "too_many", f"at most {MAX_BALANCES} balances"))
    if errors:
        raise InvalidInput(errors)
    ordered = tuple(by_date[day] for day in sorted(by_date))
    return msgspec.structs.replace(account, balances=ordered)


def find_balance(account: ReserveAccountState, on: date) -> ReserveBalance | None:
    """Return the newest balance of a day or before; None before the first."""
    known = [one for one in account.balances if one.value_date <= on]
    return known[-1] if known else None


def compute_target(
    account: ReserveAccountState, periods: Sequence[CashPeriod], on: date
) -> Decimal | None:
    """Return the target after a day: an amount, or the debt service of the next months.

    It is None where the periods do not fill the months.
    """
    if account.target_months is None:
        return account.target_amount
    window = forward_window(periods, on, account.target_months)
    if window is None:
        return None
    return add_exactly(tuple(period.debt_service for period in window))
