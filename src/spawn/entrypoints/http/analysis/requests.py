"""Bodies of requests for calculations."""

from typing import Final

from spawn.domain.json_tokens import Token, parse_object
from spawn.entrypoints.http.protocol.problems import RequestProblem

MAX_VALUES: Final = 3_000_000
"""Commas in a body; freeing more values than that would block the other threads."""


def parse_calculation_body(body: bytes) -> dict[str, Token]:
    """Parse a body as one object of exact tokens.

    Raises:
        MalformedBody, InvalidInput: the body is not one well-formed object.
        RequestProblem: 413, the body has too many values.
    """
    if body.count(b",") > MAX_VALUES:
        raise RequestProblem(
            "body_too_large",
            f"The body has more than {MAX_VALUES} values; send fewer cases per request.",
        )
    return parse_object(body)
