"""Facilities that a portfolio holds shares of, with all that its figures follow from."""

import msgspec

from spawn.domain.facilities.facility import Facility
from spawn.domain.portfolios.exposure import HeldExposure
from spawn.domain.portfolios.holding import Holding
from spawn.domain.projects.project import Project


class FacilityAmounts(msgspec.Struct, frozen=True):
    """Minor units of a facility that are outstanding, and those that can still be drawn."""

    outstanding: int
    undrawn: int


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


class PortfolioBook(msgspec.Struct, frozen=True):
    """Facilities that a portfolio held on a day, and the part of each that it has."""

    facilities: tuple[HeldFacility, ...]
    exposures: tuple[HeldExposure, ...]
