"""JSON codec of facilities: the flat documents in the journal, in events and in responses."""

from typing import Final

from spawn.domain.facilities.facility import FACILITY_KIND, Facility
from spawn.domain.projects.codec import GovernedCodec

FACILITY_STATES: Final = GovernedCodec(FACILITY_KIND, Facility)
"""Codec of the states of facilities."""
