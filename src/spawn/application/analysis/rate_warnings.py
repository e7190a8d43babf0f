"""Warnings of rates above 100 % in a case: someone typed a percentage.

The fields come from the types of the case, so that a new rate needs no rule of its own.
"""

from collections.abc import Iterator
from functools import lru_cache
from types import UnionType
from typing import Any, Final, NamedTuple, get_args, get_type_hints

import msgspec

from spawn.domain.finance.facilities.rate_terms import RateTerms, expand_annual_rates
from spawn.domain.finance.period_lists import list_periods

_HIGH_RATE: Final = 1.0
_SUFFIXES: Final = ("rate", "rates", "margin", "floor", "fee", "per_period")
_OTHERS: Final = frozenset({"principal_floor", "level_per_period", "months_per_period"})
"""Fields with such a suffix that are no rate."""


def warn_of_rate_fields(case: msgspec.Struct, pointer: str = "") -> Iterator[str]:
    """Warn of each rate of a case, and of the structs inside it, that is above 100 %.

    The annual rate of a facility is one too, where none of its parts is above 100 %.
    """
    warnings = list(_warn_of_fields(case, pointer))
    if isinstance(case, RateTerms) and not warnings:
        warnings = list(_warn_of_value(pointer, _expand_rates(case)))
    yield from warnings


def _expand_rates(terms: RateTerms) -> tuple[float, ...]:
    """Return the annual rates up to the last period that the terms name."""
    series = (terms.base_rate, terms.hedged_share)
    numbers = [len(values) for values in series if isinstance(values, tuple)]
    numbers += [step.from_period for step in terms.margin_steps]
    return expand_annual_rates(terms, max(numbers, default=1))


def _warn_of_fields(case: msgspec.Struct, pointer: str) -> Iterator[str]:
    fields = _find_rate_fields(type(case))
    for name in fields.rates:
        yield from _warn_of_value(f"{pointer}/{name}", getattr(case, name))
    for name in fields.structs:
        value = getattr(case, name)
        if isinstance(value, msgspec.Struct):
            yield from warn_of_rate_fields(value, f"{pointer}/{name}")
        elif isinstance(value, tuple):
            for number, item in enumerate(value):
                if isinstance(item, msgspec.Struct):
                    yield from warn_of_rate_fields(item, f"{pointer}/{name}/{number}")


def _warn_of_value(pointer: str, value: object) -> Iterator[str]:
    advice = "rates are fractions, 0.05 is 5 %"
    if isinstance(value, tuple):
        periods = [number for number, rate in enumerate(value, start=1) if rate > _HIGH_RATE]
        if periods:
            yield f"{pointer} is above 100 % in {list_periods(periods)}: {advice}"
    elif isinstance(value, int | float) and value > _HIGH_RATE:
        yield f"{pointer} is above 100 %: {advice}"


class _RateFields(NamedTuple):
    """The names of the fields that are rates, and of those with structs that have some."""

    rates: tuple[str, ...]
    structs: tuple[str, ...]


@lru_cache(maxsize=256)
def _find_rate_fields(struct: type[msgspec.Struct]) -> _RateFields:
    rates: list[str] = []
    structs: list[str] = []
    for name, hint in get_type_hints(struct).items():
        parts = list(_list_parts(hint))
        if any(_has_rates(part) for part in parts):
            structs.append(name)
        if float in parts and name.endswith(_SUFFIXES) and name not in _OTHERS:
            rates.append(name)
    return _RateFields(tuple(rates), tuple(structs))


def _has_rates(part: Any) -> bool:
    if not (isinstance(part, type) and issubclass(part, msgspec.Struct)):
        return False
    return any(_find_rate_fields(part))


def _list_parts(hint: Any) -> Iterator[Any]:
    """Yield the types of a union and of the items of its tuples."""
    for part in get_args(hint) if isinstance(hint, UnionType) else (hint,):
        yield part
        yield from get_args(part)
