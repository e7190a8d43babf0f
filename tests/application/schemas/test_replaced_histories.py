"""A restart changes no decision, and no version is adopted since another one cannot be read.

Contents under a number are replaced, taken back and withheld, versions are rejected and approved,
columns are removed and restored, and Sunsets pass, all at random.
"""

from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import msgspec
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.application.conftest import open_engine_dependencies
from tests.application.fake_registry import FakeRegistry, schema_policy
from tests.application.schemas.test_refresh import STEWARD, active, attributes, begin

from spawn.adapters.local.clock import SystemClock
from spawn.application.dependencies import Dependencies
from spawn.application.schemas import activation
from spawn.application.schemas.adoptions.steward_decisions import (
    approve_schema,
    reject_schema,
)
from spawn.application.schemas.refresh import refresh_schema
from spawn.domain.errors import RegistryError, SpawnError
from spawn.domain.schemas.document_parser import compute_fingerprint
from spawn.domain.schemas.refresh_state import RefreshStates
from spawn.ports.schemas import SchemaState
from spawn.testing.intensity import rounds

LAST = 4
DELETED = 2
NAMES = ("aa", "bb", "cc")
FORBIDDEN = RegistryError("the registry responded with status 403")
OVERLOADED = RegistryError("the registry responded with status 503")
PAGE = b"<!doctype html>"
NEEDED: dict[str, Any] = {"name": "needed", "type": "integer", "required": True}
DUE: dict[str, Any] = {"name": "due", "type": "integer", "required": True, "default": 7}


class Content(NamedTuple):
    """A document: the column of the values, if it has it, its alias, a break, and a notice."""

    name: str | None
    alias: str | None = None
    is_broken: bool = False
    due: str = "due"

    def build_columns(self, sunset: str) -> list[Any]:
        aliases = [] if self.alias in {None, self.name} else [self.alias]
        column = {"name": self.name, "type": "string(9)", "aliases": aliases}
        notice = {**DUE, "deprecated": True, "sunset": sunset}
        return [
            "zz",
            *([] if self.name is None else [column]),
            *([NEEDED] if self.is_broken else []),
            *{"due": [DUE], "noticed": [notice], "removed": []}[self.due],
        ]


class Look(NamedTuple):
    """The content of each number, what is withheld, and the decisions after a refresh.

    `later_contents` are those from the request of the number `replaced_at` on.
    """

    contents: tuple[int, ...]
    faults: dict[int, Any]
    rejected: int | None = None
    approved: int | None = None
    days: int = 0
    later_contents: tuple[int, ...] | None = None
    replaced_at: int = 0


class MovedClock(SystemClock):
    """A clock that a test moves by days."""

    days = 0

    def now(self) -> datetime:
        return super().now() + timedelta(days=self.days)


class EndState(NamedTuple):
    """Outcome of a refresh; `published` are the contents that the registry has."""

    history: list[int]
    attributes: dict[str, Any]
    states: dict[tuple[int, str], str]
    published: frozenset[tuple[int, str]]


FIRST = Content("aa")
NUMBERS = st.integers(1, LAST)
CONTENTS = st.builds(
    Content,
    st.sampled_from([*NAMES, None]),
    st.sampled_from([*NAMES, None]),
    st.booleans(),
    st.sampled_from(["due", "due", "noticed", "removed"]),
)
VERSIONS = st.lists(st.tuples(CONTENTS, CONTENTS), min_size=LAST, max_size=LAST)
LOOKS = st.lists(
    st.builds(
        Look,
        st.tuples(*[st.sampled_from([0, 0, 1, DELETED])] * LAST),
        st.dictionaries(NUMBERS, st.sampled_from([FORBIDDEN, OVERLOADED, PAGE]), max_size=2),
        st.one_of(st.none(), NUMBERS),
        st.one_of(st.none(), st.none(), st.none(), NUMBERS),
        st.sampled_from([0, 0, 1]),
        st.none(),
        st.just(0),
    ),
    min_size=1,
    max_size=6,
)
MODES = st.sampled_from(["backward_transitive", "none"])
Versions = Sequence[tuple[Content, Content]]


