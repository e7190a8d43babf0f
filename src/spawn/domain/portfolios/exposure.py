"""Exposure of a portfolio by any keys, exact to the minor unit at every level.

Each holding's part is rounded to the minor unit of its own currency. The total is the exact sum of
these parts at the rates of the set, rounded once. The parts in the portfolio's currency are then
allocated by largest remainder, so that they add up to the total; every group is a sum of parts,
and the groups of any keys add up to the total as well.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from math import lcm
from operator import itemgetter
from typing import Final

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.money import DECIMAL_CONTEXT, get_exponent
from spawn.domain.portfolios.portfolio import ExposureKey, ExposureLimit, find_limited_group

MAX_KEYS: Final = 4
"""Keys of one drill-down."""

MAX_GROUPS: Final = 10_000
"""Groups of all levels of one drill-down."""

HHI_SCALE: Final = 10_000
"""The Herfindahl-Hirschman index of a portfolio with a single group."""

GroupValues = tuple[str | None, ...]
RateOf = Callable[[str], Fraction]
"""Function that returns the units of the portfolio's currency for one unit of another."""


class HeldExposure(msgspec.Struct, frozen=True, kw_only=True):
    """The part of an exposure that a holding has, in minor units of the exposure's currency.

    `keys` has the value of each key; `sponsors` are names with their ratios of the project, which
    add up to at most the whole: the rest is of unknown sponsors.
    """

    holding_id: str
    exposure_id: str
    project_id: str
    currency_code: str
    outstanding: int
    undrawn: int
    keys: Mapping[ExposureKey, str | None]
    sponsors: tuple[tuple[str, Fraction], ...] = ()


class ExposureAmounts(msgspec.Struct, frozen=True):
    """Outstanding amounts and those that can still be drawn, in minor units of one currency."""

    outstanding: int = 0
    undrawn: int = 0

    @property
    def total(self) -> int:
        """The exposure: both together."""
        return self.outstanding + self.undrawn

    def __add__(self, other: "ExposureAmounts") -> "ExposureAmounts":
        return ExposureAmounts(self.outstanding + other.outstanding, self.undrawn + other.undrawn)


class ExposureGroup(msgspec.Struct, frozen=True):
    """A group of a drill-down: the values of its first keys, and its amounts."""

    values: GroupValues
    amounts: ExposureAmounts


class LimitStatus(msgspec.Struct, frozen=True, kw_only=True):
    """A limit, the largest group under it, and every group that exceeds it.

    `maximum` is that of the largest group, in minor units and exactly: a share is one of the total.
    """

    limit: ExposureLimit
    largest: ExposureGroup | None
    maximum: Fraction
    breaches: tuple[ExposureGroup, ...]


class KeyConcentration(msgspec.Struct, frozen=True, kw_only=True):
    """The concentration by one key: the index from 0 to `HHI_SCALE`, and the largest groups."""

    key: ExposureKey
    groups: int
    hhi: Fraction
    largest: tuple[ExposureGroup, ...]


