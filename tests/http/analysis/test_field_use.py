"""Every field is used, compared or rejected: none is dropped in silence.

The fields come from the structs of the requests, so that a new one without a change in
`field_changes` fails here.
"""

import copy
import json
from collections.abc import Iterator
from types import UnionType
from typing import Any, get_args, get_type_hints

import msgspec
import pytest
from tests.http.analysis.calculator_requests import Json
from tests.http.analysis.field_changes import FIELD_CHANGES, MISSING, TAX, TIME, UNCHANGED
from tests.http.analysis.field_requests import BASES

from spawn.application.analysis.calculation import Deadline, calculate
from spawn.application.analysis.calculation_requests import read_request, read_simulation
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.errors import InvalidInput
from spawn.domain.finance.simulation.monte_carlo import simulate_portfolio
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase
from spawn.domain.json_tokens import parse_object
from spawn.entrypoints.http.analysis.responses import encode_json

CASES: dict[str, type[msgspec.Struct]] = {
    **{name: calculator.case for name, calculator in CALCULATORS.items()},
    "simulation": SimulationCase,
}


TIME_FIELDS = {path for path in FIELD_CHANGES["debt-sizing"] if path.startswith("payment_dates.")}
WITHOUT_FIGURE: dict[str, set[str]] = {
    # they repeat what the dates or the amounts say, or permit what would be an error
    "schedule": {"allow_negative_amortisation", "frequency", "months_per_period"},
    # the terms of payment dates are those of a loan schedule, where each changes a figure
    "waterfall": set(TIME) | {"tranches[].name", "reserves[].name"},
    # and the terms of a tax change figures of a sizing
    "cash-flow": set(TIME) | {"indices[].name"} | (set(TAX) - {"tax", "tax.rate"}),
    "debt-sizing": TIME_FIELDS
    # a method of depreciation changes together with its terms
    | {"allow_negative_amortisation", "tax.assets[].name", "tax.assets[].method"}
    | {"facilities[].allow_negative_amortisation"},
    "deal": {path for path in FIELD_CHANGES["deal"] if path.startswith("cash_flow.")}
    | (set(TIME) - {"dates", "day_count"})
    | (set(TAX) - {"tax", "tax.rate"})
    | {"sponsors[].share", "facilities[].allow_negative_amortisation"}
    # the waterfall has a request that is locked up
    | {"lockup_release_at_or_above"},
    "construction-funding": set(TIME) - {"dates", "day_count"},
    "returns": {"currency_code", "flows[].currency_code"},
    # a distribution changes together with its parameters, as `shocks.cfads` does
    "simulation": {"projects[].currency_code"}
    | {f"shocks.{name}.distribution" for name in ("cfads", "capex", "delay", "rates")},
}
"""Fields that change no figure, with the reason."""
COUNTRIES = {"calendar.countries", "payment_dates.calendar.countries"}
"""They are resolved to holidays before the calculation; see `test_holiday_calendars`."""


def list_fields(struct: type[msgspec.Struct], prefix: str = "") -> Iterator[str]:
    """Yield the path of each field of a struct and of the structs inside it."""
    for name, hint in get_type_hints(struct).items():
        field = next(each for each in msgspec.structs.fields(struct) if each.name == name)
        path = f"{prefix}{field.encode_name}"
        yield path
        for part, is_array in nested_structs(hint):
            yield from list_fields(part, f"{path}[]." if is_array else f"{path}.")


def nested_structs(hint: Any) -> Iterator[tuple[type[msgspec.Struct], bool]]:
    """Yield the structs of a type, and whether each is the item of an array."""
    parts = get_args(hint) if isinstance(hint, UnionType) else (hint,)
    for part in parts:
        if isinstance(part, type) and issubclass(part, msgspec.Struct):
            yield part, False
        for item in get_args(part):
            if isinstance(item, type) and issubclass(item, msgspec.Struct):
                yield item, True


def respond(name: str, request: Json) -> Any:
    """Return the whole response to a request, or the codes of its errors."""
    body = json.dumps(request).encode()
    try:
        if name == "simulation":
            return msgspec.to_builtins(simulate_portfolio(read_simulation(parse_object(body))))
        read = read_request(name, parse_object(body))
        results = calculate(
            name, read.cases, explain=False, pointers=read.pointers, deadline=Deadline()
        )
        return json.loads(encode_json(read.names, results, is_single=True))
    except InvalidInput as error:
        return sorted({(entry.pointer, entry.code) for entry in error.errors})


def change(request: Json, path: str, value: Any) -> Json | None:
    """Return the request with another value of a field; None without the parent of the field."""
    changed = copy.deepcopy(request)
    holder: Any = changed
    *parents, last = path.split(".")
    for step in parents:
        holder = holder.get(step.removesuffix("[]")) if isinstance(holder, dict) else None
        if step.endswith("[]"):
            holder = holder[-1] if holder else None
        if not isinstance(holder, dict):
            return None
    if value is MISSING:
        holder.pop(last, None)
    elif holder.get(last) == value:
        return None
    else:
        holder[last] = value
    return changed


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_field_of_a_request_has_a_change(name: str) -> None:
    assert set(list_fields(CASES[name])) == set(FIELD_CHANGES[name])


@pytest.mark.parametrize("number", range(len(BASES)))
def test_a_change_of_a_field_changes_the_response_or_is_rejected(number: int) -> None:
    name, request = BASES[number]
    before = respond(name, request)
    assert isinstance(before, dict), before
    silent = []
    for path, values in FIELD_CHANGES[name].items():
        requests = [each for value in values if (each := change(request, path, value)) is not None]
        is_silent = requests and all(respond(name, each) == before for each in requests)
        if is_silent and (name, path) not in UNCHANGED:
            silent.append(path)
    assert silent == []


@pytest.mark.parametrize("name", sorted(CASES))
def test_every_field_changes_a_figure_of_some_request(name: str) -> None:
    unused = set(FIELD_CHANGES[name])
    for base_name, request in BASES:
        if base_name != name:
            continue
        before = respond(name, request)
        for path in sorted(unused):
            for value in FIELD_CHANGES[name][path]:
                after = respond(name, each) if (each := change(request, path, value)) else before
                if isinstance(after, dict) and after != before:
                    unused.discard(path)
    assert unused - WITHOUT_FIGURE.get(name, set()) - COUNTRIES == set()