class Service:
    """A service with one project, whose clock and registry a test moves."""

    def __init__(
        self, dependencies: Dependencies, registry: FakeRegistry, versions: Versions, mode: str
    ) -> None:
        self._clock = MovedClock()
        self._dependencies = msgspec.structs.replace(dependencies, clock=self._clock)
        self._registry, self._policy = registry, schema_policy(mode=mode)
        sunset = str(self._clock.now().date() + timedelta(days=2))
        first = FIRST.build_columns(sunset)
        self._columns = [
            [first if number == 1 else one.build_columns(sunset), other.build_columns(sunset)]
            for number, (one, other) in enumerate(versions, start=1)
        ]

    async def begin(self) -> None:
        columns = self._columns[0][0]
        self._project = await begin(self._dependencies, self._registry, *columns, aa="PRECIOUS")

    async def look(self, one: Look, *, is_restarted: bool = False) -> EndState:
        """Refresh as the loop does, and decide."""
        self._clock.days += one.days
        await self._publish(one)
        if is_restarted:
            self._dependencies = msgspec.structs.replace(
                self._dependencies, refresh_states=RefreshStates()
            )
        with suppress(SpawnError):
            await refresh_schema(
                self._dependencies, self._policy, should_retry=False, is_continued=True
            )
        end = await self._read_end()
        for decide, number in ((reject_schema, one.rejected), (approve_schema, one.approved)):
            if number is not None:
                with suppress(SpawnError):
                    await decide(
                        self._dependencies, self._policy, STEWARD, version=number, reason="so"
                    )
        return end

    async def _publish(self, one: Look) -> None:
        registry = self._registry
        self._serve(one.contents)

        def replace(number: int | None) -> None:
            if number == one.replaced_at and one.later_contents is not None:
                self._serve(one.later_contents)

        registry.notice = replace
        known = {*registry.documents, await active(self._dependencies)}
        registry.faults = {n: fault for n, fault in one.faults.items() if n in known}

    def _serve(self, contents: tuple[int, ...]) -> None:
        registry = self._registry
        registry.documents, registry.latest = {}, None
        for number, choice in enumerate(contents, start=1):
            if choice != DELETED:
                columns = self._columns[number - 1][choice]
                registry.serve(number, *columns, description=str(choice))

    async def _read_end(self) -> EndState:
        schemas = self._dependencies.schemas
        return EndState(
            [schema.version for schema in await schemas.version_history()],
            await attributes(self._dependencies, self._project),
            {
                (r.schema.version, r.schema.fingerprint): r.state.value
                for r in await schemas.records()
                if r.state is not SchemaState.REPLACED
            },
            frozenset(
                (number, compute_fingerprint(document))
                for number, document in self._registry.documents.items()
            ),
        )


async def play(
    versions: Versions, looks: Sequence[Look], mode: str, folder: Path, *, is_restarted: bool
) -> list[EndState]:
    registry = FakeRegistry()
    async with open_engine_dependencies("memory", registry, folder) as dependencies:
        service = Service(dependencies, registry, versions, mode)
        await service.begin()
        return [await service.look(one, is_restarted=is_restarted) for one in looks]


randomly = settings(
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    max_examples=rounds(25, 1_500),
)
AA, BB_BROKEN = Content("aa"), Content("bb", "aa", is_broken=True)
CC = Content("cc", "bb")
SPARE = (AA, AA)
RENAMED_FIRST: Versions = [(AA, Content("bb", "aa")), (CC, CC), SPARE, SPARE]
WITHHELD_LATER: Versions = [
    SPARE,
    (Content("aa", None, is_broken=True), BB_BROKEN),
    (CC, CC),
    SPARE,
]
RESTORED: Versions = [SPARE, (Content(None), AA), (BB_BROKEN, AA), (Content("bb"), AA)]
NOTICED: Versions = [
    SPARE,
    (Content("aa", due="noticed"), AA),
    (Content("aa", due="removed"), AA),
    SPARE,
]
FORGOTTEN: Versions = [
    SPARE,
    (Content("aa", None, is_broken=True), AA),
    (BB_BROKEN, AA),
    (Content("bb"), AA),
]
ROOMS = st.sampled_from([0, 1, 100])
TWO = (0, 0, DELETED, DELETED)
THREE = (0, 0, 0, DELETED)