class PortfolioExposure:
    """The parts of a portfolio in its currency, and every sum of them.

    Args:
        positions: the parts in their own currencies.
        currency_code: the currency of the portfolio.
        rate_of: returns the rate of a currency; it raises for one without a rate.
    """

    def __init__(
        self, positions: Sequence[HeldExposure], currency_code: str, rate_of: RateOf
    ) -> None:
        self.positions = positions
        self.currency_code = currency_code
        rates = {code: rate_of(code) for code in dict.fromkeys(p.currency_code for p in positions)}
        outstanding = convert_units(
            [(part.outstanding, part.currency_code) for part in positions], currency_code, rates
        )
        undrawn = convert_units(
            [(part.undrawn, part.currency_code) for part in positions], currency_code, rates
        )
        self.parts = [ExposureAmounts(*pair) for pair in zip(outstanding, undrawn, strict=True)]
        self.total = ExposureAmounts(sum(outstanding), sum(undrawn))

    def group(self, keys: Sequence[ExposureKey]) -> dict[GroupValues, ExposureAmounts]:
        """Return the amounts by the values of the keys, the largest first."""
        return _sort_groups(self._sum(keys))

    def _sum(self, keys: Sequence[ExposureKey]) -> Mapping[GroupValues, list[int]]:
        """Return outstanding and undrawn units by the values of the keys."""
        sums: dict[GroupValues, list[int]] = defaultdict(lambda: [0, 0])
        if ExposureKey.SPONSOR in keys:
            for part, amounts in zip(self.positions, self.parts, strict=True):
                for values, split in _split_by_sponsor(part, amounts, keys):
                    row = sums[values]
                    row[0] += split.outstanding
                    row[1] += split.undrawn
            return sums
        # The reader of several keys is C code: a generator would take three times as long.
        read = itemgetter(*keys)
        for part, amounts in zip(self.positions, self.parts, strict=True):
            values = read(part.keys)
            row = sums[values if len(keys) > 1 else (values,)]
            row[0] += amounts.outstanding
            row[1] += amounts.undrawn
        return sums

    def drill_down(self, keys: Sequence[ExposureKey]) -> list[ExposureGroup]:
        """Return the groups of every level, each before those that it consists of.

        Raises:
            InvalidInput: there are too many groups.
        """
        sums = [self._sum(keys)]
        for depth in range(len(keys) - 1, 0, -1):
            sums.append(_roll_up(sums[-1], depth))
        if sum(map(len, sums)) > MAX_GROUPS:
            detail = f"more than {MAX_GROUPS} groups: ask for fewer keys"
            raise InvalidInput.at("/by", "too_many", detail)
        levels = [_sort_groups(level) for level in reversed(sums)]
        children: dict[GroupValues, list[ExposureGroup]] = defaultdict(list)
        for level in levels:
            for values, amounts in level.items():
                children[values[:-1]].append(ExposureGroup(values, amounts))
        rows: list[ExposureGroup] = []
        stack = children[()][::-1]
        while stack:
            row = stack.pop()
            rows.append(row)
            stack += children.get(row.values, [])[::-1]
        return rows

    def check_limits(self, limits: Iterable[ExposureLimit]) -> list[LimitStatus]:
        """Compare every limit with the groups of its key, exactly."""
        groups: dict[ExposureKey, list[ExposureGroup]] = {}
        statuses = []
        for limit in limits:
            if limit.by not in groups:
                by_value = self.group((limit.by,))
                groups[limit.by] = [ExposureGroup(*item) for item in by_value.items()]
            value = find_limited_group(limit)
            groups_of_limit = [
                one for one in groups[limit.by] if value is None or one.values[0] == value
            ]
            maximum = self._find_maximum(limit)
            breaches = tuple(one for one in groups_of_limit if one.amounts.total > maximum)
            largest = groups_of_limit[0] if groups_of_limit else None
            statuses.append(
                LimitStatus(limit=limit, largest=largest, maximum=maximum, breaches=breaches)
            )
        return statuses

    def _find_maximum(self, limit: ExposureLimit) -> Fraction:
        if limit.max_share is not None:
            return Fraction(limit.max_share) / 100 * self.total.total
        exponent = get_exponent(self.currency_code)
        return Fraction(limit.max_amount or 0) * Fraction(10) ** exponent

    def measure_concentration(self, key: ExposureKey, top: int) -> KeyConcentration:
        """Return the Herfindahl-Hirschman index by a key, and its largest groups.

        The index is the sum of the squares of the groups' shares in per cent.
        """
        groups = [ExposureGroup(*item) for item in self.group((key,)).items()]
        total = self.total.total
        squares = sum(one.amounts.total**2 for one in groups)
        hhi = Fraction(squares * HHI_SCALE, total**2) if total else Fraction(0)
        return KeyConcentration(key=key, groups=len(groups), hhi=hhi, largest=tuple(groups[:top]))


def _roll_up(sums: Mapping[GroupValues, list[int]], depth: int) -> Mapping[GroupValues, list[int]]:
    """Return the sums of a level from those of the level below it."""
    above: dict[GroupValues, list[int]] = defaultdict(lambda: [0, 0])
    for values, (outstanding, undrawn) in sums.items():
        row = above[values[:depth]]
        row[0] += outstanding
        row[1] += undrawn
    return above


