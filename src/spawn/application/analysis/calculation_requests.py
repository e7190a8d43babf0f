"""Requests for calculations: one case or several, read strictly, with every field error."""

from collections.abc import Mapping
from functools import cache
from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.struct_schemas import Json, input_schema, reference
from spawn.domain.errors import MAX_ERRORS, FieldError, InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import (
    SimulationCase,
    validate_simulation_case,
)
from spawn.domain.json_tokens import Token
from spawn.domain.money import get_currency
from spawn.domain.struct_reader import (
    MAX_TEXT_LENGTH,
    TokenReader,
    collect_members,
    compile_reader,
    read_boolean,
    read_members,
    series_reader,
)

_NAME_SCHEMA: Final[Json] = {
    "type": "string",
    "maxLength": MAX_TEXT_LENGTH,
    "description": "A name of the case, repeated in its result.",
}
_EXPLAIN_SCHEMA: Final[Json] = {
    "type": "boolean",
    "default": False,
    "description": "Add to each headline figure its formula and inputs.",
}
_read_simulation_case: Final = compile_reader(SimulationCase)


class CalculationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The readable cases of a request with their names and JSON Pointers.

    `errors` are those of the unreadable ones: the request is rejected once the others have been
    calculated, so that it names the errors of all.
    """

    cases: tuple[Any, ...]
    names: tuple[str | None, ...]
    pointers: tuple[str, ...]
    is_single: bool
    explain: bool
    errors: tuple[FieldError, ...] = ()


def read_request(name: str, tokens: dict[str, Token]) -> CalculationRequest:
    """Read the request to a calculator.

    Raises:
        InvalidInput: a field outside the cases or of the only case is invalid.
    """
    is_single = "cases" not in tokens
    if is_single:
        request = _get_single_reader(name)(tokens, "")
        items = {"": request}
        errors: list[FieldError] = []
    else:
        request = read_members(tokens, "", _get_batch_readers(name), null_is_absent=False)
        items, errors = request["cases"]
    return CalculationRequest(
        cases=tuple(item["case"] for item in items.values()),
        names=tuple(item.get("name") for item in items.values()),
        pointers=tuple(items),
        is_single=is_single,
        explain=request.get("explain", False),
        errors=tuple(errors),
    )


def read_simulation(tokens: dict[str, Token]) -> SimulationCase:
    """Read the request for a simulation, validated by the rules of the domain too.

    Raises:
        InvalidInput: a field is invalid.
    """
    case: SimulationCase = _read_simulation_case(tokens, "")
    for index, project in enumerate(case.projects):
        if project.currency_code:
            get_currency(project.currency_code, pointer=f"/projects/{index}/currency_code")
    validate_simulation_case(case)
    return case


def _build_case_reader(read_case: TokenReader, options: Mapping[str, TokenReader]) -> TokenReader:
    """Return a reader of a case beside options: a dictionary of `case` and the options."""

    def read(token: Token, pointer: str) -> dict[str, Any]:
        own, rest = {}, token
        if isinstance(token, dict):
            own = {name: token[name] for name in options if name in token}
            rest = {name: value for name, value in token.items() if name not in options}
        errors: list[FieldError] = []
        values = collect_members(own, pointer, options, errors, null_is_absent=False)
        try:
            values["case"] = read_case(rest, pointer)
        except InvalidInput as failure:
            errors.extend(failure.errors)
        if errors:
            raise InvalidInput(errors[:MAX_ERRORS])
        return values

    return read


def _build_batch_reader(read_case: TokenReader) -> TokenReader:
    """Return a reader of several cases: the readable ones by pointer, and the errors of others."""
    read_item = _build_case_reader(read_case, _NAME)
    read_tokens = series_reader(lambda token, _pointer: token, MAX_CASES)

    def read(token: Token, pointer: str) -> tuple[dict[str, Any], list[FieldError]]:
        tokens = read_tokens(token, pointer)
        if not tokens:
            raise InvalidInput.at(pointer, "empty", "must have at least one case")
        items: dict[str, Any] = {}
        errors: list[FieldError] = []
        for index, case_token in enumerate(tokens):
            case_pointer = f"{pointer}/{index}"
            try:
                items[case_pointer] = read_item(case_token, case_pointer)
            except InvalidInput as failure:
                errors.extend(failure.errors)
                if len(errors) >= MAX_ERRORS:
                    raise InvalidInput(errors[:MAX_ERRORS]) from failure
        return items, errors

    return read


_NAME: Final[dict[str, TokenReader]] = {"name": compile_reader(str)}
_EXPLAIN: Final[dict[str, TokenReader]] = {"explain": read_boolean}


@cache
def _get_case_reader(name: str) -> TokenReader:
    """Return the reader of a calculator's case, compiled for its first request.

    Those of all calculators take 20 ms, which no start waits for.
    """
    return compile_reader(CALCULATORS[name].case)


@cache
def _get_single_reader(name: str) -> TokenReader:
    return _build_case_reader(_get_case_reader(name), _NAME | _EXPLAIN)


@cache
def _get_batch_readers(name: str) -> Mapping[str, TokenReader]:
    return {"cases": _build_batch_reader(_get_case_reader(name))} | _EXPLAIN


def request_schema(case: type[msgspec.Struct]) -> Json:
    """Return the schema of one case, or several under `cases`."""
    definitions = input_schema(case)["$defs"]
    calculation = case.__name__.removesuffix("Case")
    schema = definitions.pop(case.__name__)
    named_case = {**schema, "properties": {**schema["properties"], "name": _NAME_SCHEMA}}
    single = {**named_case, "properties": {**named_case["properties"], "explain": _EXPLAIN_SCHEMA}}
    several = {
        "type": "object",
        "description": "Several cases, calculated independently.",
        "properties": {
            "cases": {
                "type": "array",
                "items": reference(f"{calculation}BatchCase"),
                "minItems": 1,
                "maxItems": MAX_CASES,
            },
            "explain": _EXPLAIN_SCHEMA,
        },
        "required": ["cases"],
        "additionalProperties": False,
    }
    requests = {f"{calculation}Request": single, f"{calculation}Batch": several}
    return {
        "$defs": {**definitions, f"{calculation}BatchCase": named_case, **requests},
        "anyOf": [reference(name) for name in requests],
    }