@randomly
@given(versions=VERSIONS, looks=LOOKS, mode=MODES, room=ROOMS)
@example(
    versions=RENAMED_FIRST,
    looks=[
        Look((1, 0, DELETED, DELETED), {}),
        Look((DELETED, 0, DELETED, DELETED), {1: FORBIDDEN}),
    ],
    mode="backward_transitive",
    room=100,
)
@example(
    versions=RENAMED_FIRST,
    looks=[Look((1, 0, DELETED, DELETED), {}), Look(TWO, {})],
    mode="backward_transitive",
    room=100,
)
@example(
    versions=FORGOTTEN,
    looks=[Look(THREE, {}), Look(TWO, {}), Look((0, 0, DELETED, 0), {})],
    mode="backward_transitive",
    room=1,
)
@example(
    versions=NOTICED,
    looks=[Look(THREE, {}), Look(THREE, {}, days=1), Look(THREE, {}, days=2)],
    mode="backward_transitive",
    room=100,
)
async def test_a_restart_changes_no_decision(
    versions: Versions, looks: list[Look], mode: str, room: int, tmp_path: Path
) -> None:
    """A content that the records have no room for is withdrawn, and its renames count."""
    with mock.patch.object(activation, "MAX_WAITING", room):
        running = await play(versions, looks, mode, tmp_path, is_restarted=False)
        assert await play(versions, looks, mode, tmp_path, is_restarted=True) == running


@randomly
@given(versions=VERSIONS, looks=LOOKS, mode=MODES)
@example(
    versions=WITHHELD_LATER,
    looks=[Look(TWO, {}, rejected=2), Look((0, 1, 0, DELETED), {2: FORBIDDEN})],
    mode="backward_transitive",
)
@example(
    versions=RESTORED,
    looks=[Look(TWO, {}), Look(THREE, {3: PAGE}, rejected=3), Look((0, 0, 0, 0), {3: PAGE})],
    mode="backward_transitive",
)
@example(
    versions=RENAMED_FIRST,
    looks=[Look((1, 0, DELETED, DELETED), {}), Look((DELETED, 0, DELETED, DELETED), {})],
    mode="backward_transitive",
)
@example(
    versions=RENAMED_FIRST,
    looks=[Look((1, 0, DELETED, DELETED), {}), Look((DELETED, 0, DELETED, DELETED), {1: PAGE})],
    mode="backward_transitive",
)
async def test_no_version_is_adopted_since_another_one_cannot_be_read(
    versions: Versions, looks: list[Look], mode: str, tmp_path: Path
) -> None:
    """Numbers below the first difference were decided alike."""
    *earlier, last = looks
    withheld = await play(versions, looks, mode, tmp_path, is_restarted=False)
    contents = last.contents
    if earlier:
        known = withheld[-2].published & withheld[-2].states.keys()
        before = {n: earlier[-1].contents[n - 1] for n, _ in known}
        # What was read before and is taken back since has its last content.
        contents = tuple(
            before.get(n, choice) if choice == DELETED else choice
            for n, choice in enumerate(contents, start=1)
        )
    whole = [*earlier, last._replace(faults={}, contents=contents)]
    readable = await play(versions, whole, mode, tmp_path, is_restarted=False)
    difference = {*withheld[-1].history} ^ {*readable[-1].history}
    assert not difference or min(difference) in readable[-1].history


TORN: Versions = [
    SPARE,
    (Content("aa", None, is_broken=True), BB_BROKEN),
    (Content("aa", None, is_broken=True), Content("bb")),
    SPARE,
]
CHOICES = st.tuples(*[st.sampled_from([0, 0, 1, DELETED])] * LAST)


@randomly
@given(versions=VERSIONS, before=CHOICES, after=CHOICES, replaced_at=NUMBERS, mode=MODES)
@example(
    versions=TORN,
    before=(0, 0, 0, DELETED),
    after=(0, 1, 1, DELETED),
    replaced_at=3,
    mode="backward_transitive",
)
async def test_contents_that_change_while_they_are_read_are_never_judged_together(
    versions: Versions,
    before: tuple[int, ...],
    after: tuple[int, ...],
    replaced_at: int,
    mode: str,
    tmp_path: Path,
) -> None:
    """The end is that of a refresh before the change, perhaps of fewer numbers, and one after."""
    settled = Look(after, {})

    async def end(*looks: Look) -> tuple[list[int], dict[str, Any]]:
        ends = await play(versions, [*looks, settled], mode, tmp_path, is_restarted=False)
        return ends[-1].history, ends[-1].attributes

    torn_end = await end(Look(before, {}, later_contents=after, replaced_at=replaced_at))
    cuts = [(*before[:number], *[DELETED] * (LAST - number)) for number in range(1, LAST + 1)]
    assert torn_end in [await end(), *[await end(Look(cut, {})) for cut in cuts]]
