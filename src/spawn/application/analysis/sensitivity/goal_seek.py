"""Goal seek: the numbers of an input at which an output of a calculator meets a target."""

from typing import Any, Final, Literal

import msgspec

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.explanation import Explanations
from spawn.application.analysis.explanations import EXPLAINERS
from spawn.application.analysis.sensitivity.case_evaluation import (
    CaseEvaluator,
    Evaluation,
    Steps,
    prefix_errors,
)
from spawn.application.analysis.sensitivity.case_variation import (
    CaseVariation,
    Change,
    resolve_variation,
)
from spawn.application.analysis.sensitivity.result_outputs import ResultOutput, resolve_output
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.bracket_search import (
    MAX_INTERVALS,
    MAX_ZEROS,
    BracketSearch,
    Jump,
    Search,
    Zero,
    search_bracket,
    search_integers,
)
from spawn.domain.finance.limits import MAX_AMOUNT, FieldChecker
from spawn.domain.json_tokens import Token
from spawn.ports.holidays import HolidaySource

GoalStatus = Literal["unique", "several", "discontinuous", "none"]

MAX_INTEGERS: Final = 400
"""Integers in a bracket, each of which is tried."""

TOLERANCE: Final = 1e-12
"""Distance of an output from its target, relative to their size, at a smooth solution."""


