"""Measures of financing: balances of ledgers, and periods of CFADS cases.

Both are rules of writes. They are measured again on what is stored, as those of columns are.
"""

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

from spawn.application.dependencies import Dependencies
from spawn.application.portfolios.books.balance_histories import read_histories
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.cash_periods import check_periods
from spawn.domain.covenants.cfads_case import CASE_KIND, CfadsCase
from spawn.domain.errors import FieldError
from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.facilities.ledger import LEDGER_KIND
from spawn.domain.quality.measures import MAX_SAMPLES, MeasureTally
from spawn.domain.quality.report import RuleResult, evaluate_share
from spawn.domain.quality.rules import BALANCE_RULE, CASE_PERIODS_RULE
from spawn.domain.query import MAX_LIMIT, Query

_Basis = tuple[int, ...]


class FinancingMeasures:
    """Measures whose verdicts on versions that were met before are kept."""

    def __init__(self) -> None:
        self._cases: dict[str, tuple[_Basis, bool]] = {}
        self._facilities: dict[str, tuple[_Basis, bool]] = {}

    async def measure(self, dependencies: Dependencies, measured_at: datetime) -> list[RuleResult]:
        """Return the results of both rules, at the position before the first read."""
        position = str(await dependencies.reads.position())
        self._cases = await _judge_cases(dependencies, self._cases)
        self._facilities = await _judge_facilities(dependencies, self._facilities)
        return [
            evaluate_share(rule, _tally(verdicts), measured_at=measured_at, position=position)
            for rule, verdicts in (
                (CASE_PERIODS_RULE, self._cases),
                (BALANCE_RULE, self._facilities),
            )
        ]


def _tally(verdicts: dict[str, tuple[_Basis, bool]]) -> MeasureTally:
    violating = [key for key, (_, is_met) in verdicts.items() if not is_met]
    met = len(verdicts) - len(violating)
    return MeasureTally(met, len(verdicts), tuple(violating[:MAX_SAMPLES]))


async def _judge_cases(
    dependencies: Dependencies, known: dict[str, tuple[_Basis, bool]]
) -> dict[str, tuple[_Basis, bool]]:
    verdicts: dict[str, tuple[_Basis, bool]] = {}
    async for cases in _read_pages(dependencies, CASE_KIND):
        for case in cases:
            basis = (case.version,)
            before = known.get(case.id)
            if before is None or before[0] != basis:
                before = basis, has_consecutive_periods(case.state)
            verdicts[case.id] = before
    return verdicts


def has_consecutive_periods(case: CfadsCase) -> bool:
    """Return whether the periods of a case follow one another without a gap or an overlap."""
    errors: list[FieldError] = []
    check_periods(case.periods, case.currency_code, errors)
    return not errors


async def _judge_facilities(
    dependencies: Dependencies, known: dict[str, tuple[_Basis, bool]]
) -> dict[str, tuple[_Basis, bool]]:
    """Judge the facilities that have a ledger."""
    verdicts: dict[str, tuple[_Basis, bool]] = {}
    async for facilities in _read_pages(dependencies, FACILITY_KIND):
        ledgers = await dependencies.reads.get_many(LEDGER_KIND, [one.id for one in facilities])
        new_versions: dict[str, StoredAggregate[Facility]] = {}
        bases: dict[str, _Basis] = {}
        for one in (one for one in facilities if one.id in ledgers):
            bases[one.id] = (one.version, ledgers[one.id].version)
            if known.get(one.id, ((), False))[0] == bases[one.id]:
                verdicts[one.id] = known[one.id]
            else:
                new_versions[one.id] = one
        for key, history in (await read_histories(dependencies, new_versions)).items():
            verdicts[key] = bases[key], min(history.balances, default=0) >= 0
    return verdicts


async def _read_pages(
    dependencies: Dependencies, kind: str
) -> AsyncIterator[tuple[StoredAggregate[Any], ...]]:
    """Yield the aggregates of a kind, page by page, with turns for requests between them."""
    after = None
    while True:
        page = await dependencies.reads.page(Query(kind=kind, limit=MAX_LIMIT, after=after))
        yield tuple(page.items)
        if page.next is None:
            return
        after = page.next
        await asyncio.sleep(0)
