"""Metrics of the portfolio, the writer and the clock."""

import asyncio

import pytest
from tests.http.conftest import WIND, Start

from spawn.adapters.local.clock import SystemClock
from spawn.adapters.memory.store import MemoryStore
from spawn.domain.query import Query
from spawn.entrypoints.http.metrics import project_metrics

PROJECTS = "/v1/ops/projects"


@pytest.fixture(autouse=True)
def count_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let every scrape count."""
    monkeypatch.setattr(project_metrics, "PAUSE_FACTOR", 0)


def test_projects_are_counted_by_status_and_follow_transitions(start: Start) -> None:
    with start().client() as client:
        created = client.post(PROJECTS, json=WIND)
        client.post(PROJECTS, json={**WIND, "project_name": "Two"})
        before = client.get("/monitoring/metrics").text
        moved = client.post(
            f"{created.headers['location']}/transitions",
            json={"to": "MANDATED", "reason": "The mandate was signed."},
            headers={"if-match": created.headers["etag"]},
        )
        assert moved.status_code == 200, moved.text
        after = client.get("/monitoring/metrics").text
    assert 'spawn_projects{status="PROPOSED"} 2.0' in before
    assert 'spawn_projects{status="MANDATED"} 0.0' in before
    assert 'spawn_projects{status="PROPOSED"} 1.0' in after
    assert 'spawn_projects{status="MANDATED"} 1.0' in after


def test_a_store_that_does_not_count_leaves_the_last_counts(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def hang(_store: MemoryStore, _query: Query) -> int:
        await asyncio.Event().wait()
        raise AssertionError

    with start().client() as client:
        client.post(PROJECTS, json=WIND)
        assert 'spawn_projects{status="PROPOSED"} 1.0' in client.get("/monitoring/metrics").text
        monkeypatch.setattr(project_metrics, "COUNT_TIMEOUT_S", 0.01)
        monkeypatch.setattr(MemoryStore, "count", hang)
        client.post(PROJECTS, json={**WIND, "project_name": "Two"})
        scraped = client.get("/monitoring/metrics")
        assert scraped.status_code == 200
        assert 'spawn_projects{status="PROPOSED"} 1.0' in scraped.text


def test_counts_that_took_long_are_not_repeated_for_a_while(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(project_metrics, "PAUSE_FACTOR", 1_000_000)
    with start().client() as client:
        client.post(PROJECTS, json=WIND)
        assert 'spawn_projects{status="PROPOSED"} 1.0' in client.get("/monitoring/metrics").text
        client.post(PROJECTS, json={**WIND, "project_name": "Two"})
        assert 'spawn_projects{status="PROPOSED"} 1.0' in client.get("/monitoring/metrics").text


def test_the_stall_of_the_writer_and_the_course_of_the_clock_are_measured(
    start: Start, monkeypatch: pytest.MonkeyPatch
) -> None:
    with start().client() as client:
        assert "spawn_storage_stall_seconds 0.0" in client.get("/monitoring/metrics").text
        monkeypatch.setattr(MemoryStore, "stalled_s", lambda _: 42.5)
        monkeypatch.setattr(SystemClock, "jump_s", lambda _: -301.0)
        text = client.get("/monitoring/metrics").text
    assert "spawn_storage_stall_seconds 42.5" in text
    assert "spawn_clock_jump_seconds -301.0" in text
    assert "spawn_clock_recorded_ahead_seconds 0.0" in text
