"""A request for calculations: one case or several, read strictly, every offence named."""

from typing import Any, Final

import msgspec

from spawn.application.analysis.calculation import MAX_CASES
from spawn.application.analysis.calculators import CALCULATORS
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase, check_simulation
from spawn.domain.json_tokens import Token, kind, read_object
from spawn.domain.money import currency
from spawn.domain.struct_reader import Reader, reader_of, refuse
from spawn.entrypoints.http.protocol.problems import Refusal

MAX_VALUES: Final = 3_000_000
"""Commas in a body. Tidying up after more values than that would hold up the other threads."""

_READERS: Final[dict[str, Reader]] = {
    name: reader_of(calculator.case) for name, calculator in CALCULATORS.items()
}
_simulation: Final = reader_of(SimulationCase)
_text: Final = reader_of(str)
_flag: Final = reader_of(bool)


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked: cases with their names and the pointers that lead to them."""

    cases: tuple[Any, ...]
    names: tuple[str | None, ...]
    pointers: tuple[str, ...]
    single: bool
    explain: bool


def read_request(name: str, body: bytes) -> Asked:
    """The request to a calculator.

    Raises:
        MalformedBody, InvalidInput: it is not one well-formed object, or its fields do not fit.
        Refusal: 413, it has too many values.
    """
    tokens = _tokens(body)
    errors: list[FieldError] = []
    explain = _flag(tokens.pop("explain", False), "/explain", errors)
    single = "cases" not in tokens
    given = [tokens] if single else _several(tokens, errors)
    pointers = ("",) if single else tuple(f"/cases/{number}" for number in range(len(given)))
    named = [_named(token, at, errors) for token, at in zip(given, pointers, strict=True)]
    reader = _READERS[name]
    cases = tuple(reader(token, at, errors) for token, at in zip(given, pointers, strict=True))
    if errors:
        raise InvalidInput(errors)
    return Asked(cases=cases, names=tuple(named), pointers=pointers, single=single, explain=explain)


def read_simulation(body: bytes) -> SimulationCase:
    """The request for a simulation, checked by the rules of the domain too.

    Raises:
        MalformedBody, InvalidInput: as `read_request`.
    """
    errors: list[FieldError] = []
    case: SimulationCase = _simulation(_tokens(body), "", errors)
    if errors:
        raise InvalidInput(errors)
    for index, project in enumerate(case.projects):
        if project.currency_code:
            currency(project.currency_code, pointer=f"/projects/{index}/currency_code")
    check_simulation(case)
    return case


def _tokens(body: bytes) -> dict[str, Token]:
    if body.count(b",") > MAX_VALUES:
        raise Refusal("body_too_large", f"A body has at most {MAX_VALUES} values here.")
    return read_object(body)


def _several(tokens: dict[str, Token], errors: list[FieldError]) -> list[Token]:
    for other in tokens:
        if other != "cases":
            detail = "Beside cases there is only explain; the fields of a case are inside it."
            refuse(f"/{other}", "unknown_field", detail, errors)
    cases = tokens["cases"]
    if not isinstance(cases, list):
        refuse("/cases", "wrong_type", f"must be an array, not {kind(cases)}", errors)
        return []
    if not cases:
        refuse("/cases", "empty", "must have at least one case", errors)
    if len(cases) > MAX_CASES:
        refuse("/cases", "too_many", f"must have at most {MAX_CASES} cases", errors)
        return []
    return cases


def _named(token: Token, pointer: str, errors: list[FieldError]) -> str | None:
    """The name of a case, taken out of it; what is left is the calculator's."""
    if not isinstance(token, dict) or "name" not in token:
        return None
    name: str | None = _text(token.pop("name"), f"{pointer}/name", errors)
    return name
