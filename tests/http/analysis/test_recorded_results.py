"""Results of the calculators are those on record: figures, names, codes and conventions.

Oracles judge the figures elsewhere; here no member of a result changes unnoticed. Lists of rows are
recorded by their first and last row, figures with ten digits, sentences not at all.
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


def build_record(name: str, request: Json) -> Json:
    """Return a request with the record of its result."""
    result: Json = shorten(explain(name, request))
    return {"calculator": name, "request": request, "result": result}


def read_records() -> list[Json]:
    return [json.loads(line) for line in RECORD.read_text().splitlines()]


@pytest.mark.parametrize("number", range(len(read_records())))
def test_each_result_has_what_is_on_record(number: int) -> None:
    record = read_records()[number]
    result = build_record(record["calculator"], record["request"])["result"]
    assert_contains(result, record["result"])


def assert_contains(actual: Any, recorded: Any, pointer: str = "") -> None:
    """Assert that a result has each recorded value; further members are compatible."""
    if isinstance(recorded, dict):
        for name, value in recorded.items():
            assert name in actual, pointer
            assert_contains(actual[name], value, f"{pointer}/{name}")
    elif isinstance(recorded, list):
        assert len(actual) == len(recorded), pointer
        for index, value in enumerate(recorded):
            assert_contains(actual[index], value, f"{pointer}/{index}")
    else:
        # Another order of additions shows in the last digits.
        is_number = isinstance(recorded, float)
        expected = pytest.approx(recorded, rel=1e-8, abs=1e-9) if is_number else recorded
        assert actual == expected, pointer


if __name__ == "__main__":
    records = (build_record(name, request) for name, request in [*REQUESTS, *MORE])
    lines = (json.dumps(record, separators=(",", ":")) for record in records)
    RECORD.write_text("".join(f"{line}\n" for line in lines))
    sys.stdout.write("Review the difference: clients of the calculators see it.\n")
