"""Wire structs of CFADS cases, their comparison, and actuals."""

from collections.abc import Callable
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final, Self

import msgspec
from msgspec import Meta

from spawn.application.covenants.case_queries import CaseReference, CaseVariance, KnownActuals
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.case_comparison import ComparedPeriod, PeriodVariance
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_actuals import ActualPeriod, CfadsActuals
from spawn.domain.covenants.cfads_case import (
    MAX_CASE_NAME,
    CaseKind,
    CaseStatus,
    CaseTerms,
    CfadsCase,
)
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.struct_reader import TokenReader, compile_reader, line_reader, prose_reader
from spawn.entrypoints.http.wire import Count, Instant, Reason, ResourceId, Version, WireStruct

_read_terms: Final[TokenReader] = compile_reader(
    CaseTerms, {"name": line_reader(MAX_CASE_NAME)}, null_is_absent=True
)
REASON_SCHEMA: Final = {**msgspec.json.schema(Reason), "type": ["string", "null"]}
"""Schema of the reason beside a merge patch."""

_read_reason: Final = prose_reader(1_000, allows_blank=False)


class CaseView(WireStruct, frozen=True, kw_only=True):
    """A case; amounts are exact decimals in major units of its currency."""

    case_id: ResourceId
    project_id: ResourceId
    version: Version
    name: str
    kind: CaseKind
    currency_code: str
    status: CaseStatus
    revision: Version
    revision_reason: str | None
    engine_version: str
    opening_debt: Decimal | None
    equity: Decimal | None
    periods: tuple[CashPeriod, ...]
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of_case(cls, aggregate: StoredAggregate[CfadsCase]) -> Self:
        """Return the wire form of a stored case."""
        return cls(
            **msgspec.structs.asdict(aggregate.state),
            version=aggregate.version,
            created_at=aggregate.created_at,
            updated_at=aggregate.updated_at,
        )


def read_case_terms(document: bytes) -> CaseTerms:
    """Read the figures of a case.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    terms: CaseTerms = _read_terms(parse_object(document), "")
    return terms


def read_case_patch(document: bytes) -> tuple[Callable[[CfadsCase], CaseTerms], str | None]:
    """Read a JSON merge patch of a case, and the reason beside it.

    A list of periods replaces the whole list.

    Raises:
        MalformedBody, InvalidInput: the document is no JSON object, or the reason is no text.
    """
    patch = parse_object(document)
    reason_token = patch.pop("reason", None)
    reason = None if reason_token is None else _read_reason(reason_token, "/reason")

    def change_terms(case: CfadsCase) -> CaseTerms:
        terms: CaseTerms = merge_terms(_read_terms, case, CaseTerms, patch)
        return terms

    return change_terms, reason


def merge_terms(
    read_terms: TokenReader,
    state: msgspec.Struct,
    terms_type: type[msgspec.Struct],
    patch: dict[str, Token],
) -> Any:
    """Return the terms of a state after a merge patch: null removes a member, others replace it."""
    members = {name: getattr(state, name) for name in terms_type.__struct_fields__}
    stored: dict[str, Token] = parse_object(msgspec.json.encode(members))
    present = {name: value for name, value in stored.items() if value is not None}
    return read_terms({**present, **patch}, "")


class ComparedCaseView(WireStruct, frozen=True, kw_only=True):
    """A case of a comparison."""

    case_id: ResourceId
    version: Version
    name: str
    kind: CaseKind
    status: CaseStatus
    engine_version: str


class CaseComparisonView(WireStruct, frozen=True, kw_only=True):
    """Cases side by side; a difference is the case's figure less that of the first case."""

    currency_code: str
    cases: tuple[ComparedCaseView, ...]
    periods: tuple[ComparedPeriod, ...]

    @classmethod
    def of_comparison(
        cls, cases: tuple[StoredAggregate[CfadsCase], ...], periods: tuple[ComparedPeriod, ...]
    ) -> Self:
        """Return the wire form of a comparison."""
        return cls(
            currency_code=cases[0].state.currency_code,
            cases=tuple(ComparedCaseView.of(case.state, case) for case in cases),
            periods=periods,
        )


class CaseComparisonRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The cases to compare, the first of which is the base of the differences."""

    cases: tuple[CaseReference, ...]


_read_comparison: Final = compile_reader(CaseComparisonRequestView, null_is_absent=True)


def read_comparison(document: bytes) -> CaseComparisonRequestView:
    """Read the request of a comparison.

    Raises:
        MalformedBody, InvalidInput: the document is not one.
    """
    view: CaseComparisonRequestView = _read_comparison(parse_object(document), "")
    return view


class ActualFact(CashPeriod, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The actual cash of a period as a client states it; a correction has a reason."""

    evidence: str | None = None
    reason: str | None = None


class ActualsRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Actual periods to record, all or none."""

    currency_code: str
    periods: Annotated[tuple[ActualFact, ...], Meta(min_length=1)]


_read_actuals: Final = compile_reader(
    ActualsRequestView, {"currency_code": line_reader(3)}, null_is_absent=True
)


def read_actual_facts(document: bytes) -> tuple[str, tuple[ActualPeriod, ...]]:
    """Read the currency and the facts of actual periods.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    view: ActualsRequestView = _read_actuals(parse_object(document), "")
    facts = (ActualPeriod(**msgspec.structs.asdict(fact)) for fact in view.periods)
    return view.currency_code, tuple(facts)


class ActualPeriodView(ActualFact, frozen=True, kw_only=True):
    """An actual period; it was recorded at `recorded_at`, by the version `recorded_version`."""

    recorded_version: Version
    recorded_at: Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]


class ActualsView(WireStruct, frozen=True, kw_only=True):
    """The actuals of a project as they were known; version 0 is before the first fact."""

    project_id: ResourceId
    version: Count
    currency_code: str | None
    periods: tuple[ActualPeriodView, ...]

    @classmethod
    def of_known(cls, actuals: KnownActuals) -> Self:
        """Return the wire form of known actuals."""
        return cls(
            project_id=actuals.project_id,
            version=actuals.version,
            currency_code=actuals.currency_code,
            periods=tuple(
                ActualPeriodView(
                    **msgspec.structs.asdict(known.period), recorded_at=known.recorded_at
                )
                for known in actuals.periods
            ),
        )


class RecordedActualsView(WireStruct, frozen=True, kw_only=True):
    """The actuals after a command, with the facts that it recorded."""

    project_id: ResourceId
    version: Version
    currency_code: str
    recorded_at: Instant
    recorded_periods: tuple[ActualPeriodView, ...]

    @classmethod
    def of_actuals(cls, aggregate: StoredAggregate[CfadsActuals]) -> Self:
        """Return the wire form of a version of the actuals."""
        return cls(
            project_id=aggregate.state.project_id,
            version=aggregate.version,
            currency_code=aggregate.state.currency_code,
            recorded_at=aggregate.updated_at,
            recorded_periods=tuple(
                ActualPeriodView(**msgspec.structs.asdict(period), recorded_at=aggregate.updated_at)
                for period in aggregate.state.periods
                if period.recorded_version == aggregate.version
            ),
        )


class CaseVarianceView(WireStruct, frozen=True, kw_only=True):
    """Actual figures beside those of a case, for each period of the case."""

    case_id: ResourceId
    case_version: Version
    actuals_version: Count
    currency_code: str
    periods: tuple[PeriodVariance, ...]

    @classmethod
    def of_variance(cls, variance: CaseVariance) -> Self:
        """Return the wire form of a variance."""
        return cls(
            case_id=variance.case.id,
            case_version=variance.case.version,
            actuals_version=variance.actuals.version,
            currency_code=variance.case.state.currency_code,
            periods=variance.periods,
        )
