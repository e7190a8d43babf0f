"""Eight clients that read and write throughout, in the words of version 1, and verify it all."""

import asyncio
import random
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from examples.drill.stage import PATIENCE_S, SCHEMA, Stage

CLIENTS = 8
PROJECTS = "/v1/ops/projects"
_VERSION = re.compile(r"/versions/(\d+)>; rel=\"describedby\"")
_RETRY_S = 0.05
_LISTED = 5


@dataclass
class Fact:
    """What a client knows of a project that it wrote: by its own record, not by any answer.

    `zone` is None if it was written while there was no such column, which ignores it.
    """

    project_id: str
    name: str
    amount: str
    capacity: Decimal
    zone: str | None
    version: int = 1
    tag: str = "*"


@dataclass
class Words:
    """What version 1 says of a project, in the words of another version.

    A name is None where that version does not have the column. `given` are values that every
    project has under it.
    """

    capacity: str = "capacity_mw"
    zone: str | None = "zone"
    given: dict[str, Any] = field(default_factory=dict)


class Desk:
    """The clients, what they did and what they saw go wrong."""

    def __init__(self, stage: Stage) -> None:
        self._stage = stage
        self.words: dict[int, Words] = {}
        self.requests: Counter[str] = Counter()
        self.seen: Counter[int] = Counter()
        self.retried = 0
        self.wrong: list[str] = []
        self._clients = [_Client(self, stage, number) for number in range(CLIENTS)]
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Let the clients begin."""
        self._tasks = [asyncio.create_task(client.work()) for client in self._clients]

    async def close(self) -> None:
        """Let each finish its round, and then look at everything that it ever wrote once more."""
        for client in self._clients:
            client.closing = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(client.audit() for client in self._clients))
        for client in self._clients:
            await client.http.aclose()

    @property
    def projects(self) -> int:
        """How many projects the clients wrote."""
        return sum(len(client.facts) for client in self._clients)

    async def rounds_under(self, version: int) -> bool:
        """Whether every client has had answers of this version."""
        return all(client.seen[version] for client in self._clients)

    def complain(self, number: int, what: str) -> None:
        """Note what went wrong."""
        self.wrong.append(f"client {number}: {what}")


class _Client:
    def __init__(self, desk: Desk, stage: Stage, number: int) -> None:
        self._desk = desk
        self._stage = stage
        self._number = number
        self._random = random.Random(number)
        self.http = httpx.AsyncClient(base_url=stage.url, timeout=30, trust_env=False)
        self.facts: list[Fact] = []
        self.seen: Counter[int] = Counter()
        self.closing = False

    async def work(self) -> None:
        """Create, read, amend and list, round after round."""
        while not self.closing:
            await self._create()
            await self._read(self._random.choice(self.facts))
            await self._amend(self._random.choice(self.facts))
            await self._read_as_before(self._random.choice(self.facts))
            await self._list()

    async def audit(self) -> None:
        """Read every project that was ever acknowledged, and its history."""
        for fact in self.facts:
            await self._read(fact)
            answer = await self._ask("GET", f"{PROJECTS}/{fact.project_id}/history")
            if answer is not None:
                versions = [item["version"] for item in answer.json()["items"]]
                self._expect("history", versions, list(range(1, fact.version + 1)))

    # -- the five things a client does -------------------------------------------------------

    async def _create(self) -> None:
        number = len(self.facts)
        capacity = Decimal(self._random.randint(1, 999_999)).scaleb(-3)
        fact = Fact(
            project_id="",
            name=f"Drill {self._number}-{number}",
            amount=f"{self._random.randint(1, 10**9)}.00",
            capacity=capacity,
            zone=self._random.choice("NESW"),
        )
        body = {
            "project_name": fact.name,
            "total_amount": fact.amount,
            "currency_code": "EUR",
            "capacity_mw": float(capacity),
            "stage": self._random.choice("AB"),
            "zone": fact.zone,
            "units": number,
        }
        answer = await self._ask("POST", PROJECTS, json=body, keyed=True, wanted=201)
        if answer is None:
            return
        fact.project_id, fact.tag = answer.json()["project_id"], answer.headers["etag"]
        words = self._words(answer)
        if words is not None and words.zone is None:
            fact.zone = None
        self.facts.append(fact)
        self._verify(answer, answer.json(), fact)

    async def _read(self, fact: Fact) -> None:
        answer = await self._ask("GET", f"{PROJECTS}/{fact.project_id}")
        if answer is not None:
            fact.tag = answer.headers["etag"]
            self._verify(answer, answer.json(), fact)

    async def _amend(self, fact: Fact) -> None:
        capacity = Decimal(self._random.randint(1, 999_999)).scaleb(-3)
        answer = await self._ask(
            "PATCH",
            f"{PROJECTS}/{fact.project_id}",
            json={"capacity_mw": float(capacity)},
            headers={"If-Match": fact.tag},
            keyed=True,
        )
        if answer is None:
            return
        if capacity != fact.capacity:
            fact.version += 1
        fact.capacity, fact.tag = capacity, answer.headers["etag"]
        self._verify(answer, answer.json(), fact)

    async def _read_as_before(self, fact: Fact) -> None:
        """In the shape of version 1, which has every column that the client ever wrote."""
        path = f"{PROJECTS}/{fact.project_id}"
        answer = await self._ask("GET", path, params={"schema_version": 1})
        if answer is not None:
            self._verify(answer, answer.json(), fact)

    async def _list(self) -> None:
        some = self._random.sample(self.facts, min(_LISTED, len(self.facts)))
        ids = ",".join(fact.project_id for fact in some)
        answer = await self._ask("GET", PROJECTS, params={"project_id[in]": ids})
        if answer is None:
            return
        items = {item["project_id"]: item for item in answer.json()["items"]}
        self._expect("the ids of a list", sorted(items), sorted(f.project_id for f in some))
        for fact in some:
            if fact.project_id in items:
                self._verify(answer, items[fact.project_id], fact)

    # -- asking and verifying ----------------------------------------------------------------

    async def _ask(
        self, method: str, path: str, *, keyed: bool = False, wanted: int = 200, **request: Any
    ) -> httpx.Response | None:
        """The answer, which must be the wanted one; asked again if the service was killed."""
        if keyed:
            headers = {**request.get("headers", {}), "Idempotency-Key": str(uuid.uuid4())}
            request["headers"] = headers
        answer = await self._persist(method, path, request)
        if answer is None:
            return None
        self._desk.requests[method] += 1
        if answer.status_code != wanted:
            told = f"{method} {path} answered {answer.status_code}: {answer.text[:400]}"
            self._desk.complain(self._number, told)
            return None
        return answer

    async def _persist(
        self, method: str, path: str, request: dict[str, Any]
    ) -> httpx.Response | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 2 * PATIENCE_S
        while True:
            try:
                return await self.http.request(method, path, **request)
            except httpx.TransportError as failure:
                # Only a service that was killed may leave a request without an answer.
                if not self._stage.killed or loop.time() > deadline:
                    told = f"{method} {path} had no answer: {type(failure).__name__} {failure}"
                    self._desk.complain(self._number, told)
                    return None
                self._desk.retried += 1
                await asyncio.sleep(_RETRY_S)

    def _verify(self, answer: httpx.Response, shown: dict[str, Any], fact: Fact) -> None:
        """What is shown is what was written, in the words of the version that it is under."""
        words = self._words(answer)
        if words is None:
            return
        self._expect("version", shown["version"], fact.version)
        self._expect("project_name", shown["project_name"], fact.name)
        self._expect("total_amount", shown["total_amount"], fact.amount)
        self._expect("capacity", Decimal(str(shown.get(words.capacity))), fact.capacity)
        if words.zone is None:
            self._expect("zone is gone", "zone" in shown, False)  # noqa: FBT003 - a value like others
        else:
            self._expect("zone", shown.get(words.zone), fact.zone)
        for name, value in words.given.items():
            self._expect(name, shown.get(name), value)

    def _words(self, answer: httpx.Response) -> Words | None:
        """The words of the version that an answer says it is under."""
        link = _VERSION.search(answer.headers["link"])
        if link is None:
            self._desk.complain(self._number, f"no {SCHEMA}/versions in Link")
            return None
        version = int(link[1])
        self.seen[version] += 1
        self._desk.seen[version] += 1
        return self._desk.words[version]

    def _expect(self, what: str, found: object, wanted: object) -> None:
        if found != wanted:
            self._desk.complain(self._number, f"{what} is {found!r} and should be {wanted!r}")
