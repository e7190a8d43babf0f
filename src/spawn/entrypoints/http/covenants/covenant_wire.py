"""Wire structs of covenants, their tests, waivers, states and headroom."""

import re
from collections.abc import Callable
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.covenants.covenant_commands import CovenantTestOrder
from spawn.application.covenants.covenant_queries import (
    CovenantOutlook,
    HeadroomAtDate,
    LevelHeadroom,
    StandingOnDay,
)
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.covenant_record import (
    CovenantFigures,
    CovenantHeadroom,
    InputReference,
    OutcomeOfTest,
    RatioInput,
    RecordedCovenantTest,
)
from spawn.domain.covenants.covenant_set import (
    MAX_COVENANT_NAME,
    CovenantBand,
    CovenantSet,
    CovenantStanding,
    CovenantTermSheet,
    CovenantWaiver,
    CureRights,
    RegisteredTest,
)
from spawn.domain.covenants.exact_ratios import CoverMetric, UntestedReason, WindowDirection
from spawn.domain.dates import parse_moment
from spawn.domain.json_tokens import parse_object
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    line_reader,
    prose_reader,
    text_reader,
)
from spawn.entrypoints.http.covenants.case_wire import merge_terms
from spawn.entrypoints.http.wire import (
    RESOURCE_ID_SCHEMA,
    Count,
    Instant,
    Reason,
    ResourceId,
    Version,
    WireStruct,
)

_ID: Final = re.compile(RESOURCE_ID_SCHEMA["pattern"])  # type: ignore[call-overload]


def parse_id(text: str) -> str:
    """Return the id of a resource.

    Raises:
        ValueError: the text is none.
    """
    if not _ID.fullmatch(text):
        raise ValueError("is not an id of a resource")
    return text


_read_terms: Final[TokenReader] = compile_reader(
    CovenantTermSheet, {"name": line_reader(MAX_COVENANT_NAME)}, null_is_absent=True
)
_read_prose: Final = prose_reader(1_000, allows_blank=False)
_PRINTED = "Decimals of the exact ratio, cut after six and not rounded."
Printed = Annotated[str, Meta(description=_PRINTED)]


class CovenantView(WireStruct, frozen=True, kw_only=True):
    """A covenant with its waivers and the register of its tests; levels are exact decimals."""

    covenant_id: ResourceId
    project_id: ResourceId
    version: Version
    name: str
    metric: CoverMetric
    definition_version: Version
    lockup_level: Decimal | None
    release_level: Decimal | None
    default_level: Decimal | None
    test_dates: tuple[date, ...]
    window_months: int | None
    window_direction: WindowDirection
    cure_rights: CureRights | None
    waivers: tuple[CovenantWaiver, ...]
    tests: tuple[RegisteredTest, ...]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of_covenant(cls, aggregate: StoredAggregate[CovenantSet]) -> Self:
        """Return the wire form of a stored covenant."""
        return cls(
            **msgspec.structs.asdict(aggregate.state),
            version=aggregate.version,
            created_at=aggregate.created_at,
            updated_at=aggregate.updated_at,
        )


def read_covenant_terms(document: bytes) -> CovenantTermSheet:
    """Read the terms of a covenant.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    terms: CovenantTermSheet = _read_terms(parse_object(document), "")
    return terms


def read_covenant_patch(
    document: bytes,
) -> tuple[Callable[[CovenantSet], CovenantTermSheet], str | None]:
    """Read a JSON merge patch of a covenant, and the reason beside it.

    Raises:
        MalformedBody, InvalidInput: the document is no JSON object, or the reason is no text.
    """
    patch = parse_object(document)
    token = patch.pop("reason", None)
    reason = None if token is None else _read_prose(token, "/reason")

    def change_terms(covenant: CovenantSet) -> CovenantTermSheet:
        terms: CovenantTermSheet = merge_terms(_read_terms, covenant, CovenantTermSheet, patch)
        return terms

    return change_terms, reason


class WaiverRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A waiver of the days from `starts_on` to `ends_on`, both included."""

    starts_on: date
    ends_on: date
    reason: Reason
    granted_by: Annotated[str, Meta(description="The lenders or their agent.", max_length=200)]
    covers_lockup: bool = False


_read_waiver: Final = compile_reader(
    WaiverRequestView,
    {"reason": _read_prose, "granted_by": line_reader(200)},
    null_is_absent=True,
)


def read_waiver(document: bytes) -> Callable[[str], CovenantWaiver]:
    """Read a waiver; the function adds the id of the principal that records it.

    Raises:
        MalformedBody, InvalidInput: the document does not state one.
    """
    view: WaiverRequestView = _read_waiver(parse_object(document), "")
    members = msgspec.structs.asdict(view)
    return lambda recorded_by: CovenantWaiver(**members, recorded_by=recorded_by)


class CovenantTestRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A test to carry out; a case goes with the figures `CASE`, `as_of` with `ACTUALS`."""

    tested_on: date
    figures: CovenantFigures
    case_id: ResourceId | None = None
    case_version: Version | None = None
    as_of: Instant | None = None
    equity_cure: Decimal | None = None
    reason: Reason | None = None


_read_test: Final = compile_reader(
    CovenantTestRequestView,
    {
        "reason": _read_prose,
        "as_of": text_reader(parse_moment),
        "case_id": text_reader(parse_id),
        "case_version": compile_reader(int),
    },
    null_is_absent=True,
)


def read_test_order(document: bytes) -> CovenantTestOrder:
    """Read the order of a test.

    Raises:
        MalformedBody, InvalidInput: the document does not state one.
    """
    view: CovenantTestRequestView = _read_test(parse_object(document), "")
    return CovenantTestOrder(**msgspec.structs.asdict(view))


class RecordedTestView(WireStruct, frozen=True, kw_only=True):
    """A test of a covenant, which nothing changes later.

    `ratio` is the unrounded fraction in lowest terms. `references` are the versions that it rests
    on, each with its position in the feed.
    """

    test_id: ResourceId
    project_id: ResourceId
    covenant_id: ResourceId
    covenant_version: Version
    metric: CoverMetric
    definition_version: Version
    tested_on: date
    figures: CovenantFigures
    currency_code: str
    case_id: ResourceId | None
    case_version: Version | None
    actuals_version: Version | None
    actuals_as_of: Instant | None
    window_starts_on: date | None
    window_ends_on: date | None
    formula: str
    inputs: tuple[RatioInput, ...]
    ratio: str | None
    printed_ratio: Printed | None
    untested_reason: UntestedReason | None
    lockup_level: Decimal | None
    release_level: Decimal | None
    default_level: Decimal | None
    band: CovenantBand
    outcome: OutcomeOfTest
    is_waived: bool
    follows: ResourceId | None
    reason: str | None
    references: tuple[InputReference, ...]
    recorded_at: Instant

    @classmethod
    def of_test(cls, aggregate: StoredAggregate[RecordedCovenantTest]) -> Self:
        """Return the wire form of a stored test."""
        return cls(**msgspec.structs.asdict(aggregate.state), recorded_at=aggregate.created_at)


class HeadroomView(WireStruct, frozen=True, kw_only=True):
    """The distance from a level, positive while it is met.

    `cfads_amount` is what the cash may lose until the level is just met; null for gearing.
    """

    level: Decimal
    ratio: Printed
    cfads_amount: Decimal | None

    @classmethod
    def of_headroom(cls, headroom: CovenantHeadroom | None) -> "HeadroomView | None":
        """Return the wire form of a headroom; None stays None."""
        if headroom is None:
            return None
        return cls(
            level=headroom.level,
            ratio=headroom.printed_ratio,
            cfads_amount=headroom.cfads_amount,
        )


class LevelHeadroomView(WireStruct, frozen=True, kw_only=True):
    """The headroom to each level that the covenant has."""

    lockup: HeadroomView | None
    default: HeadroomView | None

    @classmethod
    def of_levels(cls, headroom: LevelHeadroom) -> Self:
        """Return the wire form of the headroom to both levels."""
        return cls(
            lockup=HeadroomView.of_headroom(headroom.lockup),
            default=HeadroomView.of_headroom(headroom.default),
        )


class CovenantStateView(WireStruct, frozen=True, kw_only=True):
    """The state of a covenant on a day.

    `newest_test` is the last one of a date up to the day, `headroom` that of it. `overdue_since` is
    the first test date up to the day without a test.
    """

    covenant_id: ResourceId
    on: date
    standing: CovenantStanding
    waivers: tuple[CovenantWaiver, ...]
    newest_test: RecordedTestView | None
    headroom: LevelHeadroomView | None
    next_test_on: date | None
    overdue_since: date | None

    @classmethod
    def of_state(cls, covenant_id: str, state: StandingOnDay) -> Self:
        """Return the wire form of a state."""
        test, headroom = state.newest_test, state.headroom
        return cls(
            covenant_id=covenant_id,
            on=state.on,
            standing=state.standing,
            waivers=state.waivers,
            newest_test=None if test is None else RecordedTestView.of_test(test),
            headroom=None if headroom is None else LevelHeadroomView.of_levels(headroom),
            next_test_on=state.next_test_on,
            overdue_since=state.overdue_since,
        )


class OutlookDateView(WireStruct, frozen=True, kw_only=True):
    """The ratio of the case at a test date, and its headroom."""

    tested_on: date
    band: CovenantBand
    printed_ratio: Printed | None
    untested_reason: UntestedReason | None
    headroom: LevelHeadroomView

    @classmethod
    def of_date(cls, at_date: HeadroomAtDate) -> Self:
        """Return the wire form of a date."""
        return cls(
            tested_on=at_date.tested_on,
            band=at_date.band,
            printed_ratio=at_date.printed_ratio,
            untested_reason=at_date.untested_reason,
            headroom=LevelHeadroomView.of_levels(at_date.headroom),
        )


class CovenantOutlookView(WireStruct, frozen=True, kw_only=True):
    """The headroom of a covenant at each of its test dates on a case; nothing is recorded."""

    covenant_id: ResourceId
    covenant_version: Count
    case_id: ResourceId
    case_version: Version
    currency_code: str
    dates: tuple[OutlookDateView, ...]

    @classmethod
    def of_outlook(cls, outlook: CovenantOutlook) -> Self:
        """Return the wire form of an outlook."""
        return cls(
            covenant_id=outlook.covenant.id,
            covenant_version=outlook.covenant.version,
            case_id=outlook.case_id,
            case_version=outlook.case_version,
            currency_code=outlook.currency_code,
            dates=tuple(map(OutlookDateView.of_date, outlook.dates)),
        )
