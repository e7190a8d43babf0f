"""Goal seek over every calculator: outcomes against closed forms, and errors by field."""

import json
import math
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from tests.http.analysis.calculator_requests import REQUESTS

from spawn.application.analysis.calculation import Deadline
from spawn.application.analysis.calculators import CALCULATORS
from spawn.application.analysis.sensitivity.case_evaluation import CaseEvaluator
from spawn.application.analysis.sensitivity.case_variation import resolve_variation
from spawn.application.analysis.sensitivity.field_pointers import (
    describe_struct,
    list_number_pointers,
)
from spawn.application.analysis.sensitivity.goal_seek import (
    GoalCase,
    GoalSeekResult,
    GoalTarget,
    seek_goal,
)
from spawn.application.analysis.sensitivity.result_outputs import ResultOutput, resolve_output
from spawn.domain.errors import DeadlineExceeded, InvalidInput
from spawn.domain.json_tokens import parse_object
from spawn.testing.intensity import is_thorough

Json = dict[str, Any]

SIZING: Json = {"cfads": [13.0, 13.0, 13.0, 13.0], "annual_rates": 0.06, "target_dscr": 1.3}
CAPPED: Json = {**SIZING, "uses": {"capex": 50.0}, "max_gearing": 0.9}
LOAN: Json = {"principal": 100.0, "annual_rates": 0.06, "accruals": [1.0] * 10}


def solve(
    name: str, case: Json, vary: str | tuple[str, ...], between: tuple[float, ...], **target: Any
) -> GoalSeekResult:
    """Solve a case to its end."""
    options = {key: target.pop(key) for key in ("change", "explain", "intervals") if key in target}
    ((output, value),) = target.items()
    request = GoalCase(
        case=parse_object(json.dumps(case).encode()),
        vary=vary,
        between=between,
        target=GoalTarget(output="/" + output.replace("__", "/"), value=value),
        **options,
    )
    steps = seek_goal(name, request, deadline=Deadline())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: GoalSeekResult = end.value
            return result


def test_the_ratio_of_a_debt_is_its_inverse() -> None:
    """Debt is the present value of CFADS over the ratio."""
    worth = sum(13.0 / 1.06**t for t in range(1, 5))
    result = solve("debt-sizing", SIZING, "/target_dscr", (1.0, 3.0), debt=30.0)
    assert (result.status, result.warnings) == ("unique", ())
    (solution,) = result.solutions
    assert solution.number == pytest.approx(worth / 30.0, rel=1e-12)
    assert abs(solution.difference) <= result.tolerance == pytest.approx(30e-12)
    assert solution.result["debt"] == solution.output == pytest.approx(30.0, rel=1e-13)
    assert len(solution.result["rows"]) == 4
    assert [end.number for end in result.ends] == [1.0, 3.0]
    assert result.ends[0].output == pytest.approx(worth)


def test_a_rate_solves_a_level_payment() -> None:
    """The rate of a spreadsheet's RATE: 100 repaid in ten payments of 12."""
    result = solve("schedule", LOAN, "/annual_rates", (0.0, 0.5), level_payment=12.0)
    (solution,) = result.solutions
    rate = solution.number
    assert 100.0 * rate / (1.0 - (1.0 + rate) ** -10) == pytest.approx(12.0, rel=1e-12)


def test_a_factor_scales_a_whole_series() -> None:
    result = solve("debt-sizing", SIZING, "/cfads", (0.5, 2.0), change="factor", debt=30.0)
    worth = sum(13.0 / 1.06**t for t in range(1, 5)) / 1.3
    assert result.solutions[0].number == pytest.approx(30.0 / worth, rel=1e-12)


def test_a_shift_moves_every_rate() -> None:
    rates = [0.05, 0.06, 0.055, 0.07]
    case = {**SIZING, "annual_rates": rates}
    result = solve("debt-sizing", case, "/annual_rates", (-0.02, 0.1), change="shift", debt=33.0)
    discount, worth = 1.0, 0.0
    for rate in rates:
        discount /= 1.0 + rate + result.solutions[0].number
        worth += 13.0 / 1.3 * discount
    assert worth == pytest.approx(33.0, rel=1e-12)


