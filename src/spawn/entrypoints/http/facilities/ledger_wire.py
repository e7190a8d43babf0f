"""Wire structs of ledgers: entries, balances, schedules and statements."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.facilities.ledger_queries import Balance, LedgerView
from spawn.domain.facilities.ledger import EntryFacts, EntryKind, LedgerEntry, RecordedEntry
from spawn.domain.facilities.ledger_fold import LedgerPosition
from spawn.domain.facilities.ledger_rules import MAX_EXTERNAL_KEY
from spawn.domain.facilities.statement import Statement
from spawn.domain.finance.loans.loan_results import LoanEventKind, LoanSchedule
from spawn.domain.finance.loans.loan_settlement import round_to_minor_units
from spawn.domain.json_tokens import parse_object
from spawn.domain.money import get_exponent
from spawn.domain.struct_reader import TokenReader, compile_reader, line_reader
from spawn.entrypoints.http.wire import Count, Day, Instant, Reason, ResourceId, WireStruct


class ReversalRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The reversal of an entry, with the reason for it."""

    reason: Reason
    external_key: str | None = None
    evidence: str | None = None


class EntryView(LedgerEntry, frozen=True, kw_only=True):
    """An entry of a ledger with the time at which it was recorded; amounts are strings."""

    facility_id: ResourceId
    project_id: ResourceId
    recorded_at: Instant

    @classmethod
    def of_recorded(cls, stored_entry: RecordedEntry) -> Self:
        """Return the wire form of a recorded entry."""
        return cls(
            **msgspec.structs.asdict(stored_entry.entry), recorded_at=stored_entry.recorded_at
        )


class BalanceView(LedgerPosition, frozen=True, kw_only=True):
    """Figures of a facility on a date (`on`), as known at an instant (`as_of`).

    The same `on` and `as_of` give the same bytes at any later time. `principal_arrears` is null
    between the first payment date and the maturity of a loan whose terms give no schedule, and
    `no_schedule_reason` says why they do not.
    """

    facility_id: ResourceId
    as_of: Instant
    principal_arrears: Decimal | None
    no_schedule_reason: str | None

    @classmethod
    def of_balance(cls, view: LedgerView, balance: Balance) -> Self:
        """Return the wire form of a balance."""
        return cls(
            **msgspec.structs.asdict(balance.position),
            facility_id=view.facility.facility_id,
            as_of=view.as_of,
            principal_arrears=balance.principal_arrears,
            no_schedule_reason=balance.no_schedule_reason,
        )


class RepaymentEventView(WireStruct, frozen=True, kw_only=True):
    """An event and the state after it, unrounded; cash flows to the lender are positive."""

    date: Day
    kind: LoanEventKind
    cash_flow: float
    balance: float
    annual_rate: float
    accrued_interest: float


class RepaymentRowView(WireStruct, frozen=True, kw_only=True):
    """A period in minor units; closing = opening + drawn + capitalised - principal.

    `payment` = interest + accrued_interest - capitalised + principal, where no interest is
    deferred; `accrued_interest` is that of an opening position.
    """

    period: Count
    date: Day
    opening_balance: Decimal
    drawn: Decimal
    interest: Decimal
    capitalised: Decimal
    principal: Decimal
    payment: Decimal
    closing_balance: Decimal
    accrued_interest: Decimal


class RepaymentScheduleView(WireStruct, frozen=True, kw_only=True):
    """The schedule of a facility by its terms and the entries known; empty before the first draw.

    What falls due is taken as paid on its date. Rows are rounded cumulatively: the closing
    balance of each row is rounded, and the movement is the difference.
    """

    facility_id: ResourceId
    currency_code: str
    on: Day
    as_of: Instant
    events: tuple[RepaymentEventView, ...]
    rows: tuple[RepaymentRowView, ...]
    warnings: tuple[str, ...]

    @classmethod
    def of_schedule(cls, view: LedgerView, schedule: LoanSchedule | None) -> Self:
        """Return the wire form of a schedule."""
        facility, rows = view.facility, tuple[RepaymentRowView, ...]()
        if schedule is not None:
            rows = tuple(
                RepaymentRowView.of(row)
                for row in round_to_minor_units(schedule, get_exponent(facility.currency_code))
            )
        return cls(
            facility_id=facility.facility_id,
            currency_code=facility.currency_code,
            on=view.on,
            as_of=view.as_of,
            events=tuple(map(RepaymentEventView.of, schedule.events if schedule else ())),
            rows=rows,
            warnings=schedule.warnings if schedule else (),
        )


class StatementView(Statement, frozen=True, kw_only=True):
    """The statement of a facility; the parts of all lenders sum to each payment exactly."""

    facility_id: ResourceId
    start: Annotated[date, Meta(description="The first day.")]
    end: Annotated[date, Meta(description="The last day.")]
    as_of: Instant

    @classmethod
    def of_statement(cls, view: LedgerView, start: date, statement: Statement) -> Self:
        """Return the wire form of a statement."""
        members = {name: getattr(statement, name) for name in Statement.__struct_fields__}
        return cls(
            **members,
            facility_id=view.facility.facility_id,
            start=start,
            end=view.on,
            as_of=view.as_of,
        )


_KEY_READERS: Final = {"external_key": line_reader(MAX_EXTERNAL_KEY)}
_read_facts: TokenReader = compile_reader(EntryFacts, _KEY_READERS, null_is_absent=True)
_read_reversal: TokenReader = compile_reader(ReversalRequestView, _KEY_READERS, null_is_absent=True)


def read_entry_facts(document: bytes) -> EntryFacts:
    """Read a fact to record.

    Raises:
        MalformedBody, InvalidInput: the document does not state one.
    """
    facts: EntryFacts = _read_facts(parse_object(document), "")
    return facts


def read_reversal_facts(document: bytes) -> EntryFacts:
    """Read the texts of a reversal; its date and amount follow from the entry that it reverses.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    request: ReversalRequestView = _read_reversal(parse_object(document), "")
    return EntryFacts(
        kind=EntryKind.REVERSAL,
        value_date=date.min,
        external_key=request.external_key,
        evidence=request.evidence,
        reason=request.reason,
    )
