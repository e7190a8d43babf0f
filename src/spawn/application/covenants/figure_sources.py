"""Sources of the figures of a covenant test: a case, or the actuals as they were known."""

from collections.abc import Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cash_periods import CashPeriod
from spawn.domain.covenants.cfads_actuals import ACTUALS_KIND, CfadsActuals, select_known
from spawn.domain.covenants.cfads_case import CASE_KIND, CaseStatus, CfadsCase, mark_used
from spawn.domain.covenants.covenant_record import InputReference
from spawn.domain.covenants.covenant_set import CovenantSet
from spawn.domain.covenants.exact_ratios import (
    CoverMetric,
    ExactRatio,
    LoanLife,
    WindowDirection,
    compute_dscr,
)
from spawn.domain.errors import Conflict, InvalidInput, NotFound

_NOT_COMPARABLE: Final = "a test of the actuals is a DSCR of months that have passed: name a case"


class FigureSource(msgspec.Struct, frozen=True, kw_only=True):
    """The periods of a case or of the actuals, and the version that has them."""

    kind: str
    stored: StoredAggregate[Any]
    currency_code: str
    periods: Sequence[CashPeriod]
    opening_debt: Decimal | None = None
    equity: Decimal | None = None


async def load_case_figures(
    dependencies: Dependencies, project_id: str, case_id: str, version: int | None
) -> FigureSource:
    """Return the figures of a case of the project, at its current version or a used one.

    Raises:
        InvalidInput: the project has no such case or version, or it is a draft that was replaced.
    """
    try:
        current = await dependencies.reads.get(CASE_KIND, case_id)
        stored: StoredAggregate[CfadsCase] = current
        if version is not None and version != current.version:
            stored = await _find_used_version(dependencies, case_id, version)
    except NotFound as error:
        pointer = "/case_id" if version is None else "/case_version"
        raise InvalidInput.at(pointer, "not_found", error.detail) from error
    case = stored.state
    if case.project_id != project_id:
        detail = "is a case of another project"
        raise InvalidInput.at("/case_id", "not_found", detail)
    if stored.version != current.version and case.status is not CaseStatus.USED:
        detail = f"version {stored.version} is a draft that was replaced"
        raise InvalidInput.at("/case_version", "not_found", detail)
    return FigureSource(
        kind=CASE_KIND,
        stored=stored,
        currency_code=case.currency_code,
        periods=case.periods,
        opening_debt=case.opening_debt,
        equity=case.equity,
    )


async def _find_used_version(
    dependencies: Dependencies, case_id: str, version: int
) -> StoredAggregate[CfadsCase]:
    """Return a version of a case; for a draft that was used as it is, the version that says so."""
    stored: StoredAggregate[CfadsCase] = await dependencies.reads.get(
        CASE_KIND, case_id, version=version
    )
    if stored.state.status is CaseStatus.USED:
        return stored
    following: StoredAggregate[CfadsCase] = await dependencies.reads.get(
        CASE_KIND, case_id, version=version + 1
    )
    return following if following.state == mark_used(stored.state) else stored


async def load_actual_figures(
    dependencies: Dependencies, project_id: str, on: date, as_of: datetime | None
) -> FigureSource:
    """Return the actuals of periods that had ended by a day, as they were known.

    Raises:
        InvalidInput: nothing was recorded by then, or the instant is not in the past.
    """
    await require_past(dependencies, as_of)
    try:
        stored: StoredAggregate[CfadsActuals] = await dependencies.reads.get(
            ACTUALS_KIND, project_id, as_of=as_of
        )
    except NotFound as error:
        detail = "the project has no actuals, or none recorded by then"
        raise InvalidInput.at("/figures", "not_found", detail) from error
    return FigureSource(
        kind=ACTUALS_KIND,
        stored=stored,
        currency_code=stored.state.currency_code,
        periods=select_known(stored.state, on),
    )


class RatioComputer:
    """The ratios of a covenant on one source of figures, at any of its dates.

    Raises:
        InvalidInput: on construction, if the source lacks what the metric needs.
    """

    def __init__(self, covenant: CovenantSet, source: FigureSource) -> None:
        self._covenant = covenant
        self._source = source
        metric, is_case = covenant.metric, source.kind == CASE_KIND
        is_forward = covenant.window_direction is WindowDirection.FORWARD
        if not is_case and (metric is not CoverMetric.DSCR or is_forward):
            raise InvalidInput.at("/figures", "not_applicable", _NOT_COMPARABLE)
        if metric is not CoverMetric.DSCR and source.opening_debt is None:
            detail = f"the {metric} needs the opening debt of the case"
            raise InvalidInput.at("/case_id", "incomplete", detail)
        if metric is CoverMetric.GEARING and source.equity is None:
            raise InvalidInput.at("/case_id", "incomplete", "gearing needs the equity of the case")
        has_life = metric is not CoverMetric.DSCR and source.opening_debt is not None
        self._life = (
            LoanLife(source.periods, source.opening_debt or Decimal(0)) if has_life else None
        )

    def compute(self, on: date, equity_cure: Decimal = Decimal(0)) -> ExactRatio:
        """Return the ratio at a date."""
        covenant, life = self._covenant, self._life
        if life is None:
            return compute_dscr(
                self._source.periods,
                on,
                months=covenant.window_months,
                direction=covenant.window_direction,
                equity_cure=equity_cure,
            )
        if covenant.metric is CoverMetric.LLCR:
            return life.compute_llcr(on)
        return life.compute_gearing(self._source.equity or Decimal(0), on)


async def refer_to_input(
    dependencies: Dependencies, aggregate: StoredAggregate[Any]
) -> InputReference:
    """Return the reference to a version of an aggregate, with its position in the journal.

    Raises:
        Conflict: the journal no longer has the version at this place.
    """
    entries = await dependencies.reads.history(
        aggregate.kind, aggregate.id, after_version=aggregate.version - 1, limit=1
    )
    if not entries or entries[0].version != aggregate.version:
        raise Conflict(
            f"Version {aggregate.version} of the {aggregate.kind} is not in the journal."
        )
    return InputReference(
        kind=aggregate.kind,
        id=aggregate.id,
        version=aggregate.version,
        position=str(entries[0].position),
    )
