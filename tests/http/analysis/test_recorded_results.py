"""Results of the calculators are those on record: figures, names, codes and conventions.

Oracles judge the figures elsewhere; here nothing changes unnoticed, in no member of a result. Lists
of rows are recorded by their first and last row, figures with ten digits, sentences not at all.
`python -m tests.http.analysis.test_recorded_results` writes the record anew.
"""

import json
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from tests.http.analysis.calculator_requests import REQUESTS, Json
from tests.http.analysis.test_explanations import MORE, explain

RECORD: Final = Path(__file__).with_name("recorded_results.jsonl")
CASES: Final[list[tuple[str, Json]]] = [*REQUESTS, *MORE]


def shorten(node: Any) -> Any:
    """Round figures, and leave out texts for people and what is between two rows."""
    if isinstance(node, dict):
        return {name: shorten(value) for name, value in node.items()}
    if isinstance(node, list):
        has_rows = len(node) > 2 and isinstance(node[0], dict | list)
        return [shorten(item) for item in (node[:1] + node[-1:] if has_rows else node)]
    if isinstance(node, str):
        return "(text)" if " " in node else node
    return float(f"{node:.10g}") if isinstance(node, float) else node


def record(number: int) -> Json:
    """Return the record of the result of a case."""
    name, request = CASES[number]
    shortened: Json = shorten(explain(name, request))
    return {"calculator": name, "result": shortened}


@pytest.mark.parametrize("number", range(len(CASES)))
def test_each_result_is_the_recorded_one(number: int) -> None:
    recorded = [json.loads(line) for line in RECORD.read_text().splitlines()]
    assert len(recorded) == len(CASES)
    assert record(number) == approximate(recorded[number])


def approximate(node: Any) -> Any:
    """Allow for another order of additions, in the ninth digit."""
    if isinstance(node, dict):
        return {name: approximate(value) for name, value in node.items()}
    if isinstance(node, list):
        return [approximate(item) for item in node]
    return pytest.approx(node, rel=1e-8, abs=1e-9) if isinstance(node, float) else node


if __name__ == "__main__":
    lines = (json.dumps(record(number), separators=(",", ":")) for number in range(len(CASES)))
    RECORD.write_text("".join(f"{line}\n" for line in lines))
    sys.stdout.write("Review the difference: clients of the calculators see it.\n")
