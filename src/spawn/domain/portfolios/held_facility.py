"""Facilities that a portfolio holds shares of, with all that its figures follow from."""

from collections.abc import Mapping
from datetime import date, datetime

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.events.position import Position
from spawn.domain.facilities.balance_history import BalanceHistory
from spawn.domain.facilities.facility import Facility
from spawn.domain.portfolios.exposure import HeldExposure
from spawn.domain.portfolios.holding import Holding
from spawn.domain.projects.project import Project


class HeldFacility(msgspec.Struct, frozen=True, kw_only=True):
    """A facility of which a holding has a share.

    `version` is that of the facility at the instant, and `entry_count` the number of the entries
    that were recorded by then.
    """

    holding: Holding
    facility: Facility
    project: Project
    version: int
    entry_count: int


class RecordedBook(msgspec.Struct, frozen=True, kw_only=True):
    """All that a portfolio has held on any day, as recorded at an instant.

    The holdings are in order of creation, also those that were removed; the parts are those of the
    active ones. `position` is one of the feed: every change behind it was recorded later. A book
    without one is not the newest.
    """

    as_of: datetime
    epoch: int
    position: Position | None
    holdings: Mapping[str, StoredAggregate[Holding]] = {}
    facilities: Mapping[str, StoredAggregate[Facility]] = {}
    projects: Mapping[str, StoredAggregate[Project]] = {}
    entry_counts: Mapping[str, int] = {}
    histories: Mapping[str, BalanceHistory] = {}
    parts: tuple[HeldFacility, ...] = ()


class PortfolioBook(msgspec.Struct, frozen=True, kw_only=True):
    """Facilities that a portfolio held on a day, and the part of each that it has.

    Of `shared_names` each is the name of several of the projects. `parts` are those of the recorded
    book, of which the facilities are the ones that were held on the day.
    """

    on: date
    facilities: tuple[HeldFacility, ...]
    exposures: tuple[HeldExposure, ...]
    shared_names: frozenset[str]
    parts: tuple[HeldFacility, ...]
