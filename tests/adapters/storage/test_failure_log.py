"""A failure is logged once, however many requests it fails."""

from collections.abc import Iterator
from typing import Any

import pytest
from tests.log_lines import captured_lines

from spawn.adapters.duckdb import failure_log
from spawn.adapters.duckdb.failure_log import FailureLog
from spawn.domain.errors import Unavailable


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    with captured_lines() as lines:
        yield lines


def record(log: FailureLog, operation: str = "read", cause: str = "gone") -> str:
    error = log.record_failure(operation, OSError(cause), Unavailable("Retry later."))
    assert error.error_id is not None
    return error.error_id


def test_the_same_failure_shares_one_line_and_its_id(lines: list[dict[str, Any]]) -> None:
    log = FailureLog()
    assert len({record(log) for _ in range(100)}) == 1
    assert len(lines) == 1
    assert (lines[0]["operation"], lines[0]["cause"]) == ("read", "OSError: gone")


def test_another_operation_or_cause_has_a_line_of_its_own(lines: list[dict[str, Any]]) -> None:
    log = FailureLog()
    ids = {record(log), record(log, "commit"), record(log, cause="full"), record(FailureLog())}
    assert {line["error_id"] for line in lines} == ids
    assert len(ids) == 4


def test_the_same_failure_later_has_a_line_of_its_own(
    lines: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    log = FailureLog()
    monkeypatch.setattr(failure_log, "REPEAT_S", 0.0)
    assert record(log) != record(log)
    assert len(lines) == 2


def test_the_log_of_causes_is_bounded(lines: list[dict[str, Any]]) -> None:
    log = FailureLog()
    for number in range(1_000):
        record(log, cause=str(number))
    assert len(log._logged) <= 64
    assert len(lines) == 1_000


def test_a_long_cause_is_cut_to_its_first_line(lines: list[dict[str, Any]]) -> None:
    record(FailureLog(), cause="x" * 10_000 + "\nLINE 1: insert into journal")
    assert len(lines[0]["cause"]) == 500
