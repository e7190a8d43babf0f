"""Facilities that a portfolio holds shares of, with all that its figures follow from."""

import msgspec

from spawn.domain.facilities.facility import Facility
from spawn.domain.facilities.ledger import RecordedEntry
from spawn.domain.portfolios.exposure import HeldExposure
from spawn.domain.portfolios.holding import Holding
from spawn.domain.projects.project import Project


class HeldFacility(msgspec.Struct, frozen=True, kw_only=True):
    """A facility of which a holding has a share, with the entries known at the instant."""

    holding: Holding
    facility: Facility
    project: Project
    entries: tuple[RecordedEntry, ...]


class PortfolioBook(msgspec.Struct, frozen=True):
    """Facilities that a portfolio held on a day, and the part of each that it has."""

    facilities: tuple[HeldFacility, ...]
    exposures: tuple[HeldExposure, ...]
