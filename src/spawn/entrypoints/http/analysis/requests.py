"""Requests for calculations: one case or several, read strictly, with every field error."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import (
    SimulationCase,
    validate_simulation_case,
)
from spawn.domain.json_tokens import Token, describe_type, parse_object
from spawn.domain.money import get_currency
from spawn.domain.struct_reader import TokenReader, compile_reader, record_error
from spawn.entrypoints.http.protocol.problems import RequestProblem

MAX_VALUES: Final = 3_000_000
"""Commas in a body; freeing more values than that would block the other threads."""

_READERS: Final[dict[str, TokenReader]] = {
    name: compile_reader(calculator.case) for name, calculator in CALCULATORS.items()
}
_read_simulation_case: Final = compile_reader(SimulationCase)
_read_text: Final = compile_reader(str)
_read_boolean: Final = compile_reader(bool)


class CalculationRequest(msgspec.Struct, frozen=True, kw_only=True):
    """The cases of a request with their names and JSON Pointers."""

    cases: tuple[Any, ...]
    names: tuple[str | None, ...]
    pointers: tuple[str, ...]
    is_single: bool
    explain: bool


def read_request(name: str, body: bytes) -> CalculationRequest:
    """Read the request to a calculator.

    Raises:
        MalformedBody, InvalidInput: the body is not one well-formed object, or a field is invalid.
        RequestProblem: 413, the body has too many values.
    """
    tokens = _parse_body(body)
    errors: list[FieldError] = []
    explain = _read_boolean(tokens.pop("explain", False), "/explain", errors)
    is_single = "cases" not in tokens
    case_tokens = [tokens] if is_single else _read_cases(tokens, errors)
    pointers = (
        ("",) if is_single else tuple(f"/cases/{number}" for number in range(len(case_tokens)))
    )
    names = [
        _pop_name(token, pointer, errors)
        for token, pointer in zip(case_tokens, pointers, strict=True)
    ]
    reader = _READERS[name]
    cases = tuple(
        reader(token, pointer, errors) for token, pointer in zip(case_tokens, pointers, strict=True)
    )
    if errors:
        raise InvalidInput(errors)
    return CalculationRequest(
        cases=cases, names=tuple(names), pointers=pointers, is_single=is_single, explain=explain
    )


def read_simulation(body: bytes) -> SimulationCase:
    """Read the request for a simulation, validated by the rules of the domain too.

    Raises:
        MalformedBody, InvalidInput: as `read_request`.
    """
    errors: list[FieldError] = []
    case: SimulationCase = _read_simulation_case(_parse_body(body), "", errors)
    if errors:
        raise InvalidInput(errors)
    for index, project in enumerate(case.projects):
        if project.currency_code:
            get_currency(project.currency_code, pointer=f"/projects/{index}/currency_code")
    validate_simulation_case(case)
    return case


def _parse_body(body: bytes) -> dict[str, Token]:
    if body.count(b",") > MAX_VALUES:
        raise RequestProblem(
            "body_too_large",
            f"The body has more than {MAX_VALUES} values; send fewer cases per request.",
        )
    return parse_object(body)


def _read_cases(tokens: dict[str, Token], errors: list[FieldError]) -> list[Token]:
    for member in tokens:
        if member != "cases":
            detail = "only explain may stand beside cases; move the field into a case"
            record_error(f"/{member}", "unknown_field", detail, errors)
    cases = tokens["cases"]
    if not isinstance(cases, list):
        record_error(
            "/cases", "wrong_type", f"must be an array, not {describe_type(cases)}", errors
        )
        return []
    if not cases:
        record_error("/cases", "empty", "must have at least one case", errors)
    if len(cases) > MAX_CASES:
        record_error("/cases", "too_many", f"must have at most {MAX_CASES} cases", errors)
        return []
    return cases


def _pop_name(token: Token, pointer: str, errors: list[FieldError]) -> str | None:
    """Remove the name from a case and return it; the other fields are the calculator's."""
    if not isinstance(token, dict) or "name" not in token:
        return None
    name: str | None = _read_text(token.pop("name"), f"{pointer}/name", errors)
    return name
