"""No value is hidden without a word, though a registry withholds versions and people reject them.

Versions rename one column, again and again; some have a break beside it, and some numbers are
unused. The registry withholds documents and parts of its list at random moments, versions that
were not read are rejected, pins come and go, and the service restarts.
"""

from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import POLICY, FakeRegistry, pinned_policy
from tests.application.schemas.test_refresh import STEWARD, active, attributes, begin

from spawn.application.dependencies import Dependencies
from spawn.application.schemas import refresh
from spawn.application.schemas.activation import SchemaPolicy, get_schema_health
from spawn.application.schemas.adoptions.steward_decisions import reject_schema
from spawn.application.schemas.refresh import refresh_schema
from spawn.application.schemas.unread_versions import is_unread
from spawn.domain.errors import NotFound, RegistryError, SpawnError
from spawn.domain.schemas.refresh_state import RefreshStates
from spawn.ports.schemas import SchemaState
from spawn.testing.intensity import rounds

LAST = 6
NUMBERS = st.integers(1, LAST)
NEEDED: dict[str, Any] = {"name": "needed", "type": "integer", "required": True}
FIRST: dict[str, Any] = {"name": "a1", "type": "string(9)", "aliases": []}
FORBIDDEN = RegistryError("the registry responded with status 403")
FAULTS = (FORBIDDEN, NotFound("the registry has no such version"), b"<!doctype html>")


class Step(NamedTuple):
    """Difference of a version from the one before: a new name, its aliases, and a break."""

    is_used: bool
    is_renamed: bool
    has_all_aliases: bool
    is_broken: bool


class Look(NamedTuple):
    """A refresh, and the state of the registry and the service at it."""

    published: int
    omitted: frozenset[int]
    faults: dict[int, Any]
    pin: int | None
    is_rejecting: bool
    is_restarted: bool


class EndState(NamedTuple):
    """Outcome of all: the adopted versions, the attributes, undecided versions and the health."""

    history: list[int]
    attributes: dict[str, Any]
    states: set[tuple[int, SchemaState]]
    problem: str


ONE_IN_THREE = st.sampled_from([False, False, True])
STEPS = st.lists(
    st.builds(
        Step, ONE_IN_THREE.map(lambda one: not one), st.booleans(), st.booleans(), ONE_IN_THREE
    ),
    min_size=LAST - 1,
    max_size=LAST - 1,
)
OMITTED = st.one_of(
    st.just(frozenset[int]()),
    st.frozensets(NUMBERS),
    st.integers(2, LAST).map(lambda first: frozenset(range(1, first))),
)
LOOKS = st.lists(
    st.builds(
        Look,
        NUMBERS,
        OMITTED,
        st.dictionaries(NUMBERS, st.sampled_from(FAULTS), max_size=2),
        st.one_of(st.none(), st.none(), NUMBERS),
        st.booleans(),
        st.booleans(),
    ),
    max_size=7,
)
KEPT = Step(is_used=True, is_renamed=False, has_all_aliases=True, is_broken=False)
RENAMED = KEPT._replace(is_renamed=True)
RENAMED_ALONE = RENAMED._replace(has_all_aliases=False)
WHOLE = Look(LAST, frozenset(), {}, None, is_rejecting=False, is_restarted=False)
REJECTED_IN_A_GAP = WHOLE._replace(
    omitted=frozenset(range(1, 5)), faults={5: FAULTS[2]}, is_rejecting=True
)
REJECTED = Look(2, frozenset(), {2: FORBIDDEN}, None, is_rejecting=True, is_restarted=False)
PINNED = WHOLE._replace(published=2, pin=2)


def build_documents(steps: Sequence[Step]) -> dict[int, list[Any]]:
    """Return the columns of each version that is used."""
    column = FIRST
    columns_by_number: dict[int, list[Any]] = {1: [FIRST]}
    for number, step in enumerate(steps, start=2):
        if not step.is_used:
            continue
        if step.is_renamed:
            earlier = column["aliases"] if step.has_all_aliases else []
            column = {**column, "name": f"a{number}", "aliases": [column["name"], *earlier]}
        columns_by_number[number] = [column, f"c{number}", *([NEEDED] if step.is_broken else [])]
    return columns_by_number


