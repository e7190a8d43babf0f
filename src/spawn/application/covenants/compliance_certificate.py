"""The compliance certificate of a project for a test date, as it was known at a time.

It states nothing that is not on record: each figure is of a recorded test, with its formula, its
inputs and the positions of the versions that these come from. The same date and time give the same
certificate at any time later.
"""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Final

import msgspec

from spawn.application.covenants.covenant_queries import (
    LevelHeadroom,
    get_covenant_test,
    measure_recorded,
)
from spawn.application.covenants.state_saving import list_of_project
from spawn.application.dependencies import Dependencies, require, require_past
from spawn.domain.change import StoredAggregate
from spawn.domain.covenants.covenant_record import RecordedCovenantTest
from spawn.domain.covenants.covenant_set import (
    COVENANT_KIND,
    CovenantSet,
    CovenantStanding,
    CovenantWaiver,
    find_test,
    fold_standing,
    list_active_waivers,
)
from spawn.domain.errors import NotFound
from spawn.domain.principal import Principal, Scope
from spawn.domain.projects.project import PROJECT_KIND, Project

_NO_COVENANT: Final = "No covenant of the project had a test on this day at that time."


class CertifiedCovenant(msgspec.Struct, frozen=True, kw_only=True):
    """A covenant on the test date: its newest test of the date, and the state after it."""

    covenant: StoredAggregate[CovenantSet]
    test: StoredAggregate[RecordedCovenantTest] | None
    standing: CovenantStanding
    waivers: tuple[CovenantWaiver, ...]
    headroom: LevelHeadroom | None


class ComplianceCertificate(msgspec.Struct, frozen=True, kw_only=True):
    """The covenants of a project that have a test on a day, as they were known at a time.

    `others` are the states of its other covenants after the day, by their ids.
    """

    project: StoredAggregate[Project]
    on: date
    as_of: datetime
    covenants: tuple[CertifiedCovenant, ...]
    others: Mapping[str, CovenantStanding]

    @property
    def is_complete(self) -> bool:
        """Whether each covenant has a recorded test of the day."""
        return all(one.test is not None for one in self.covenants)

    def list_covenants_in(self, standing: CovenantStanding) -> tuple[str, ...]:
        """Return the ids of the project's covenants in a state after the day."""
        standings = {one.covenant.id: one.standing for one in self.covenants} | dict(self.others)
        return tuple(key for key, each in standings.items() if each is standing)

    @property
    def allows_distributions(self) -> bool:
        """Whether no covenant of the project is in lock-up or default, and none lacks its test."""
        is_free = all(
            standing is CovenantStanding.OK
            for standing in (*(one.standing for one in self.covenants), *self.others.values())
        )
        return is_free and self.is_complete


async def read_certificate(
    dependencies: Dependencies,
    principal: Principal,
    project_id: str,
    on: date,
    *,
    as_of: datetime | None = None,
) -> ComplianceCertificate:
    """Return the certificate of a test date, by default as everything is known now.

    Raises:
        NotFound: no such project, or no covenant with a test on the day at that time.
        InvalidInput: the instant is not in the past.
    """
    require(principal, Scope.FINANCE_READ)
    await require_past(dependencies, as_of)
    if as_of is None:
        as_of = await dependencies.reads.final_instant()
    project: StoredAggregate[Project] = await dependencies.reads.get(
        PROJECT_KIND, project_id, as_of=as_of
    )
    certified = []
    others = {}
    for current in await list_of_project(dependencies, COVENANT_KIND, project_id):
        covenant = await _find_known(dependencies, current, as_of)
        if covenant is None:
            continue
        if on in covenant.state.test_dates:
            certified.append(await _certify(dependencies, principal, covenant, on))
        else:
            others[covenant.id] = fold_standing(covenant.state, on)
    if not certified:
        raise NotFound(_NO_COVENANT)
    return ComplianceCertificate(
        project=project, on=on, as_of=as_of, covenants=tuple(certified), others=others
    )


async def _find_known(
    dependencies: Dependencies, current: StoredAggregate[CovenantSet], as_of: datetime
) -> StoredAggregate[CovenantSet] | None:
    """Return a covenant as it was recorded at an instant; None if it was not yet."""
    if current.updated_at <= as_of:
        return current
    try:
        known: StoredAggregate[CovenantSet] = await dependencies.reads.get(
            COVENANT_KIND, current.id, as_of=as_of
        )
    except NotFound:
        return None
    return known


async def _certify(
    dependencies: Dependencies,
    principal: Principal,
    covenant: StoredAggregate[CovenantSet],
    on: date,
) -> CertifiedCovenant:
    registered = find_test(covenant.state, on)
    test = None
    if registered is not None:
        test = await get_covenant_test(dependencies, principal, registered.test_id)
    return CertifiedCovenant(
        covenant=covenant,
        test=test,
        standing=fold_standing(covenant.state, on),
        waivers=list_active_waivers(covenant.state, on),
        headroom=None if test is None else measure_recorded(covenant.state, test.state),
    )