def test_one_item_of_a_series_and_every_item_by_a_star() -> None:
    one = solve("debt-sizing", SIZING, "/cfads/3", (0.0, 99.0), debt=30.0)
    worth = sum(13.0 / 1.06**t for t in range(1, 4))
    expected = (30.0 * 1.3 - worth) * 1.06**4
    assert one.solutions[0].number == pytest.approx(expected, rel=1e-11)
    every = solve("debt-sizing", SIZING, "/cfads/*", (1.0, 99.0), debt=30.0)
    expected = 30.0 * 1.3 / sum(1.06**-t for t in range(1, 5))
    assert every.solutions[0].number == pytest.approx(expected, rel=1e-12)


def test_several_fields_vary_together() -> None:
    case = {**SIZING, "project_cash_flow": [13.0] * 6, "uses": {"capex": 50.0}}
    fields = ("/cfads", "/project_cash_flow")
    result = solve("debt-sizing", case, fields, (0.5, 1.5), change="factor", plcr=1.7)
    assert result.status == "none"  # both scale, and so does the debt: the ratio stays
    alone = solve("debt-sizing", case, fields[1], (0.5, 2.0), change="factor", plcr=2.0)
    assert alone.status == "unique"


def test_all_rates_at_which_a_present_value_is_zero() -> None:
    case = {"cash_flows": [-100, 230, -132]}
    result = solve("returns", case, "/discount_rate", (0.0, 0.5), npv=0.0)
    assert result.status == "several"
    assert [s.number for s in result.solutions] == pytest.approx([0.1, 0.2], rel=1e-12)


def test_a_limit_that_does_not_bind_leaves_a_range() -> None:
    worth = sum(13.0 / 1.06**t for t in range(1, 5)) / 1.3
    result = solve("debt-sizing", CAPPED, "/max_gearing", (0.1, 1.0), debt=worth)
    (solution,) = result.solutions
    assert (result.status, solution.until) == ("several", 1.0)
    assert solution.number == pytest.approx(worth / 50.0, rel=1e-9)


def test_a_target_out_of_reach_has_the_ends_and_the_nearest() -> None:
    result = solve("debt-sizing", CAPPED, "/max_gearing", (0.1, 0.9), debt=40.0)
    assert (result.status, result.solutions, result.jumps) == ("none", (), ())
    worth = sum(13.0 / 1.06**t for t in range(1, 5)) / 1.3
    assert [end.output for end in result.ends] == pytest.approx([5.0, worth])
    assert result.nearest is not None
    assert result.nearest.output == pytest.approx(worth)


def test_a_tenor_steps_over_a_debt() -> None:
    case = {**SIZING, "cfads": [13.0] * 8}
    result = solve("debt-sizing", case, "/tenor_periods", (1.0, 8.0), debt=50.0)
    assert result.status == "discontinuous"
    (jump,) = result.jumps
    assert (jump.below.number, jump.above.number) == (6.0, 7.0)
    assert jump.below.output is not None
    assert jump.above.output is not None
    assert jump.below.output < 50.0 < jump.above.output


def test_a_rounded_payment_is_met_over_a_range_of_rates() -> None:
    case = {**LOAN, "currency_code": "EUR"}
    result = solve("schedule", case, "/annual_rates", (0.01, 0.2), settled_rows__0__payment=13.59)
    (solution,) = result.solutions
    assert solution.number < 0.06 < (solution.until or 0.0)
    assert solution.output == 13.59


def test_an_infeasible_end_has_its_errors_and_leaves_the_search() -> None:
    case = {**SIZING, "cfads": [13.0, 13.0, 13.0, 13.0]}
    result = solve("debt-sizing", case, "/cfads", (-1.0, 1.0), change="factor", debt=20.0)
    assert result.status == "unique"
    assert [e.pointer for e in result.ends[0].errors] == ["/case/cfads"]
    assert result.ends[0].errors[0].code == "no_debt_capacity"


