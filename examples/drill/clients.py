"""Eight clients that read, write and verify throughout, with the fields of version 1."""

import asyncio
import random
import re
import uuid
from collections import Counter
from dataclasses import dataclass, field
from decimal import Decimal
from typing import Any

import httpx

from examples.drill.processes import SCHEMA, START_TIMEOUT_S, DrillProcesses

CLIENTS = 8
PROJECTS = "/v1/ops/projects"
FACILITIES = "/v1/ops/facilities"
_VERSION = re.compile(r"/versions/(\d+)>; rel=\"describedby\"")
TERMS = {
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "1000000.00",
    "lenders": [{"lender": "First Infrastructure Bank", "share": "100"}],
    "rate": {"fixed_rate": "0.04"},
    "fees": {},
    "day_count": "30/360",
    "payment_dates": {"start": "2026-03-31", "end": "2036-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "straight_line"},
    "availability_start": "2026-03-31",
    "availability_end": "2027-12-31",
}
_RETRY_S = 0.05
_LIST_SIZE = 5


@dataclass
class ExpectedProject:
    """State of a project as its client wrote it, independent of any response.

    `zone` is None if it was written while there was no such column, which ignores it.
    """

    project_id: str
    name: str
    amount: str
    capacity: Decimal
    zone: str | None
    version: int = 1
    etag: str = "*"


@dataclass
class ExpectedFacility:
    """State of a facility as its client wrote it, with a column of the schema of facilities."""

    facility_id: str
    label: str
    etag: str


@dataclass
class FieldNames:
    """Field names of another schema version for the columns of version 1.

    A name is None where that version does not have the column. `defaults` are values that every
    project has under it.
    """

    capacity: str = "capacity_mw"
    zone: str | None = "zone"
    defaults: dict[str, Any] = field(default_factory=dict)


class ClientGroup:
    """The clients, with their requests and the errors that they found."""

    def __init__(self, processes: DrillProcesses) -> None:
        self._processes = processes
        self.field_names: dict[int, FieldNames] = {}
        self.requests: Counter[str] = Counter()
        self.label_names: dict[int, str] = {}
        self.responses_by_version: Counter[int] = Counter()
        self.retries = 0
        self.errors: list[str] = []
        self._clients = [_Client(self, processes, number) for number in range(CLIENTS)]
        self._tasks: list[asyncio.Task[None]] = []

    def open(self) -> None:
        """Start the clients."""
        self._tasks = [asyncio.create_task(client.run()) for client in self._clients]

    async def close(self) -> None:
        """Let each client finish its round and read again all projects that it wrote."""
        for client in self._clients:
            client.is_closing = True
        await asyncio.gather(*self._tasks)
        await asyncio.gather(*(client.audit() for client in self._clients))
        for client in self._clients:
            await client.http.aclose()

    @property
    def project_count(self) -> int:
        """Number of projects that the clients wrote."""
        return sum(len(client.projects) for client in self._clients)

    async def have_all_worked_under(self, version: int) -> bool:
        """Whether every client has received responses of this version."""
        return all(client.responses_by_version[version] for client in self._clients)

    async def have_all_read_facilities_under(self, version: int) -> bool:
        """Whether every client has received a facility under this version of their schema."""
        return all(client.facilities_by_version[version] for client in self._clients)

    def record_error(self, number: int, detail: str) -> None:
        """Record an error of a client."""
        self.errors.append(f"client {number}: {detail}")


class _Client:
    def __init__(self, group: ClientGroup, processes: DrillProcesses, number: int) -> None:
        self._group = group
        self._processes = processes
        self._number = number
        self._random = random.Random(number)
        self.http = httpx.AsyncClient(base_url=processes.url, timeout=30, trust_env=False)
        self.projects: list[ExpectedProject] = []
        self.facility: ExpectedFacility | None = None
        self.responses_by_version: Counter[int] = Counter()
        self.facilities_by_version: Counter[int] = Counter()
        self.is_closing = False

    async def run(self) -> None:
        """Create, read, amend and list projects in rounds, and change a facility in each."""
        while not self.is_closing:
            await self._create()
            await self._change_facility()
            await self._read(self._random.choice(self.projects))
            await self._amend(self._random.choice(self.projects))
            await self._read_version_1(self._random.choice(self.projects))
            await self._list()

    async def audit(self) -> None:
        """Read every project that was ever acknowledged, and its history."""
        if self.facility is not None:
            response = await self._read_facility(self.facility)
            if response is not None:
                self._verify_facility(response, self.facility)
        for project in self.projects:
            await self._read(project)
            response = await self._request("GET", f"{PROJECTS}/{project.project_id}/history")
            if response is not None:
                versions = [item["version"] for item in response.json()["items"]]
                self._expect("history", versions, list(range(1, project.version + 1)))

    # -- requests of a round -----------------------------------------------------------------

    async def _create(self) -> None:
        number = len(self.projects)
        capacity = Decimal(self._random.randint(1, 999_999)).scaleb(-3)
        project = ExpectedProject(
            project_id="",
            name=f"Drill {self._number}-{number}",
            amount=f"{self._random.randint(1, 10**9)}.00",
            capacity=capacity,
            zone=self._random.choice("NESW"),
        )
        body = {
            "project_name": project.name,
            "total_amount": project.amount,
            "currency_code": "EUR",
            "capacity_mw": float(capacity),
            "stage": self._random.choice("AB"),
            "zone": project.zone,
            "units": number,
        }
        response = await self._request("POST", PROJECTS, json=body, idempotent=True, expected=201)
        if response is None:
            return
        project.project_id, project.etag = response.json()["project_id"], response.headers["etag"]
        field_names = self._field_names(response)
        if field_names is not None and field_names.zone is None:
            project.zone = None
        self.projects.append(project)
        self._verify(response, response.json(), project)

    async def _read(self, project: ExpectedProject) -> None:
        response = await self._request("GET", f"{PROJECTS}/{project.project_id}")
        if response is not None:
            project.etag = response.headers["etag"]
            self._verify(response, response.json(), project)

    async def _amend(self, project: ExpectedProject) -> None:
        capacity = Decimal(self._random.randint(1, 999_999)).scaleb(-3)
        response = await self._request(
            "PATCH",
            f"{PROJECTS}/{project.project_id}",
            json={"capacity_mw": float(capacity)},
            headers={"If-Match": project.etag},
            idempotent=True,
        )
        if response is None:
            return
        if capacity != project.capacity:
            project.version += 1
        project.capacity, project.etag = capacity, response.headers["etag"]
        self._verify(response, response.json(), project)

    async def _read_version_1(self, project: ExpectedProject) -> None:
        """Read in version 1, which has every column that the client ever wrote."""
        path = f"{PROJECTS}/{project.project_id}"
        response = await self._request("GET", path, params={"schema_version": 1})
        if response is not None:
            self._verify(response, response.json(), project)

    async def _list(self) -> None:
        sample = self._random.sample(self.projects, min(_LIST_SIZE, len(self.projects)))
        ids = ",".join(project.project_id for project in sample)
        response = await self._request("GET", PROJECTS, params={"project_id[in]": ids})
        if response is None:
            return
        items = {item["project_id"]: item for item in response.json()["items"]}
        self._expect("the ids of a list", sorted(items), sorted(f.project_id for f in sample))
        for project in sample:
            if project.project_id in items:
                self._verify(response, items[project.project_id], project)

    async def _change_facility(self) -> None:
        """Create a facility in the first round, then change and read it."""
        label = f"Label {self._random.randint(1, 999)}"
        if self.facility is None:
            path = f"{PROJECTS}/{self.projects[0].project_id}/facilities"
            body = {**TERMS, "green_label": label}
            response = await self._request("POST", path, json=body, idempotent=True, expected=201)
            if response is None:
                return
            self.facility = ExpectedFacility(response.json()["facility_id"], label, "*")
        else:
            response = await self._request(
                "PATCH",
                f"{FACILITIES}/{self.facility.facility_id}",
                json={"green_label": label},
                headers={"If-Match": self.facility.etag},
                idempotent=True,
            )
        self.facility.label = label
        for one in (response, await self._read_facility(self.facility)):
            if one is not None:
                self._verify_facility(one, self.facility)

    async def _read_facility(self, facility: ExpectedFacility) -> httpx.Response | None:
        return await self._request("GET", f"{FACILITIES}/{facility.facility_id}")

    # -- sending and verifying ---------------------------------------------------------------

    async def _request(
        self,
        method: str,
        path: str,
        *,
        idempotent: bool = False,
        expected: int = 200,
        **request: Any,
    ) -> httpx.Response | None:
        """Return the expected response, or None; retry if the service was killed."""
        if idempotent:
            headers = {**request.get("headers", {}), "Idempotency-Key": str(uuid.uuid4())}
            request["headers"] = headers
        response = await self._send_until_response(method, path, request)
        if response is None:
            return None
        self._group.requests[method] += 1
        if response.status_code != expected:
            detail = f"{method} {path} responded with {response.status_code}: {response.text[:400]}"
            self._group.record_error(self._number, detail)
            return None
        return response

    async def _send_until_response(
        self, method: str, path: str, request: dict[str, Any]
    ) -> httpx.Response | None:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + 2 * START_TIMEOUT_S
        while True:
            try:
                return await self.http.request(method, path, **request)
            except httpx.TransportError as failure:
                # Only a killed service may leave a request without a response.
                if not self._processes.is_killed or loop.time() > deadline:
                    detail = f"{method} {path} got no response: {type(failure).__name__} {failure}"
                    self._group.record_error(self._number, detail)
                    return None
                self._group.retries += 1
                await asyncio.sleep(_RETRY_S)

    def _verify(
        self, response: httpx.Response, body: dict[str, Any], project: ExpectedProject
    ) -> None:
        """Compare a project with its expected state, by the field names of its version."""
        field_names = self._field_names(response)
        if field_names is None:
            return
        self._expect("version", body["version"], project.version)
        self._expect("project_name", body["project_name"], project.name)
        self._expect("total_amount", body["total_amount"], project.amount)
        self._expect("capacity", Decimal(str(body.get(field_names.capacity))), project.capacity)
        if field_names.zone is None:
            self._expect("zone is absent", "zone" in body, False)  # noqa: FBT003 - a value like others
        else:
            self._expect("zone", body.get(field_names.zone), project.zone)
        for name, value in field_names.defaults.items():
            self._expect(name, body.get(name), value)

    def _verify_facility(self, response: httpx.Response, facility: ExpectedFacility) -> None:
        """Compare a facility with its expected state, by the names of its schema's version."""
        facility.etag = response.headers["etag"]
        link = _VERSION.search(response.headers["link"])
        if link is None:
            self._group.record_error(self._number, "a facility has no version in Link")
            return
        version = int(link[1])
        self.facilities_by_version[version] += 1
        name = self._group.label_names[version]
        self._expect(f"{name} of a facility", response.json().get(name), facility.label)

    def _field_names(self, response: httpx.Response) -> FieldNames | None:
        """Return the field names of the version in a response."""
        link = _VERSION.search(response.headers["link"])
        if link is None:
            self._group.record_error(self._number, f"no {SCHEMA}/versions in Link")
            return None
        version = int(link[1])
        self.responses_by_version[version] += 1
        self._group.responses_by_version[version] += 1
        return self._group.field_names[version]

    def _expect(self, name: str, value: object, expected: object) -> None:
        if value != expected:
            self._group.record_error(self._number, f"{name} is {value!r}, expected {expected!r}")
