"""Commands and queries of exchange rates: publish, correct, get, list, find, convert."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final

import msgspec

from spawn.application.commands import Decision, execute
from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate, Write
from spawn.domain.errors import Duplicate, InvalidInput, NotFound, StaleVersion
from spawn.domain.events.event import DomainEvent
from spawn.domain.money import Money
from spawn.domain.portfolios.fx_rate_set import (
    FX_CORRECTED_EVENT,
    FX_PUBLISHED_EVENT,
    FX_RATE_SET_KIND,
    MAX_AGE_DAYS,
    FxRateSet,
    create_rate_set,
)
from spawn.domain.principal import Principal, Scope
from spawn.domain.query import Filter, Operator, Page, Query, Sort

_READERS: Final = (Scope.FINANCE_READ, Scope.FINANCE_WRITE)


class Correction(msgspec.Struct, frozen=True):
    """The revision that a set corrects, and why."""

    revision: int
    reason: str


class RateSetInput(msgspec.Struct, frozen=True, kw_only=True):
    """A set of rates to publish, or to correct one with."""

    on: date
    source: str
    base_currency: str
    rates: Mapping[str, Decimal]
    correction: Correction | None = None


class PublishedRates(msgspec.Struct, frozen=True):
    """A stored set, and whether this request has written it."""

    aggregate: StoredAggregate[FxRateSet]
    is_new: bool


class FxUse(msgspec.Struct, frozen=True, kw_only=True):
    """The set that a result rests on, its age, and the age that would have been accepted."""

    rate_set: StoredAggregate[FxRateSet]
    age_days: int
    max_age_days: int


class Conversion(msgspec.Struct, frozen=True, kw_only=True):
    """Money in another currency, with the set that converted it."""

    money: Money
    target: Money
    fx: FxUse


class _RateDecision(Decision, frozen=True, kw_only=True):
    existing: StoredAggregate[FxRateSet] | None = None


async def publish_rate_set(
    dependencies: Dependencies, principal: Principal, rate_input: RateSetInput
) -> PublishedRates:
    """Store a set of rates, or a correction of one; equal rates write nothing.

    Raises:
        InvalidInput: the set breaks a rule, or corrects one that does not exist.
        Duplicate: the source has other rates of that day, and the request corrects none.
        StaleVersion: the request corrects another revision than the newest.
        Conflict: the command lost too many races.
    """
    require(principal, Scope.FINANCE_WRITE)
    correction = rate_input.correction
    rate_set = create_rate_set(
        on=rate_input.on,
        source=rate_input.source,
        base_currency=rate_input.base_currency,
        rates=rate_input.rates,
        today=dependencies.clock.now().date(),
        reason=None if correction is None else correction.reason,
    )

    async def decide() -> _RateDecision:
        existing = await _find_set(dependencies, rate_set.set_id)
        if existing is not None and _has_equal_rates(existing.state, rate_set):
            return _RateDecision(existing=existing)
        version = _check_revision(existing, correction, rate_set)
        event = DomainEvent(
            type=FX_CORRECTED_EVENT if version else FX_PUBLISHED_EVENT,
            kind=FX_RATE_SET_KIND,
            id=rate_set.set_id,
            changed=_list_changed(existing, rate_set),
            reason=rate_set.reason,
        )
        write = Write(FX_RATE_SET_KIND, rate_set.set_id, version, rate_set)
        return _RateDecision(writes=(write,), events=(event,))

    outcome = await execute(
        dependencies, principal.id, decide, lost_races=(StaleVersion, Duplicate)
    )
    if outcome.decision.existing is not None:
        return PublishedRates(outcome.decision.existing, is_new=False)
    version = outcome.decision.writes[0].expected_version + 1
    aggregate = await dependencies.reads.get(FX_RATE_SET_KIND, rate_set.set_id, version=version)
    return PublishedRates(aggregate, is_new=True)


def _has_equal_rates(one: FxRateSet, other: FxRateSet) -> bool:
    return (one.base_currency, one.rates) == (other.base_currency, other.rates)


def _check_revision(
    existing: StoredAggregate[FxRateSet] | None,
    correction: Correction | None,
    rate_set: FxRateSet,
) -> int:
    """Return the version before the write: that of the set to correct, or 0."""
    if existing is None:
        if correction is not None:
            detail = f"{rate_set.source} has no rates of {rate_set.on} to correct"
            raise InvalidInput.at("/correction", "unknown_set", detail)
        return 0
    if correction is None:
        raise Duplicate(
            f"{rate_set.source} has other rates of {rate_set.on}: send a correction of revision "
            f"{existing.version}, with its reason."
        )
    if correction.revision != existing.version:
        detail = f"The set is at revision {existing.version}, not {correction.revision}."
        raise StaleVersion(detail, current=existing.version)
    return existing.version


def _list_changed(
    existing: StoredAggregate[FxRateSet] | None, rate_set: FxRateSet
) -> tuple[str, ...]:
    names = FxRateSet.__struct_fields__
    if existing is None:
        return tuple(n for n in names if getattr(rate_set, n) is not None)
    return tuple(n for n in names if getattr(rate_set, n) != getattr(existing.state, n))


async def get_rate_set(
    dependencies: Dependencies,
    principal: Principal,
    set_id: str,
    *,
    revision: int | None = None,
    as_of: datetime | None = None,
) -> StoredAggregate[FxRateSet]:
    """Return a set: the newest revision, one of a number, or the one recorded at an instant.

    Raises:
        NotFound: no such set or revision, or none yet at that instant.
        InvalidInput: the instant is not in the past.
    """
    require(principal, *_READERS)
    await require_past(dependencies, as_of)
    return await dependencies.reads.get(FX_RATE_SET_KIND, set_id, version=revision, as_of=as_of)


async def list_rate_sets(
    dependencies: Dependencies, principal: Principal, query: Query
) -> Page[StoredAggregate[FxRateSet]]:
    """Return one page of sets, the newest revision of each.

    Raises:
        InvalidInput: the instant is not in the past.
    """
    require(principal, *_READERS)
    await require_past(dependencies, query.as_of)
    return await dependencies.reads.page(msgspec.structs.replace(query, kind=FX_RATE_SET_KIND))


async def convert_amount(
    dependencies: Dependencies,
    principal: Principal,
    money: Money,
    target_code: str,
    *,
    source: str,
    on: date,
    max_age_days: int = MAX_AGE_DAYS,
    as_of: datetime | None = None,
) -> Conversion:
    """Return money in another currency by the rates of a source on a day.

    Raises:
        InvalidInput: no set of the source is recent enough, it lacks a rate of the pair, or the
            instant is not in the past.
    """
    require(principal, *_READERS)
    await require_past(dependencies, as_of)
    fx = await find_rates(
        dependencies, source=source, on=on, max_age_days=max_age_days, as_of=as_of
    )
    amount = fx.rate_set.state.convert(money, target_code, pointer="/to")
    return Conversion(money=money, target=amount, fx=fx)


async def find_rates(
    dependencies: Dependencies,
    *,
    source: str,
    on: date,
    max_age_days: int = MAX_AGE_DAYS,
    as_of: datetime | None = None,
) -> FxUse:
    """Return the newest set of a source on or before a day, as recorded at an instant.

    Raises:
        InvalidInput: `missing_rates`, there is none, or it is older than accepted.
    """
    query = Query(
        kind=FX_RATE_SET_KIND,
        filters=(Filter("source", Operator.EQ, (source,)), Filter("on", Operator.LTE, (on,))),
        sort=(Sort("on", descending=True),),
        limit=1,
        as_of=as_of,
    )
    page: Page[StoredAggregate[FxRateSet]] = await dependencies.reads.page(query)
    if not page.items:
        detail = f"{source} has no rates on or before {on}"
        raise InvalidInput.at("/on", "missing_rates", detail)
    rate_set = page.items[0]
    age_days = (on - rate_set.state.on).days
    if age_days > max_age_days:
        raise InvalidInput.at(
            "/on",
            "missing_rates",
            f"the newest rates of {source} for {on} are of {rate_set.state.on}, {age_days} days "
            f"older: at most {max_age_days} are accepted",
        )
    return FxUse(rate_set=rate_set, age_days=age_days, max_age_days=max_age_days)


async def _find_set(dependencies: Dependencies, set_id: str) -> StoredAggregate[FxRateSet] | None:
    try:
        return await dependencies.reads.get(FX_RATE_SET_KIND, set_id)
    except NotFound:
        return None