def test_the_solution_may_have_its_explanations() -> None:
    result = solve("debt-sizing", SIZING, "/target_dscr", (1.0, 3.0), explain=True, debt=30.0)
    assert result.solutions[0].result["explain"]["debt"].value == pytest.approx(30.0)


@pytest.mark.parametrize(
    ("fields", "pointer", "code", "text"),
    [
        ({"vary": "/target_dscrs"}, "/vary", "unknown_field", "did you mean /target_dscr?"),
        ({"vary": "/capexx"}, "/vary", "unknown_field", "did you mean /uses/capex?"),
        ({"vary": "target_dscr"}, "/vary", "invalid_value", "JSON Pointer"),
        ({"vary": "/repayment"}, "/vary", "wrong_type", "neither a number"),
        ({"vary": "/dates"}, "/vary", "wrong_type", "neither a number"),
        ({"vary": "/cfads"}, "/vary", "wrong_type", "factor or shift"),
        ({"vary": "/cfads/4"}, "/vary", "out_of_range", "4 items"),
        ({"vary": "/cfads/-1"}, "/vary", "unknown_field", "index from 0"),
        ({"vary": "/cfads/00"}, "/vary", "unknown_field", "index from 0"),
        ({"vary": "/uses/capex"}, "/vary", "missing", "/uses is absent"),
        ({"vary": "/balloon", "change": "factor"}, "/vary", "missing", "absent"),
        ({"vary": ()}, "/vary", "wrong_length", "from 1 to 8"),
        ({"vary": ("/cfads/0", "/cfads/*")}, "/vary/1", "duplicate", "twice"),
        ({"vary": ("/cfads/0", "/cfad/1")}, "/vary/1", "unknown_field", "/cfads"),
        ({"vary": "/grace_periods", "change": "factor"}, "/vary", "missing", "absent"),
        ({"vary": "/tenor_periods"}, "/between/1", "wrong_type", "integer"),
        ({"between": (1.0,)}, "/between", "wrong_length", "2 items"),
        ({"between": (3.0, 1.0)}, "/between/1", "not_increasing", "above"),
        ({"between": (-3.0, 1.0)}, "/between/0", "not_positive", "-3: must be above 0"),
        ({"between": (1.0, 1e9)}, "/between/1", "not_positive", "1e+09: must be"),
        ({"output": "/dept"}, "/target/output", "unknown_field", "did you mean /debt?"),
        ({"output": "/rows/0/dcsr"}, "/target/output", "unknown_field", "/rows/0/dscr?"),
        ({"output": "/rows"}, "/target/output", "wrong_type", "not a number"),
        ({"output": "/binding"}, "/target/output", "wrong_type", "not a number"),
        ({"output": "/conventions/dscr"}, "/target/output", "wrong_type", "not a number"),
        ({"output": "/rows/*/dscr"}, "/target/output", "invalid_value", "one number"),
        ({"output": "/rows/99/dscr"}, "/target/output", "no_value", "no value"),
        ({"value": math.inf}, "/target/value", "out_of_range", "number"),
        ({"intervals": 0}, "/intervals", "out_of_range", "1 to 256"),
        ({"case": {**SIZING, "cfads": []}}, "/case/cfads", "empty", "has 0"),
        ({"case": {**SIZING, "cfad": [1]}}, "/case/cfad", "unknown_field", "not a field"),
    ],
)
def test_an_invalid_request_names_its_field(
    fields: Json, pointer: str, code: str, text: str
) -> None:
    request = {
        "case": SIZING, "vary": "/target_dscr", "between": (1.0, 2.5), "output": "/debt",
        "value": 30.0, **fields,
    }  # fmt: skip
    goal = GoalCase(
        case=parse_object(json.dumps(request.pop("case")).encode()),
        target=GoalTarget(output=request.pop("output"), value=request.pop("value")),
        **request,
    )
    with pytest.raises(InvalidInput) as caught:
        list(seek_goal("debt-sizing", goal, deadline=Deadline()))
    (error,) = caught.value.errors
    assert (error.pointer, error.code) == (pointer, code)
    assert text in error.detail


