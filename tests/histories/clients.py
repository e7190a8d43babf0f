"""Clients of a round: they write, read and repeat over HTTP, and note what they learn."""

import asyncio
import json
import random
import time
from dataclasses import dataclass, field
from math import inf
from typing import Any

import httpx
from tests.histories.operations import (
    Acknowledgement,
    Action,
    Event,
    History,
    Operation,
    Outcome,
    Version,
)

CLIENTS = 16
PROJECTS = "/v1/ops/projects"
_HOT_PROJECTS = 6
_TIMEOUT_S = 1.0
"""Less than the service is stopped for, so that a retry meets its first attempt."""
_PAUSE_S = 0.15
_REPEATED_COMMANDS = 40


@dataclass
class KeyedCommand:
    """A command that was acknowledged, to be repeated."""

    operation: Operation
    method: str
    path: str
    body: dict[str, Any]
    headers: dict[str, str]


@dataclass
class Round:
    """What the clients of a round share."""

    name: str
    http: httpx.AsyncClient
    history: History = field(default_factory=History)
    seen: dict[str, tuple[str, Version]] = field(default_factory=dict)
    """Entity tag and version that some client saw last, by project."""
    project_ids: list[str] = field(default_factory=list)
    commands: list[KeyedCommand] = field(default_factory=list)
    has_ended: bool = False
    surprises: list[str] = field(default_factory=list)
    """Responses that no rule of the clients foresees."""
    responses: int = 0
    _moved: asyncio.Event = field(default_factory=asyncio.Event)

    def note_response(self) -> None:
        self.responses += 1
        self._moved.set()

    async def wait_for_responses(self, count: int, timeout_s: float = 600) -> None:
        """Wait until the clients have so many more responses."""
        target = self.responses + count
        async with asyncio.timeout(timeout_s):
            while self.responses < target:
                self._moved.clear()
                await self._moved.wait()


