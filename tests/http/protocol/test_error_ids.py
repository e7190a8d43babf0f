"""The cause of a 5xx response is logged once, and the problem names the line."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import duckdb
import httpx
import pytest
from tests.adapters.storage.failing_engine import FailingEngine
from tests.http.conftest import WIND, Start
from tests.log_lines import captured_lines

from spawn.application.traffic import token_buckets
from spawn.domain.errors import Overloaded, RegistryError
from spawn.entrypoints.http.middleware import edge

PROJECTS = "/v1/ops/projects"
STATEMENT = "select secret from journal where name = 'Secret Wind'"


@pytest.fixture
def lines() -> Iterator[list[dict[str, Any]]]:
    with captured_lines() as lines:
        yield lines


@pytest.fixture
def engine(monkeypatch: pytest.MonkeyPatch) -> FailingEngine:
    engine = FailingEngine()
    engine.install(monkeypatch)
    return engine


@pytest.fixture
def stored(start: Start, engine: FailingEngine, tmp_path: Path) -> Iterator[httpx.Client]:
    """Return a client of a service on a file, whose engine fails on demand."""
    del engine  # installed before the service starts
    with start(storage_url=f"duckdb:///{tmp_path}/s.duckdb").client() as client:
        yield client


def raising(error: Exception) -> Any:
    def fail(*_args: object, **_options: object) -> None:
        raise error

    return fail


def with_id(lines: list[dict[str, Any]], error_id: str) -> list[dict[str, Any]]:
    return [line for line in lines if line.get("error_id") == error_id]


def test_unexpected_error_is_logged_once_under_the_id_of_its_problem(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(
        "spawn.entrypoints.http.projects.list_route.read_list_parameters",
        raising(RuntimeError(STATEMENT)),
    )
    response = client.get(f"{PROJECTS}?limit=76")
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal")
    assert STATEMENT not in response.text
    (line,) = with_id(lines, problem["error_id"])
    assert line["exception"].endswith(f"RuntimeError: {STATEMENT}\n")
    assert (line["method"], line["path"]) == ("GET", PROJECTS)
    assert line["request_id"] == response.headers["x-request-id"]
    assert line["trace_id"] == problem["trace_id"]


def test_engine_error_of_a_command_is_logged_with_operation_cause_and_id(
    stored: httpx.Client, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    engine.failures["append_now"] = duckdb.ConversionException(
        f"Conversion Error\nLINE 1: {STATEMENT}"
    )
    response = stored.post(PROJECTS, json=WIND)
    problem = response.json()
    assert (response.status_code, problem["code"]) == (500, "internal")
    assert "Conversion" not in response.text
    assert "select" not in response.text
    cause, request = with_id(lines, problem["error_id"])
    assert cause["operation"] == "commit a group of changes"
    assert cause["cause"] == "ConversionException: Conversion Error"
    assert "exception" in cause
    assert "exception" not in request
    assert request["request_id"] == response.headers["x-request-id"]
    engine.failures.clear()
    assert stored.post(PROJECTS, json=WIND).status_code == 201


def test_engine_error_of_a_read_is_logged_with_operation_cause_and_id(
    stored: httpx.Client, engine: FailingEngine, lines: list[dict[str, Any]]
) -> None:
    stored.post(PROJECTS, json=WIND)
    engine.failures["from journal"] = duckdb.InternalException(f"INTERNAL Error: {STATEMENT}")
    response = stored.get(f"{PROJECTS}?limit=7")
    assert response.status_code == 503
    assert "secret" not in response.text
    cause, request = with_id(lines, response.json()["error_id"])
    assert (cause["operation"], cause["level"]) == ("read", "ERROR")
    assert cause["cause"] == f"InternalException: INTERNAL Error: {STATEMENT}"
    assert request["path"] == PROJECTS


def test_error_with_a_cause_outside_the_store_is_logged_with_it(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    error = RegistryError("The ontology server sent an invalid response.")
    error.__cause__ = ValueError("unexpected token 'secret'")
    monkeypatch.setattr(
        "spawn.entrypoints.http.projects.list_route.read_list_parameters", raising(error)
    )
    response = client.get(f"{PROJECTS}?limit=75")
    assert (response.status_code, response.json()["code"]) == (502, "registry_error")
    assert "secret" not in response.text
    (line,) = with_id(lines, response.json()["error_id"])
    assert line["cause"] == "ValueError: unexpected token 'secret'"


def test_rejection_without_a_cause_has_no_id(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(
        "spawn.entrypoints.http.projects.list_route.read_list_parameters",
        raising(Overloaded("The queue is full.")),
    )
    response = client.get(f"{PROJECTS}?limit=74")
    assert response.status_code == 503
    assert "error_id" not in response.json()
    assert [line["code"] for line in lines] == ["overloaded"]
    assert "error_id" not in client.get("/v1/nowhere").json()


def test_rejections_that_say_the_same_are_logged_twice_and_then_once_a_second(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(edge, "REJECTED_PAUSE_S", 0.0)
    now_s = 1_000.0
    monkeypatch.setattr(token_buckets, "monotonic", lambda: now_s)
    errors = [Overloaded("The hall is full.")] * 5 + [Overloaded("The stage is full.")]

    def fail(*_args: object, **_options: object) -> None:
        raise errors.pop()

    monkeypatch.setattr("spawn.entrypoints.http.projects.list_route.read_list_parameters", fail)
    for _ in range(5):
        assert client.get(f"{PROJECTS}?limit=73").status_code == 503
    now_s += 1.0
    assert client.get(f"{PROJECTS}?limit=73").status_code == 503
    details = [line["message"].rpartition(": ")[2] for line in lines]
    assert details == ["The stage is full.", *["The hall is full."] * 3]


def test_failure_after_the_head_breaks_the_response_and_is_logged_once(
    client: httpx.Client, monkeypatch: pytest.MonkeyPatch, lines: list[dict[str, Any]]
) -> None:
    async def fail_after_a_chunk(_lines: object) -> AsyncIterator[dict[str, Any]]:
        yield {"type": "http.response.body", "body": b"{}", "more_body": True}
        raise RuntimeError(STATEMENT)

    monkeypatch.setattr(
        "spawn.entrypoints.http.datasets.streamed_file.body_messages", fail_after_a_chunk
    )
    with pytest.raises(httpx.TransportError):
        client.get("/v1/data/projects", headers={"accept-encoding": "identity"})
    errors = [line for line in lines if STATEMENT in line.get("exception", "")]
    assert [line["message"] for line in errors] == ["a request failed unexpectedly"]
    assert errors[0]["error_id"]