def test_an_expired_deadline_stops_the_search() -> None:
    deadline = Deadline()
    goal = GoalCase(
        case=parse_object(json.dumps(SIZING).encode()),
        vary="/target_dscr",
        between=(1.0, 2.0),
        target=GoalTarget(output="/debt", value=30.0),
    )
    steps = seek_goal("debt-sizing", goal, deadline=deadline)
    next(steps)
    deadline.expire()
    with pytest.raises(DeadlineExceeded):
        list(steps)


STEP = 1 if is_thorough() else 3
"""Of each request every third number is searched; of three like requests, another third each."""


def list_numbers(value: Any, path: str = "") -> Iterator[tuple[str, float]]:
    """Yield the pointer of each number, of a series the first and the last."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from list_numbers(item, f"{path}/{key}")
    elif isinstance(value, list):
        for index in sorted({0, len(value) - 1}) if value else ():
            yield from list_numbers(value[index], f"{path}/{index}")
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, float(value)


def find_changed_output(
    name: str, first: msgspec.Struct, second: msgspec.Struct
) -> tuple[ResultOutput, float] | None:
    """Return an output that differs between two results, with its value in the second."""
    struct = CALCULATORS[name].result
    for pointer in list_number_pointers(describe_struct(struct)):
        output = resolve_output(struct, pointer, "/target/output")
        try:
            before, after = output.read(first), output.read(second)
        except InvalidInput:
            continue
        if before is not None and after is not None and not math.isclose(before, after):
            return output, after
    return None


@pytest.mark.slow
@pytest.mark.parametrize("number", range(len(REQUESTS)))
def test_every_number_of_every_request_is_found_again(number: int) -> None:
    """A result at a changed input is the target; the search must return to that input."""
    name, request = REQUESTS[number]
    tokens = parse_object(json.dumps(request).encode())
    for option in ("name", "explain"):
        tokens.pop(option, None)
    evaluator = CaseEvaluator(name, Deadline(), None)
    before = evaluator.evaluate(tokens)
    assert before.result is not None
    numbers = list(list_numbers({k: request[k] for k in tokens}))
    for pointer, value in numbers[number % STEP :: STEP] or numbers:
        variation = resolve_variation(CALCULATORS[name].case, tokens, pointer, "value", "/vary")
        if variation.is_integer:
            continue
        reach = abs(value) * 0.02 or 0.02
        after = evaluator.evaluate(variation.apply(tokens, value + reach / 3.0))
        if after.result is None:
            continue
        changed = find_changed_output(name, before.result, after.result)
        if changed is None:
            continue
        output, target = changed
        goal = GoalCase(
            case=tokens,
            vary=pointer,
            between=(value - reach / 7.0, value + reach),
            target=GoalTarget(output=output.text, value=target),
            intervals=4,
        )
        try:
            result = run_goal(name, goal)
        except InvalidInput:  # the bracket leaves the limits of the field
            continue
        assert result.solutions, (pointer, output.text)
        assert min(
            0.0 if s.number <= value + reach / 3.0 <= (s.until or s.number) else
            abs(s.number - value - reach / 3.0) / max(abs(value), reach)
            for s in result.solutions
        ) < 1e-6, (pointer, output.text, result)  # fmt: skip
        assert any(abs(s.difference) <= result.tolerance for s in result.solutions)


def run_goal(name: str, goal: GoalCase) -> GoalSeekResult:
    steps = seek_goal(name, goal, deadline=Deadline())
    while True:
        try:
            next(steps)
        except StopIteration as end:
            result: GoalSeekResult = end.value
            return result
