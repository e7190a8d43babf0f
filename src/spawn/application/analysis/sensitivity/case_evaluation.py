"""Evaluation of one case in many variations, each with a result or its own errors."""

from collections.abc import Generator, Mapping, Sequence
from functools import cache
from typing import Any, TypeVar

import msgspec

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.calculators import CALCULATORS, Calculator
from spawn.application.analysis.holiday_calendars import resolve_calendars
from spawn.application.analysis.sensitivity.result_outputs import ResultOutput
from spawn.domain.errors import FieldError, Infeasible, InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.struct_reader import TokenReader, compile_reader
from spawn.ports.holidays import HolidaySource

T = TypeVar("T")
Steps = Generator[None, None, T]
"""Work in steps of one evaluation each, between which other requests have their turn."""

CASE_POINTER = "/case"
"""The place of the case in a request."""


class Evaluation(msgspec.Struct, frozen=True):
    """The result of a varied case, or its errors; infeasible, it is within limits."""

    case: msgspec.Struct | None
    result: msgspec.Struct | None
    errors: tuple[FieldError, ...] = ()
    is_infeasible: bool = False

    def read(self, outputs: Sequence[ResultOutput]) -> tuple[float | None, ...]:
        """Return the outputs; None for each without a result."""
        if self.result is None:
            return (None,) * len(outputs)
        return tuple(output.read(self.result) for output in outputs)


class CaseEvaluator:
    """A calculator that reads and calculates variations of a case within a deadline."""

    def __init__(self, name: str, deadline: Deadline, holidays: HolidaySource | None) -> None:
        self.calculator: Calculator[Any, Any] = CALCULATORS[name]
        self._read_case = _case_reader(name)
        self._deadline = deadline
        self._holidays = holidays

    def read(self, tokens: Mapping[str, Token]) -> Any:
        """Return the case of its tokens.

        Raises:
            InvalidInput: names each invalid field.
            DeadlineExceeded: the request was abandoned in the meantime.
        """
        self._deadline.raise_if_expired()
        return resolve_calendars(self._read_case(dict(tokens), ""), self._holidays)

    def evaluate(self, tokens: Mapping[str, Token]) -> Evaluation:
        """Return the result of a case or its errors.

        Raises:
            DeadlineExceeded: the request was abandoned in the meantime.
        """
        case = None
        try:
            case = self.read(tokens)
            return Evaluation(case, self.calculator.run(case))
        except InvalidInput as error:
            return Evaluation(case, None, error.errors, isinstance(error, Infeasible))


@cache
def _case_reader(name: str) -> TokenReader:
    return compile_reader(CALCULATORS[name].case)


def prefix_errors(errors: Sequence[FieldError]) -> tuple[FieldError, ...]:
    """Return errors of a case as errors of the request that contains it."""
    return tuple(
        msgspec.structs.replace(error, pointer=CASE_POINTER + error.pointer) for error in errors
    )