def _sort_groups(sums: Mapping[GroupValues, list[int]]) -> dict[GroupValues, ExposureAmounts]:
    """Return the groups as amounts, the largest first."""
    amounts = {values: ExposureAmounts(*row) for values, row in sums.items()}
    return dict(sorted(amounts.items(), key=lambda item: _rank(*item)))


def _rank(values: GroupValues, amounts: ExposureAmounts) -> tuple[int, list[tuple[bool, str]]]:
    """Return the sort key of a group: the largest first, then by its values, unknown ones last."""
    return -amounts.total, [(value is None, value or "") for value in values]


def _split_by_sponsor(
    part: HeldExposure, amounts: ExposureAmounts, keys: Sequence[ExposureKey]
) -> Iterable[tuple[GroupValues, ExposureAmounts]]:
    """Yield the amounts of each sponsor, which add up to those of the part."""
    ratios = [ratio for _, ratio in part.sponsors]
    names: list[str | None] = [name for name, _ in part.sponsors]
    rest = 1 - sum(ratios, Fraction(0))
    if rest > 0:
        ratios.append(rest)
        names.append(None)
    outstanding = split_units(amounts.outstanding, ratios)
    undrawn = split_units(amounts.undrawn, ratios)
    for name, *units in zip(names, outstanding, undrawn, strict=True):
        values = tuple(name if key is ExposureKey.SPONSOR else part.keys[key] for key in keys)
        yield values, ExposureAmounts(*units)


def split_units(units: int, ratios: Sequence[Fraction]) -> list[int]:
    """Split minor units by ratios, by largest remainder: the parts add up to the units."""
    common = lcm(*(ratio.denominator for ratio in ratios))
    weights = [ratio.numerator * (common // ratio.denominator) for ratio in ratios]
    return allocate_units([units * weight for weight in weights], sum(weights), units)


def convert_units(
    amounts: Sequence[tuple[int, str]],
    currency_code: str,
    rates: Mapping[str, Fraction],
    total: int | None = None,
) -> list[int]:
    """Convert minor units of several currencies; the results add up to the rounded exact sum.

    Args:
        amounts: minor units with the code of their currency.
        currency_code: the currency to convert to.
        rates: units of it for one unit of each currency.
        total: the sum that the results have instead: the exact one, rounded up or down.
    """
    exponent = get_exponent(currency_code)
    factors = {
        code: rate * Fraction(10) ** (exponent - get_exponent(code)) for code, rate in rates.items()
    }
    common = lcm(*(factor.denominator for factor in factors.values()))
    weights = {
        code: factor.numerator * (common // factor.denominator) for code, factor in factors.items()
    }
    numerators = [units * weights[code] for units, code in amounts]
    if total is None:
        total = round(Fraction(sum(numerators), common))
    return allocate_units(numerators, common, total)


def allocate_units(numerators: Sequence[int], denominator: int, total: int) -> list[int]:
    """Round the ratios down, and add one to those with the largest remainders up to the total.

    Equal remainders are served in order. The total is less than one from the sum of the ratios, or
    equal to it, so it is never below the sum of their integers by more than the number of them.
    """
    pairs = [divmod(numerator, denominator) for numerator in numerators]
    units = [quotient for quotient, _ in pairs]
    missing = total - sum(units)
    if missing:
        by_remainder = sorted(range(len(pairs)), key=lambda index: -pairs[index][1])
        for index in by_remainder[:missing]:
            units[index] += 1
    return units


def round_part(amount: Decimal, share: Fraction, currency_code: str) -> int:
    """Return a share of an amount in minor units of its currency, rounded half-even once."""
    units = int(DECIMAL_CONTEXT.scaleb(amount, get_exponent(currency_code)))
    return take_share(units, share)


def take_share(units: int, share: Fraction) -> int:
    """Return a share of minor units, rounded half-even once."""
    quotient, remainder = divmod(units * share.numerator, share.denominator)
    twice = 2 * remainder
    is_half = twice == share.denominator
    return quotient + (twice > share.denominator or (is_half and quotient % 2 == 1))