class GoalTarget(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The number that an output of the result must have; `output` is its JSON Pointer."""

    output: str
    value: float


class GoalCase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A case, the field to vary between two numbers, and the target of an output.

    `vary` is a JSON Pointer into the case, or several for fields that vary together; `*` stands
    for every item of an array. `change` sets the field to the number (`value`), multiplies it
    (`factor`) or adds the number (`shift`), a series as a whole. `intervals` is the number of
    steps of the first scan.
    """

    case: dict[str, Any]
    vary: str | tuple[str, ...]
    between: tuple[float, ...]
    target: GoalTarget
    change: Change = "value"
    intervals: int = 32
    explain: bool = False


class GoalTrial(msgspec.Struct, frozen=True, kw_only=True):
    """A number that was tried, and its output; without one, the errors of the case."""

    number: float
    output: float | None
    errors: tuple[FieldError, ...] = ()


class GoalJump(msgspec.Struct, frozen=True, kw_only=True):
    """Two neighbouring numbers between which the output passes the target without meeting it."""

    below: GoalTrial
    above: GoalTrial


class GoalSolution(msgspec.Struct, frozen=True, kw_only=True):
    """A number that meets the target, with the whole result of the case there.

    `difference` is the output less the target. With `until` every number up to it meets the target.
    """

    number: float
    output: float
    difference: float
    until: float | None
    result: dict[str, Any]


class GoalSeekResult(msgspec.Struct, frozen=True, kw_only=True):
    """The typed outcome of a search.

    `unique` has one solution, `several` more or a range of them; `discontinuous` has none, but
    the output jumps over the target; `none` has neither. `ends` are the outputs at the ends of the
    bracket, `nearest` is the trial nearest to the target. `tolerance` is that of the output.
    """

    status: GoalStatus
    solutions: tuple[GoalSolution, ...]
    jumps: tuple[GoalJump, ...]
    ends: tuple[GoalTrial, ...]
    nearest: GoalTrial | None
    tolerance: float
    evaluations: int
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()


def seek_goal(
    name: str, request: GoalCase, *, deadline: Deadline, holidays: HolidaySource | None = None
) -> Steps[GoalSeekResult]:
    """Search the bracket for every number that meets the target, a step an evaluation.

    Raises:
        InvalidInput: an unknown field or output, a bracket outside the limits of the field, or a
            case that is invalid at either end.
        DeadlineExceeded: the request was abandoned in the meantime.
    """
    seeker = _Seeker(name, request, CaseEvaluator(name, deadline, holidays))
    yield from seeker.check_ends()
    search = yield from seeker.run_search()
    return (yield from seeker.build_result(search))


class _Seeker:
    """One search over a case, with its trials by number."""

    def __init__(self, name: str, request: GoalCase, evaluator: CaseEvaluator) -> None:
        calculator = evaluator.calculator
        self._name, self._request, self._evaluator = name, request, evaluator
        self._tokens: dict[str, Token] = request.case
        self._low, self._high = _check_bracket(request)
        self._variation: CaseVariation = resolve_variation(
            calculator.case, self._tokens, request.vary, request.change, "/vary"
        )
        self._output: ResultOutput = resolve_output(
            calculator.result, request.target.output, "/target/output"
        )
        if self._variation.is_integer:
            _check_integers(self._low, self._high)
        self._trials: dict[float, GoalTrial] = {}

    def _evaluate(self, number: float) -> Evaluation:
        return self._evaluator.evaluate(self._variation.apply(self._tokens, number))

    def _try(self, number: float) -> GoalTrial:
        if number not in self._trials:
            self._record(number, self._evaluate(number))
        return self._trials[number]

    def _record(self, number: float, evaluation: Evaluation) -> None:
        (output,) = evaluation.read([self._output])
        errors = prefix_errors(evaluation.errors)
        self._trials[number] = GoalTrial(number=number, output=output, errors=errors)

    def check_ends(self) -> Steps[None]:
        """Evaluate both ends of the bracket.

        Raises:
            InvalidInput: an end is outside the limits of the field, or the case is invalid.
        """
        outside: list[FieldError] = []
        case_errors: list[tuple[FieldError, ...]] = []
        for index, number in enumerate((self._low, self._high)):
            evaluation = self._evaluate(number)
            self._record(number, evaluation)
            if evaluation.errors and not evaluation.is_infeasible:
                own = [error for error in evaluation.errors if self._variation.owns(error)]
                if own:  # of a series one item says enough
                    detail = f"{number:g}: {own[0].detail}"
                    outside.append(FieldError(f"/between/{index}", own[0].code, detail))
                case_errors.append(tuple(e for e in evaluation.errors if e not in own))
            yield
        if outside:
            raise InvalidInput(outside)
        if len(case_errors) > 1:  # both ends, hence not for the number
            raise InvalidInput(prefix_errors(case_errors[0]))

    def run_search(self) -> Steps[BracketSearch]:
        """Send the differences from the target to the search until it ends."""
        target = self._request.target.value
        search = self._start_search()
        number = next(search)
        while True:
            trial = self._try(number)
            yield
            try:
                number = search.send(None if trial.output is None else trial.output - target)
            except StopIteration as end:
                result: BracketSearch = end.value
                return result

    def _start_search(self) -> Search[BracketSearch]:
        size = abs(self._request.target.value)
        if self._variation.is_integer:
            return search_integers(int(self._low), int(self._high), target_size=size)
        intervals = self._request.intervals
        return search_bracket(self._low, self._high, intervals=intervals, target_size=size)

    def build_result(self, search: BracketSearch) -> Steps[GoalSeekResult]:
        """Return the outcome, with every solution calculated again in full."""
        self._require_an_output()
        solutions = []
        for zero in search.zeros[:MAX_ZEROS]:
            solutions.append(self._solve(zero))
            yield
        return GoalSeekResult(
            status=_classify(search),
            solutions=tuple(solutions),
            jumps=tuple(map(self._describe_jump, search.jumps)),
            ends=(self._trials[self._low], self._trials[self._high]),
            nearest=self._trials[search.nearest.number] if search.nearest else None,
            tolerance=TOLERANCE * search.scale,
            evaluations=search.evaluations,
            conventions=self._describe_search(),
            warnings=_list_warnings(search),
        )

    def _require_an_output(self) -> None:
        """Reject an output that no trial has although the case is valid.

        Raises:
            InvalidInput: the output exists at no number.
        """
        trials = self._trials.values()
        if all(trial.output is None and not trial.errors for trial in trials):
            detail = f"{self._output.text} has no value at any of {len(trials)} numbers tried"
            raise InvalidInput.at(self._output.pointer, "no_value", detail)

    def _solve(self, zero: Zero) -> GoalSolution:
        evaluation = self._evaluate(zero.number)
        result: dict[str, Any] = {}
        if evaluation.result is not None:
            result = msgspec.structs.asdict(evaluation.result)
            if self._request.explain:
                result["explain"] = self._explain(evaluation)
        return GoalSolution(
            number=zero.number,
            output=self._request.target.value + zero.value,
            difference=zero.value,
            until=zero.until,
            result=result,
        )

    def _explain(self, evaluation: Evaluation) -> Explanations:
        explanations: Explanations = EXPLAINERS[self._name](evaluation.case, evaluation.result)
        return explanations

    def _describe_jump(self, jump: Jump) -> GoalJump:
        below, above = self._trials[jump.below.number], self._trials[jump.above.number]
        return GoalJump(below=below, above=above)

    def _describe_search(self) -> dict[str, str]:
        change = {
            "value": "the field is the number",
            "factor": "the field is multiplied by the number",
            "shift": "the number is added to the field",
        }[self._request.change]
        if self._variation.is_integer:
            return {"change": change, "search": "every integer of the bracket is tried"}
        return {
            "change": change,
            "search": (
                f"a scan of {self._request.intervals} steps, then Brent's method in each step "
                "where the output passes the target, to neighbouring float64 numbers"
            ),
            "completeness": (
                "two solutions inside one step of the scan, between which the output does not "
                "turn at a scanned number, are not seen; raise intervals or narrow the bracket"
            ),
        }


def _classify(search: BracketSearch) -> GoalStatus:
    if len(search.zeros) == 1 and search.zeros[0].until is None:
        return "unique"
    if search.zeros:
        return "several"
    return "discontinuous" if search.jumps else "none"


def _list_warnings(search: BracketSearch) -> tuple[str, ...]:
    warnings = []
    if not search.is_complete:
        warnings.append("the search reached its limit of work; narrow the bracket for the rest")
    rough = [z for z in search.zeros if abs(z.value) > TOLERANCE * search.scale]
    if rough:
        numbers = ", ".join(f"{zero.number:g}" for zero in rough)
        warnings.append(f"the output is not smooth at {numbers}: its difference exceeds tolerance")
    if search.jumps and search.zeros:
        warnings.append("beside the solutions the output also jumps over the target; see jumps")
    return tuple(warnings)


def _check_bracket(request: GoalCase) -> tuple[float, float]:
    checker = FieldChecker()
    between = request.between
    if checker.require_length("/between", between, 2):
        checker.require_each("/between", between, -MAX_AMOUNT, MAX_AMOUNT)
        if not between[0] < between[1]:
            checker.reject("/between/1", "not_increasing", "must be above the lower end")
    checker.require_amount("/target/value", request.target.value)
    checker.require_number("/intervals", request.intervals, 1, MAX_INTERVALS)
    checker.raise_errors()
    low, high = between
    return low, high


def _check_integers(low: float, high: float) -> None:
    """Reject a bracket of an integer field whose ends are fractions or too far apart.

    Raises:
        InvalidInput: names the ends.
    """
    checker = FieldChecker()
    for index, number in enumerate((low, high)):
        if not number.is_integer():
            checker.reject(f"/between/{index}", "wrong_type", "must be an integer, as the field is")
    if high - low > MAX_INTEGERS:
        detail = f"must be at most {MAX_INTEGERS} above the lower end: each integer is tried"
        checker.reject("/between/1", "out_of_range", detail)
    checker.raise_errors()
