"""CFADS cases: versioned series of cash and debt service on which covenants are tested.

A case is a draft until a covenant test or a certificate uses it. From then on its figures are
fixed: a change makes another revision with its reason, and the journal keeps the one before.
"""

from decimal import Decimal
from enum import StrEnum
from typing import Final

import msgspec

from spawn.domain.covenants.cash_periods import CashPeriod, add_exactly, check_periods, fit_period
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.money import fit_amount
from spawn.domain.text import check_line, check_prose

CASE_KIND: Final = "case"
CASE_CREATED_EVENT: Final = "case.created"
CASE_REVISED_EVENT: Final = "case.revised"
CASE_USED_EVENT: Final = "case.used"
"""Kind of the aggregate, and its events."""

MAX_CASE_NAME, MAX_REVISION_REASON = 200, 1_000
"""Characters of the texts of a case."""


class CaseKind(StrEnum):
    """The kind of a case; P90 is the low case: its yield is exceeded with 90 % probability."""

    BASE = "BASE"
    DOWNSIDE = "DOWNSIDE"
    UPSIDE = "UPSIDE"
    P50 = "P50"
    P75 = "P75"
    P90 = "P90"
    P99 = "P99"
    OTHER = "OTHER"


class CaseStatus(StrEnum):
    """A draft changes freely; a used case changes by a revision with a reason."""

    DRAFT = "DRAFT"
    USED = "USED"


class CaseTerms(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The figures of a case as a client states them, in major units of its currency.

    `opening_debt` is owed before the first period; principal repays it, and an LLCR needs it.
    `equity` is the funded equity, which gearing needs.
    """

    name: str
    kind: CaseKind
    currency_code: str
    periods: tuple[CashPeriod, ...]
    opening_debt: Decimal | None = None
    equity: Decimal | None = None

    def __post_init__(self) -> None:
        """Check every invariant and raise one `InvalidInput` with all violations.

        The amounts get the scale of the currency.
        """
        errors: list[FieldError] = []
        check_line(self.name, "/name", MAX_CASE_NAME, errors)
        check_periods(self.periods, self.currency_code, errors)
        if not errors:
            _check_debt(self, errors)
        if errors:
            raise InvalidInput(errors)
        periods = tuple(fit_period(period, self.currency_code) for period in self.periods)
        msgspec.structs.force_setattr(self, "periods", periods)
        for name in ("opening_debt", "equity"):
            amount: Decimal | None = getattr(self, name)
            if amount is not None:
                fitted_amount = fit_amount(amount, self.currency_code)
                msgspec.structs.force_setattr(self, name, fitted_amount)


class CfadsCase(CaseTerms, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case of a project.

    `engine_version` is the release that checked the figures. `revision` counts the changes after a
    use, and `revision_reason` is the reason of the last one.
    """

    case_id: str
    project_id: str
    engine_version: str
    status: CaseStatus = CaseStatus.DRAFT
    revision: int = 1
    revision_reason: str | None = None


def _check_debt(case: CaseTerms, errors: list[FieldError]) -> None:
    for name, amount in (("opening_debt", case.opening_debt), ("equity", case.equity)):
        if amount is None:
            continue
        try:
            fit_amount(amount, case.currency_code, pointer=f"/{name}")
        except InvalidInput as error:
            errors.extend(error.errors)
            continue
        if amount < 0:
            errors.append(FieldError(f"/{name}", "out_of_range", "must be 0 or more"))
    if case.opening_debt is None or errors:
        return
    balance = case.opening_debt
    for index, period in enumerate(case.periods):
        principal = period.principal or Decimal(0)
        if principal > balance:
            detail = f"period {index + 1} repays {principal}, and {balance} is owed"
            errors.append(FieldError(f"/periods/{index}/principal", "out_of_range", detail))
            return
        balance = add_exactly((balance, -principal))


CASE_FIELDS: Final = CaseTerms.__struct_fields__
"""Fields that a client sets."""


def list_changed_terms(before: msgspec.Struct, after: msgspec.Struct) -> tuple[str, ...]:
    """Return the names of the fields that differ between two states of one type."""
    return tuple(
        name for name in after.__struct_fields__ if getattr(before, name) != getattr(after, name)
    )


def draw_up_case(
    terms: CaseTerms, *, case_id: str, project_id: str, engine_version: str
) -> CfadsCase:
    """Return a new draft of a project."""
    return CfadsCase(
        **msgspec.structs.asdict(terms),
        case_id=case_id,
        project_id=project_id,
        engine_version=engine_version,
    )


def revise_case(
    case: CfadsCase, terms: CaseTerms, *, reason: str | None, engine_version: str
) -> CfadsCase:
    """Return the case with other figures; a used case becomes the draft of its next revision.

    Raises:
        InvalidInput: a used case changes without a reason.
    """
    if all(getattr(case, name) == getattr(terms, name) for name in CASE_FIELDS):
        return case
    errors: list[FieldError] = []
    if reason is not None:
        check_prose(reason, "/reason", MAX_REVISION_REASON, errors)
    revision = case.revision
    if case.status is CaseStatus.USED:
        revision += 1
        if not (reason or "").strip():
            detail = "is required: the case is used, and a change of it is a revision"
            errors.append(FieldError("/reason", "required", detail))
    if errors:
        raise InvalidInput(errors)
    return msgspec.structs.replace(
        case,
        **msgspec.structs.asdict(terms),
        engine_version=engine_version,
        status=CaseStatus.DRAFT,
        revision=revision,
        revision_reason=case.revision_reason if reason is None else reason,
    )


def mark_used(case: CfadsCase) -> CfadsCase:
    """Return the case as a used one."""
    if case.status is CaseStatus.USED:
        return case
    return msgspec.structs.replace(case, status=CaseStatus.USED)
