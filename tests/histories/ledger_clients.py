"""Sixteen writers on one ledger, and one client that meets and reopens the project's milestone."""

import asyncio
import random
from decimal import Decimal
from typing import Any, Final

import httpx
from tests.histories.ledger_checker import (
    ENTRY_EVENT,
    MILESTONE,
    LedgerAccount,
    LedgerHistory,
    LedgerWrite,
)
from tests.histories.operations import Outcome

WRITERS: Final = 16
COMMITMENT: Final = Decimal(1_000_000)
VALUE_DATE: Final = "2020-06-30"
_TIMEOUT_S: Final = 5.0
_PAUSE_S: Final = 0.05
_ATTEMPTS: Final = 400
_CONFLICT: Final = 409
_REJECTIONS: Final = frozenset({_CONFLICT, 412, 422})
_TERMS: Final[dict[str, Any]] = {
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": str(COMMITMENT),
    "availability_start": "2020-03-31",
    "availability_end": "2021-12-31",
    "lenders": [{"lender": "First", "share": "100"}],
    "rate": {"fixed_rate": "0.04"},
    "payment_dates": {"start": "2020-03-31", "end": "2030-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "bullet"},
}


_STOP: Final = {"milestones": [{"milestone_id": MILESTONE, "title": "Permit", "draw_stop": True}]}
_MET: Final = {"milestone_id": MILESTONE, "decision": "MET", "on": "2020-01-31"}
_REOPENED: Final = {"milestone_id": MILESTONE, "decision": "REOPENED", "reason": "appeal"}


class LedgerRound:
    """A new facility whose writers work until the round has ended."""

    def __init__(self, http: httpx.AsyncClient, seed: int) -> None:
        self._http = http
        self._random = random.Random(seed)
        self._project = self._facility = ""
        self._drawn: list[int] = []
        self._responses = 0
        self._has_response = asyncio.Event()
        self.writes: list[LedgerWrite] = []
        self.toggles = 0
        self.surprises: list[str] = []
        self.has_ended = False

    async def create(self) -> None:
        """Create the project and its facility."""
        body = {"project_name": "Sierra", "total_amount": "2000000.00", **_STOP}
        response = await self._http.post("/v1/ops/projects", json=body)
        self._project = response.raise_for_status().headers["location"]
        response = await self._http.post(f"{self._project}/facilities", json=_TERMS)
        self._facility = response.raise_for_status().headers["location"]

    def start(self) -> list[asyncio.Task[None]]:
        """Start the writers and the client of the milestone."""
        writers = [asyncio.create_task(self._write(number)) for number in range(WRITERS)]
        return [*writers, asyncio.create_task(self._toggle())]

    async def wait_for_responses(self, count: int) -> None:
        """Wait until the writers have so many more responses."""
        target = self._responses + count
        while self._responses < target:
            self._has_response.clear()
            await self._has_response.wait()

    async def read_history(self) -> LedgerHistory:
        """Return the history of the round, with the account of the service."""
        account = await self._read_account()
        project_id = self._project.rpartition("/")[2]
        return LedgerHistory(COMMITMENT, project_id, self.writes, account)

    async def _write(self, number: int) -> None:
        count = 0
        while not self.has_ended:
            count += 1
            key = f"w{number}-{count}"
            if self._drawn and self._random.random() < 0.3:
                await self._reverse(key)
            else:
                await self._draw(key)

    async def _draw(self, key: str) -> None:
        write = LedgerWrite(key=key, amount=Decimal(self._random.randrange(10_000, 250_000)))
        body = {
            "kind": "draw",
            "value_date": VALUE_DATE,
            "amount": str(write.amount),
            "external_key": key,
        }
        await self._send(write, f"{self._facility}/entries", body)
        if write.outcome is Outcome.DONE:
            self._drawn.append(write.numbers[0])

    async def _reverse(self, key: str) -> None:
        # Two writers may choose the same entry: one of them is rejected.
        number = self._random.choice(self._drawn)
        write = LedgerWrite(key=key, reverses=number)
        body = {"reason": "drawn by mistake", "external_key": key}
        await self._send(write, f"{self._facility}/entries/{number}/reversal", body)
        if write.outcome is not Outcome.UNKNOWN and number in self._drawn:
            self._drawn.remove(number)

    async def _send(self, write: LedgerWrite, path: str, body: dict[str, Any]) -> None:
        """Send a command until it has a response; each attempt has the same key."""
        self.writes.append(write)
        headers = {"if-match": "*", "idempotency-key": write.key}
        for _ in range(_ATTEMPTS):
            response = await self._try_post(path, body, headers)
            if response is None or response.status_code >= 500:
                await asyncio.sleep(_PAUSE_S)
                continue
            self._note(write, response)
            return

    def _note(self, write: LedgerWrite, response: httpx.Response) -> None:
        if response.status_code == 201:
            write.outcome = Outcome.DONE
            write.numbers.append(response.json()["number"])
        elif response.status_code in _REJECTIONS:
            write.outcome, write.code = Outcome.REJECTED, response.json()["code"]
        else:
            self.surprises.append(f"{write.key}: {response.status_code} {response.text[:200]}")
        self._responses += 1
        self._has_response.set()

    async def _try_post(
        self, path: str, body: dict[str, Any], headers: dict[str, str]
    ) -> httpx.Response | None:
        try:
            return await self._http.post(path, json=body, headers=headers, timeout=_TIMEOUT_S)
        except httpx.TransportError:
            return None

    async def _toggle(self) -> None:
        """Meet and reopen the milestone, time and again."""
        while not self.has_ended:
            body = _REOPENED if self.toggles % 2 else _MET
            path = f"{self._project}/milestones/decisions"
            try:
                headers = {"if-match": "*"}
                response = await self._http.post(
                    path, json=body, headers=headers, timeout=_TIMEOUT_S
                )
            except httpx.TransportError:
                await asyncio.sleep(_PAUSE_S)
                continue
            # A decision whose response was lost is a 409 now: the next one is the other.
            self.toggles += response.is_success or response.status_code == _CONFLICT
            await asyncio.sleep(self._random.uniform(0.02, 0.3))

    async def _read_account(self) -> LedgerAccount:
        entries: list[dict[str, Any]] = []
        path: str | None = f"{self._facility}/entries?limit=200"
        while path is not None:
            response = (await self._http.get(path)).raise_for_status()
            page = response.json()
            entries += page["items"]
            cursor = page["next"]
            path = f"{self._facility}/entries?limit=200&after={cursor}" if cursor else None
        version = int(response.headers["etag"].strip('"').partition("-")[0])
        balance = await self._http.get(f"{self._facility}/balance", params={"on": VALUE_DATE})
        amount = Decimal(balance.raise_for_status().json()["balance"])
        return LedgerAccount(entries, version, amount, await self._read_events())

    async def _read_events(self) -> list[dict[str, Any]]:
        """Return the events of entries and of the project, in the order of the feed."""
        events: list[dict[str, Any]] = []
        after: str | None = None
        while True:
            parameters = {"limit": "500"} | ({"after": after} if after else {})
            page = (await self._http.get("/v1/events", params=parameters)).raise_for_status().json()
            if not page["events"]:
                break
            events += page["events"]
            after = page["next"]
        return [
            event
            for event in events
            if event["type"] == ENTRY_EVENT or event["type"].startswith("spawn.project.")
        ]