class Service:
    """A service with one project, which follows a registry of these documents."""

    def __init__(
        self, dependencies: Dependencies, registry: FakeRegistry, columns: dict[int, Any]
    ) -> None:
        self._dependencies, self._registry, self._columns = dependencies, registry, columns
        self._judged_under: int | None = None
        self.rejected_numbers: set[int] = set()

    async def begin(self) -> None:
        self._project = await begin(self._dependencies, self._registry, FIRST, a1="PRECIOUS")

    async def look(self, one: Look) -> None:
        """Refresh once as the loop does, and reject what was not read."""
        published = {n: columns for n, columns in self._columns.items() if n <= one.published}
        for number in sorted(published.keys() - self._registry.documents.keys()):
            self._registry.serve(number, *published[number])
        numbers = sorted(self._registry.documents)
        self._registry.latest = self._registry.documents[numbers[-1]]
        listed = tuple(number for number in numbers if number not in one.omitted)
        self._registry.listed = listed
        # A number that is neither listed nor given was never used, by the protocol.
        self._registry.faults = {
            number: fault if number in listed else FORBIDDEN
            for number, fault in one.faults.items()
            if number in numbers
        }
        if one.is_restarted:
            self._judged_under = None
            self._dependencies = msgspec.structs.replace(
                self._dependencies, refresh_states=RefreshStates()
            )
        policy = POLICY if one.pin is None else pinned_policy(one.pin)
        await self._refresh(policy)
        if one.is_rejecting:
            await self.reject_unread()
        await self._check(policy)

    async def _refresh(self, policy: SchemaPolicy) -> None:
        before = await active(self._dependencies)
        with suppress(SpawnError):
            await refresh_schema(
                self._dependencies,
                policy,
                should_retry=before != self._judged_under,
                is_continued=True,
            )
        self._judged_under = before

    async def reject_unread(self) -> None:
        """Reject the versions that were not read and have a document."""
        newest = await active(self._dependencies)
        for record in await self._dependencies.schemas.records():
            number = record.schema.version
            is_blocking = record.state is SchemaState.FAILED and is_unread(record)
            if is_blocking and number > newest and number in self._registry.faults:
                await reject_schema(
                    self._dependencies, POLICY, STEWARD, version=number, reason="never published"
                )
                self.rejected_numbers.add(number)

    async def _check(self, policy: SchemaPolicy) -> str:
        """Check that no value is hidden without a word, and nothing rejected is adopted."""
        problem = (await get_schema_health(self._dependencies, policy)).problem
        values = (await attributes(self._dependencies, self._project)).values()
        assert "PRECIOUS" in values or problem
        history = await self._dependencies.schemas.version_history()
        assert self.rejected_numbers.isdisjoint(schema.version for schema in history)
        return problem

    async def look_once(self, rejected_numbers: set[int]) -> None:
        """Look for the first time after all was published, and take these decisions."""
        withheld = dict.fromkeys(rejected_numbers, FORBIDDEN)
        for _ in range(LAST * len(rejected_numbers)):
            await self.look(WHOLE._replace(faults=withheld, is_rejecting=True))

    async def end(self) -> EndState:
        """Look until nothing changes, at a registry without a fault."""
        for _ in range(4):
            await self.look(WHOLE)
        problem = await self._check(POLICY)
        assert "not read" not in problem
        assert "cannot be read" not in problem
        records = await self._dependencies.schemas.records()
        waiting = {SchemaState.QUARANTINED, SchemaState.REJECTED}
        newest = await active(self._dependencies)
        return EndState(
            [schema.version for schema in await self._dependencies.schemas.version_history()],
            await attributes(self._dependencies, self._project),
            {
                (r.schema.version, r.state)
                for r in records
                if r.state in waiting and r.schema.version > newest
            },
            problem,
        )


@settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=rounds(15, 600),
)
@given(steps=STEPS, looks=LOOKS, max_walk=st.sampled_from([2, 1_000]))
@example(steps=[KEPT] * 3 + [RENAMED, RENAMED_ALONE], looks=[REJECTED_IN_A_GAP], max_walk=1_000)
@example(steps=[RENAMED, *[KEPT] * 4], looks=[REJECTED, PINNED], max_walk=1_000)
async def test_the_end_is_that_of_one_look_though_versions_were_withheld(
    steps: list[Step], looks: list[Look], max_walk: int, tmp_path: Path
) -> None:
    columns = build_documents(steps)
    with mock.patch.multiple(refresh, MAX_WALK=max_walk, MAX_GAP_READS=max_walk):
        registry = FakeRegistry()
        async with open_engine_dependencies("memory", registry, tmp_path) as dependencies:
            service = Service(dependencies, registry, columns)
            await service.begin()
            for one in looks:
                await service.look(one)
            end = await service.end()
        registry = FakeRegistry()
        async with open_engine_dependencies("memory", registry, tmp_path) as dependencies:
            late = Service(dependencies, registry, columns)
            await late.begin()
            await late.look_once(service.rejected_numbers)
            assert late.rejected_numbers == service.rejected_numbers
            assert await late.end() == end