class Client:
    """One client, with its own order of operations."""

    def __init__(self, round_: Round, number: int, seed: str) -> None:
        self._round = round_
        self._number = number
        self._random = random.Random(f"{seed}/{number}")
        self._count = 0

    async def run(self) -> None:
        """Work until the round ends."""
        actions = [self._create, self._amend, self._transition, self._read, self._list]
        weights = [2, 7, 3, 6, 2]
        actions += [self._read_history, self._repeat]
        weights += [1, 2]
        while not self._round.has_ended:
            if self._round.seen:
                await self._random.choices(actions, weights)[0]()
            else:
                await self._create()

    # -- commands -------------------------------------------------------------------------------

    async def _create(self) -> None:
        operation = self._begin(Action.CREATE, token=self._next_token())
        body = {"project_name": operation.token, "total_amount": "1.25"}
        await self._command(operation, "POST", PROJECTS, body, {})

    async def _amend(self) -> None:
        project_id, headers, expected = self._choose_target()
        operation = self._begin(
            Action.AMEND, project_id=project_id, token=self._next_token(), expected=expected
        )
        body = {"project_name": operation.token}
        await self._command(operation, "PATCH", f"{PROJECTS}/{project_id}", body, headers)

    async def _transition(self) -> None:
        project_id, headers, expected = self._choose_target()
        choices = ["MANDATED"] * 3 + ["FINANCIAL_CLOSE", "CANCELLED", "PROPOSED"]
        operation = self._begin(
            Action.TRANSITION,
            project_id=project_id,
            token=self._next_token(),
            target=self._random.choice(choices),
            expected=expected,
        )
        body = {"to": operation.target, "reason": operation.token}
        path = f"{PROJECTS}/{project_id}/transitions"
        await self._command(operation, "POST", path, body, headers)

    async def _repeat(self) -> None:
        """Repeat a command that was acknowledged: the response must be the same."""
        if not self._round.commands:
            return
        command = self._random.choice(self._round.commands)
        response = await self._send(
            command.method, command.path, json=command.body, headers=command.headers
        )
        if response is not None and response.status_code < 500:
            command.operation.acknowledgements.append(_acknowledge(response))

    async def _command(
        self,
        operation: Operation,
        method: str,
        path: str,
        body: dict[str, Any],
        headers: dict[str, str],
    ) -> None:
        """Send a command; with a key, mostly again until it has a response."""
        if is_keyed := self._random.random() < 0.7:
            headers = {**headers, "Idempotency-Key": operation.token}
        does_retry = is_keyed and self._random.random() < 0.9
        while True:
            response = await self._send(method, path, json=body, headers=headers)
            if response is not None and response.status_code < 500:
                break
            if self._round.has_ended or not does_retry:
                return
            await asyncio.sleep(_PAUSE_S)
        self._conclude(operation, response)
        if is_keyed and operation.outcome is Outcome.DONE:
            operation.acknowledgements.append(_acknowledge(response))
            self._round.commands.append(KeyedCommand(operation, method, path, body, headers))
            del self._round.commands[:-_REPEATED_COMMANDS]

    def _conclude(self, operation: Operation, response: httpx.Response) -> None:
        operation.responded_s = time.monotonic()
        if response.is_success:
            operation.outcome = Outcome.DONE
            document = response.json()
            operation.project_id = document["project_id"]
            operation.observed = Version.of_document(document["version"], document)
            if operation.action is Action.CREATE:
                self._round.project_ids.append(operation.project_id)
            self._note_seen(operation, response)
            return
        operation.outcome = Outcome.REJECTED
        operation.code = response.json()["code"]
        expected = {"stale_version", "illegal_transition", "conflict"}
        if operation.code not in expected:
            self._round.surprises.append(f"{operation} got {response.text}")

    def _note_seen(self, operation: Operation, response: httpx.Response) -> None:
        if operation.observed is None:
            return
        _, seen = self._round.seen.get(operation.project_id, ("", None))
        if seen is None or operation.observed.number >= seen.number:
            seen_now = (response.headers["etag"], operation.observed)
            self._round.seen[operation.project_id] = seen_now

    # -- reads ----------------------------------------------------------------------------------

    async def _read(self) -> None:
        project_id = self._choose_project()
        etag, seen = self._round.seen[project_id]
        operation = self._begin(Action.READ, project_id=project_id)
        headers = {"If-None-Match": etag} if self._random.random() < 0.3 else {}
        response = await self._send("GET", f"{PROJECTS}/{project_id}", headers=headers)
        if response is None or response.status_code >= 500:
            return
        if response.status_code == 304:
            operation.outcome, operation.observed = Outcome.DONE, seen
            operation.responded_s = time.monotonic()
        else:
            self._conclude(operation, response)

    async def _list(self) -> None:
        chosen_ids = {self._choose_project() for _ in range(4)}
        operations = {name: self._begin(Action.READ, project_id=name) for name in chosen_ids}
        parameters = {"project_id[in]": ",".join(sorted(chosen_ids))}
        response = await self._send("GET", PROJECTS, params=parameters)
        if response is None or not response.is_success:
            return
        items = {item["project_id"]: item for item in response.json()["items"]}
        for project_id, operation in operations.items():
            operation.responded_s = time.monotonic()
            if project_id in items:
                item = items[project_id]
                operation.outcome = Outcome.DONE
                operation.observed = Version.of_document(item["version"], item)
            else:
                operation.outcome, operation.code = Outcome.REJECTED, "not_found"

    async def _read_history(self) -> None:
        project_id = self._choose_project()
        operation = self._begin(Action.READ, project_id=project_id)
        versions = await read_chain(self._round.http, project_id, self._send)
        if versions is None:
            return
        operation.responded_s = time.monotonic()
        operation.outcome, operation.observed = Outcome.DONE, versions[-1]
        # Every earlier version was there as well; a read of it may stand anywhere before.
        self._round.history.operations += [
            Operation(
                action=Action.READ,
                client=self._number,
                invoked_s=-inf,
                responded_s=inf,
                project_id=project_id,
                outcome=Outcome.DONE,
                observed=version,
            )
            for version in versions[:-1]
        ]

    # -- shared ---------------------------------------------------------------------------------

    def _next_token(self) -> str:
        self._count += 1
        return f"{self._round.name}-{self._number}-{self._count}"

    def _begin(self, action: Action, **fields: Any) -> Operation:
        operation = Operation(
            action=action, client=self._number, invoked_s=time.monotonic(), **fields
        )
        self._round.history.operations.append(operation)
        return operation

    def _choose_project(self) -> str:
        return self._random.choice(list(self._round.seen)[-_HOT_PROJECTS:])

    def _choose_target(self) -> tuple[str, dict[str, str], int | None]:
        """Return a project and the precondition of a command: a version, or any."""
        project_id = self._choose_project()
        if self._random.random() < 0.25:
            return project_id, {"If-Match": "*"}, None
        etag, version = self._round.seen[project_id]
        return project_id, {"If-Match": etag}, version.number

    async def _send(self, method: str, path: str, **request: Any) -> httpx.Response | None:
        """Return the response; None if there was none."""
        try:
            response = await self._round.http.request(method, path, timeout=_TIMEOUT_S, **request)
        except httpx.TransportError:
            await asyncio.sleep(_PAUSE_S)
            return None
        self._round.note_response()
        return response


