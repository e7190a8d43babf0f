"""Rounds of a run: sixteen clients work while the service is killed, stopped and migrated."""

import asyncio
import json
import random
import time
from pathlib import Path
from typing import NamedTuple

import httpx
from tests.histories.checker import check_history, list_lost_versions, list_unknown
from tests.histories.clients import FeedReader, Round, read_account, run_clients
from tests.histories.operations import Action, Event, Operation, Outcome
from tests.histories.processes import FaultyService, OntologyServer

FAULTS = ("kill", "kill in recovery", "term", "stop")
_IMPORT_TIMEOUT_S = 600


class RoundSize(NamedTuple):
    """Extent of a round."""

    faults: int = 2
    import_rows: int = 600
    responses: tuple[int, int] = (60, 500)
    """Responses between two faults, from and to."""


class RoundReport(NamedTuple):
    """Figures of a round, and its violations."""

    number: int
    faults: tuple[str, ...]
    operations: int
    unknown: int
    versions: int
    duration_s: float
    violations: list[str]


class Run:
    """Rounds on one file, which later ones find as the earlier ones left it."""

    def __init__(
        self, folder: Path, seed: int, size: RoundSize, *, is_encrypted: bool = False
    ) -> None:
        self._seed = seed
        self._size = size
        self._ontology = OntologyServer(folder)
        self._service = FaultyService(folder, self._ontology.url, is_encrypted=is_encrypted)
        self._after: str | None = None
        self._events: list[Event] = []
        self._first_faults = 0

    async def start(self) -> None:
        await self._ontology.publish_next()
        await self._service.start()

    async def close(self) -> None:
        await self._service.close()
        self._ontology.close()

    async def run_round(self, number: int, faults: tuple[str, ...] = ()) -> RoundReport:
        """Run and check one round, with these faults or drawn ones."""
        started_s = time.monotonic()
        randomness = random.Random(f"{self._seed}/{number}")
        faults = faults or tuple(self._draw_faults(randomness))
        round_ = Round(f"r{number}", self._service.http)
        tasks = await run_clients(round_, f"{self._seed}/{number}", self._after)
        background = [
            asyncio.create_task(self._import(round_, randomness)),
            asyncio.create_task(self._migrate(round_, randomness)),
        ]
        try:
            for fault in faults:
                await round_.wait_for_responses(randomness.randint(*self._size.responses))
                await self._service.inject(fault, randomness)
            await round_.wait_for_responses(self._size.responses[0])
            await asyncio.gather(*background)
        finally:
            round_.has_ended = True
            await asyncio.gather(*tasks)
        await self._finish_requests(round_, randomness)
        return await self._check(round_, number, faults, started_s)

    async def _finish_requests(self, round_: Round, randomness: random.Random) -> None:
        """End the process if it may still carry out a write whose client has given up."""
        last_s = max((o.invoked_s for o in list_unknown(round_.history)), default=0.0)
        if last_s > self._service.launched_s:
            await self._service.inject("term", randomness)

    def _draw_faults(self, randomness: random.Random) -> list[str]:
        """Draw the faults of a round; the first ones take turns, so that each kind occurs."""
        first = FAULTS[self._first_faults % len(FAULTS)]
        self._first_faults += 1
        return [first, *(randomness.choice(FAULTS) for _ in range(self._size.faults - 1))]

    async def _check(
        self, round_: Round, number: int, faults: tuple[str, ...], started_s: float
    ) -> RoundReport:
        self._after = await read_account(round_, self._after)
        self._events += round_.history.feed
        violations = [*check_history(round_.history), *round_.surprises, *self._service.surprises]
        self._service.surprises.clear()
        return RoundReport(
            number,
            faults,
            len(round_.history.operations),
            len(list_unknown(round_.history)),
            len(round_.history.feed),
            time.monotonic() - started_s,
            violations,
        )

    async def check_all_rounds(self) -> list[str]:
        """Restart the service, and return what it has lost of the rounds since they ended."""
        await self._service.inject("kill", random.Random(self._seed))
        events = await FeedReader(self._service.http, None).read_all()
        lost_versions = list_lost_versions(self._events, events)
        if events != self._events and not lost_versions:
            return ["the whole feed differs from the feeds of the rounds"]
        return lost_versions

    # -- meanwhile ------------------------------------------------------------------------------

    async def _import(self, round_: Round, randomness: random.Random) -> None:
        """Import rows; each is a write that is acknowledged once the import is done."""
        await round_.wait_for_responses(randomness.randint(1, self._size.responses[0]))
        tokens = [f"{round_.name}-import-{n}" for n in range(self._size.import_rows)]
        rows = [
            {
                "project_name": token,
                "total_amount": "2",
                "external_ref": {"source": "histories", "id": token},
            }
            for token in tokens
        ]
        operations = [
            Operation(action=Action.IMPORT_ROW, client=-1, invoked_s=time.monotonic(), token=token)
            for token in tokens
        ]
        round_.history.operations += operations
        content = "\n".join(json.dumps(row) for row in rows).encode() + b"\n"
        headers = {"Content-Type": "application/x-ndjson", "Idempotency-Key": round_.name}
        job = await _until_response(
            round_.http, "POST", "/v1/ops/imports", content=content, headers=headers
        )
        path = f"/v1/jobs/{job['job_id']}"
        async with asyncio.timeout(_IMPORT_TIMEOUT_S):
            while job["status"] in {"queued", "running"}:
                await asyncio.sleep(0.05)
                job = await _until_response(round_.http, "GET", path)
        if job["status"] != "succeeded":
            round_.surprises.append(f"the import ended as {job}")
        for operation in operations:
            operation.responded_s, operation.outcome = time.monotonic(), Outcome.DONE

    async def _migrate(self, round_: Round, randomness: random.Random) -> None:
        """Publish the next schema version and wait until it is active."""
        await round_.wait_for_responses(randomness.randint(1, 2 * self._size.responses[0]))
        await self._ontology.publish_next()
        path = "/v1/governance/schemas/project_schema"
        version = 0
        async with asyncio.timeout(_IMPORT_TIMEOUT_S):
            while version < self._ontology.version:
                await _until_response(round_.http, "POST", f"{path}/refresh")
                version = int(str((await _until_response(round_.http, "GET", path))["version"]))


async def _until_response(
    http: httpx.AsyncClient, method: str, path: str, **request: object
) -> dict[str, object]:
    """Send a request until it succeeds, whatever happens to the service."""
    async with asyncio.timeout(_IMPORT_TIMEOUT_S):
        while True:
            try:
                response = await http.request(method, path, **request)  # type: ignore[arg-type]
                if response.is_success:
                    return dict(response.json())
                if response.status_code < 500 and response.status_code != 409:
                    raise AssertionError(f"{method} {path}: {response.text}")
            except httpx.TransportError:
                pass
            await asyncio.sleep(0.05)
