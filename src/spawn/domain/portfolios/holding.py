"""Holdings of a portfolio, and the allocation of an exposure among all portfolios.

An exposure is a facility, or the equity of a project. Its allocation is an aggregate of its own,
which every change of a holding writes: two racing changes cannot both pass a check of its sum.
"""

import re
from datetime import date
from enum import StrEnum
from fractions import Fraction
from functools import lru_cache
from typing import Final

import msgspec

from spawn.domain.errors import Conflict, InvalidInput

HOLDING_KIND: Final = "holding"
ALLOCATION_KIND: Final = "exposure_allocation"
HOLDING_CREATED_EVENT: Final = "holding.created"
HOLDING_AMENDED_EVENT: Final = "holding.amended"
HOLDING_REMOVED_EVENT: Final = "holding.removed"

MAX_SLICES: Final = 1_000
"""Holdings of one exposure, at most."""

_PERCENT: Final = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.[0-9]{1,12})?")
_RATIO: Final = re.compile(r"([1-9][0-9]{0,11})/([1-9][0-9]{0,11})")
_PERCENT_DECIMALS: Final = 12
_CACHED_SHARES: Final = 4_096


class ExposureKind(StrEnum):
    """The kind of an exposure: a facility, or the equity of a project."""

    FACILITY = "facility"
    EQUITY = "equity"


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """A share of an exposure in a portfolio, from a day on, perhaps until another.

    `exposure_id` is the facility, or the project whose equity is held; `project_id` the project in
    both cases. `until` is the first day on which it is no longer held. A holding that was removed
    was an error: it stays in the history and is not active.
    """

    holding_id: str
    portfolio_id: str
    exposure_kind: ExposureKind
    exposure_id: str
    project_id: str
    share: str
    since: date
    until: date | None = None
    is_active: bool = True

    @property
    def ratio(self) -> Fraction:
        """The share of the whole exposure, exactly."""
        return parse_share(self.share)

    @property
    def allocation_id(self) -> str:
        """The id of the allocation that the holding is a part of."""
        return f"{self.exposure_kind}.{self.exposure_id}"

    def is_held(self, on: date) -> bool:
        """Whether the portfolio holds the share on a day."""
        has_ended = self.until is not None and self.until <= on
        return self.is_active and self.since <= on and not has_ended


class AllocationSlice(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an exposure that one holding has."""

    holding_id: str
    share: str
    since: date
    until: date | None


class ExposureAllocation(msgspec.Struct, frozen=True, kw_only=True):
    """The active holdings of one exposure; on no day do they have more than the whole."""

    slices: tuple[AllocationSlice, ...]


@lru_cache(_CACHED_SHARES)
def parse_share(text: str, *, pointer: str = "") -> Fraction:
    """Return the ratio of a share, which is in per cent, or a ratio such as `1/3`.

    Raises:
        InvalidInput: the text is neither, or the share is not above 0 and at most the whole.
    """
    ratio = _RATIO.fullmatch(text)
    if ratio is not None:
        share = Fraction(int(ratio[1]), int(ratio[2]))
    elif _PERCENT.fullmatch(text):
        share = Fraction(text) / 100
    else:
        detail = "must be a share in per cent such as 33.5, or a ratio such as 1/3"
        raise InvalidInput.at(pointer, "not_a_share", detail)
    if not 0 < share <= 1:
        raise InvalidInput.at(pointer, "out_of_range", "must be above 0 and at most the whole")
    return share


def format_share(share: Fraction) -> str:
    """Return a share in per cent where that is exact, else as a ratio."""
    units = share * 100 * 10**_PERCENT_DECIMALS
    if units.denominator != 1:
        return f"{share.numerator}/{share.denominator}"
    whole, rest = divmod(int(units), 10**_PERCENT_DECIMALS)
    return f"{whole}.{rest:0{_PERCENT_DECIMALS}d}".rstrip("0").rstrip(".")


def check_holding(holding: Holding) -> Holding:
    """Return a holding with its share in canonical form.

    Raises:
        InvalidInput: the share is none, or the holding ends before it begins.
    """
    share = parse_share(holding.share, pointer="/share")
    if holding.until is not None and holding.until <= holding.since:
        raise InvalidInput.at("/until", "out_of_order", "must be after since")
    return msgspec.structs.replace(holding, share=format_share(share))


def allocate_exposure(before: ExposureAllocation | None, holding: Holding) -> ExposureAllocation:
    """Return the allocation with a holding as it is now, or without one that was removed.

    Raises:
        Conflict: more than the whole exposure would be held on a day, or by too many holdings.
    """
    slices = [] if before is None else list(before.slices)
    slices = [one for one in slices if one.holding_id != holding.holding_id]
    if holding.is_active:
        slices.append(
            AllocationSlice(
                holding_id=holding.holding_id,
                share=holding.share,
                since=holding.since,
                until=holding.until,
            )
        )
    if len(slices) > MAX_SLICES:
        raise Conflict(f"An exposure has at most {MAX_SLICES} holdings.")
    _check_sum(slices)
    return ExposureAllocation(slices=tuple(slices))


def _check_sum(slices: list[AllocationSlice]) -> None:
    """Raise unless at most the whole is held on every day: it grows only where a slice begins."""
    steps: dict[date, Fraction] = {}
    for one in slices:
        share = parse_share(one.share)
        steps[one.since] = steps.get(one.since, Fraction(0)) + share
        if one.until is not None:
            steps[one.until] = steps.get(one.until, Fraction(0)) - share
    total = Fraction(0)
    for day, step in sorted(steps.items()):
        total += step
        if total > 1:
            raise Conflict(
                f"The portfolios would hold {format_share(total)} % of this exposure from {day} on:"
                " at most 100 % of it exist."
            )