def _acknowledge(response: httpx.Response) -> Acknowledgement:
    return Acknowledgement(
        response.status_code,
        response.content,
        response.headers.get("etag"),
        response.headers.get("location"),
    )


# -- the account of the service -----------------------------------------------------------------


async def read_chain(
    http: httpx.AsyncClient, project_id: str, send: Any = None
) -> list[Version] | None:
    """Return every version of a project; None if the service did not respond."""
    versions: list[Version] = []
    parameters: dict[str, Any] = {"limit": 500}
    while True:
        path = f"{PROJECTS}/{project_id}/history"
        response = await (send or http.request)("GET", path, params=parameters)
        if response is None or not response.is_success:
            return None
        page = response.json()
        versions += [Version.of_document(i["version"], i["document"]) for i in page["items"]]
        if page["next"] is None:
            return versions
        parameters["after"] = page["next"]


def read_event(event: dict[str, Any]) -> Event | None:
    """Return an event about a project; None for any other."""
    noun, _, project_id = event["subject"].partition("/")
    if noun != "projects":
        return None
    version = Version.of_document(int(event["sequence"]), event["data"]["after"])
    return Event(event["id"], project_id, event["type"], version)


class FeedReader:
    """Reader of the feed from a position on."""

    def __init__(self, http: httpx.AsyncClient, after: str | None) -> None:
        self.after = after
        self._http = http

    async def read_next(self) -> list[Event] | None:
        """Return the next events about projects; None if there are none."""
        parameters = {"limit": "500"} | ({"after": self.after} if self.after else {})
        response = await self._http.get("/v1/events", params=parameters)
        page = json.loads(response.raise_for_status().content)
        if not page["events"]:
            return None
        self.after = page["next"]
        return [e for event in page["events"] if (e := read_event(event)) is not None]

    async def read_all(self) -> list[Event]:
        """Return the events up to the end of the feed."""
        events: list[Event] = []
        while (more := await self.read_next()) is not None:
            events += more
        return events


async def follow(round_: Round, after: str | None) -> None:
    """Read the feed while the round goes on, as a consumer that survives interruptions."""
    reader = FeedReader(round_.http, after)
    while not round_.has_ended:
        try:
            events = await reader.read_next()
        except httpx.HTTPError:
            await asyncio.sleep(_PAUSE_S)
            continue
        round_.history.followed += events or []
        if events is None:
            await asyncio.sleep(_PAUSE_S)


async def run_clients(round_: Round, seed: str, after: str | None) -> list[asyncio.Task[None]]:
    """Start the clients and the follower of a round."""
    clients = [Client(round_, number, seed) for number in range(CLIENTS)]
    tasks = [asyncio.create_task(client.run()) for client in clients]
    return [*tasks, asyncio.create_task(follow(round_, after))]


async def read_account(round_: Round, after: str | None) -> str | None:
    """Read what the service says once it is quiet; return the position of the feed's end."""
    history = round_.history
    reader = FeedReader(round_.http, after)
    history.feed = await reader.read_all()
    for project_id in round_.project_ids:
        chain = await read_chain(round_.http, project_id)
        if chain is None:
            round_.surprises.append(f"the history of {project_id} is gone")
        else:
            history.chains[project_id] = chain
    return reader.after
