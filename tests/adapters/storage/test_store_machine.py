"""The DuckDB store and the memory store stay equal through any commands, restarts and crashes."""

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from spawn.adapters.duckdb.store import DuckDbStore, open_duckdb
from spawn.adapters.embedded.options import StoreOptions
from spawn.adapters.memory.store import MemoryStore
from spawn.domain.aggregates import encode_state
from spawn.domain.change import Change, EncodedState, Guard, Write
from spawn.domain.errors import SpawnError
from spawn.domain.events.position import Position
from spawn.domain.projects.project import ExternalRefReservation, Project
from spawn.domain.query import Filter, Operator, Query, Sort
from spawn.domain.schemas.evolution.migration_plan import plan_migration
from spawn.ports.schemas import SchemaState
from spawn.testing.intensity import rounds
from spawn.testing.storage_contract.harness import ManualClock, StorageHarness, a_record
from spawn.testing.storage_contract.migrations import a_document, revise_columns

SUFFIXES = ("", ".wal", ".mark")
NAMES = st.sampled_from(["Alpha", "beta", "Gamma", "Ünder", "o'Clock"])
KEYS = st.sampled_from(["k1", "k2", "k3"])
ANY_PROJECT = st.integers(0, 30)

Store = DuckDbStore | MemoryStore


class StoreMachine(RuleBasedStateMachine):
    """Two stores with one clock; every command and query goes to both."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = Path(tempfile.mkdtemp(prefix="spawn-machine-"))
        self.crashes = 0
        self.clock = ManualClock()
        self.memory = MemoryStore(self.clock)
        self.versions: dict[str, list[Project]] = {}

    def run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return self.runner.run(work)

    def open(self, folder: Path) -> None:
        options = StoreOptions(reserve_bytes=0, cached_entities=4, cached_heads=4)
        path = folder / "s.duckdb"
        self.store: DuckDbStore = self.run(open_duckdb(path, clock=self.clock, options=options))

    @initialize()
    def adopt(self) -> None:
        self.open(self.folder)
        self.harness = StorageHarness(self.store, self.clock)
        for store in self.stores:
            self.run(store.adopt(a_record()))
        for _ in range(3):
            project = self.harness.project()
            assert self.commit(self.harness.change((project, 0)))
            self.versions[project.project_id] = [project]

    @property
    def stores(self) -> tuple[Store, Store]:
        return self.store, self.memory

    def teardown(self) -> None:
        if hasattr(self, "store"):
            self.run(self.store.close())
        self.runner.close()
        shutil.rmtree(self.folder)

    # -- commands -------------------------------------------------------------------------------

    def schema_version(self) -> int:
        return int(self.run(self.memory.version_history())[0].version)

    def commit(self, change: Change) -> bool:
        """Commit to both; return whether both did. They must agree, also in the error."""
        outcomes = [self.run(outcome_of(store.commit(change))) for store in self.stores]
        assert outcomes[0] == outcomes[1]
        return not isinstance(outcomes[0], str)

    def choose(self, number: int) -> tuple[Project, int]:
        """Return the current state and version of some project."""
        states = list(self.versions.values())[number % len(self.versions)]
        return states[-1], len(states)

    @rule(name=NAMES, has_reservation=st.booleans(), reference=KEYS, key=st.none() | KEYS)
    def create(self, name: str, has_reservation: bool, reference: str, key: str | None) -> None:  # noqa: FBT001 -- a drawn value
        project = self.harness.project(project_name=name)
        change = self.harness.change((project, 0), schema_version=self.schema_version())
        if has_reservation:
            reservation = ExternalRefReservation(project_id=project.project_id)
            write = Write("external_ref", f"erp:{reference}", 0, reservation)
            change = msgspec.structs.replace(change, writes=(*change.writes, write))
        if key is not None:
            change = msgspec.structs.replace(change, receipt=self.harness.receipt(key, name))
        before = self.run(self.memory.position())
        if self.commit(change) and self.run(self.memory.position()) != before:
            self.versions[project.project_id] = [project]

    @precondition(lambda self: self.versions)
    @rule(number=ANY_PROJECT, name=NAMES, error=st.sampled_from([0, 0, 0, -1, 1]))
    def amend(self, number: int, name: str, error: int) -> None:
        state, version = self.choose(number)
        changed = msgspec.structs.replace(state, project_name=name)
        expected = max(0, version + error)
        change = self.harness.change((changed, expected), schema_version=self.schema_version())
        if self.commit(change):
            self.versions[state.project_id].append(changed)

    @precondition(lambda self: self.versions)
    @rule(number=ANY_PROJECT, guarded=ANY_PROJECT, error=st.sampled_from([0, 0, 1]))
    def amend_with_guard(self, number: int, guarded: int, error: int) -> None:
        state, version = self.choose(number)
        other, other_version = self.choose(guarded)
        if state.project_id == other.project_id:
            other, other_version = self.choose(number + 1)
        change = self.harness.change((state, version), schema_version=self.schema_version())
        guard = Guard("project", other.project_id, other_version + error)
        if self.commit(msgspec.structs.replace(change, guards=(guard,))):
            self.versions[state.project_id].append(state)

    @rule(count=st.integers(1, 25))
    def import_rows(self, count: int) -> None:
        schema = self.run(self.memory.version_history())[0]
        projects = [self.harness.project(project_name=f"Row {n}") for n in range(count)]
        change = self.harness.change(*((p, 0) for p in projects), schema_version=schema.version)
        writes = tuple(
            Write("project", p.project_id, 0, EncodedState(encode_state("project", p, schema)))
            for p in projects
        )
        assert self.commit(msgspec.structs.replace(change, writes=writes))
        self.versions |= {project.project_id: [project] for project in projects}

    @rule()
    def migrate(self) -> None:
        active = self.run(self.memory.version_history())[0]
        columns = [
            {"name": f"added_{number}", "type": "integer", "required": True, "default": number}
            for number in range(1, active.version + 1)
        ]
        document = a_document(active.version + 1, revise_columns(*columns))
        record = a_record(document, SchemaState.CANDIDATE)
        plan = plan_migration(active, record.schema)
        results = [self.run(store.migrate(record, plan, actor="steward")) for store in self.stores]
        assert results[0].rows == results[1].rows

    @rule(name=KEYS)
    def save_bookmark(self, name: str) -> None:
        for store in self.stores:
            position = self.run(store.position())
            self.run(store.save_bookmarks({name: position}))

    @rule(seconds=st.integers(-2, 100_000))
    def move_clock(self, seconds: int) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    # -- restarts -------------------------------------------------------------------------------

    @rule()
    def restart(self) -> None:
        self.run(self.store.close())
        self.open(Path(self.store._engine.path).parent)

    @rule()
    def crash(self) -> None:
        """Go on with the files as they are at this moment."""
        self.crashes += 1
        folder = self.folder / f"crash-{self.crashes}"
        folder.mkdir()
        for suffix in SUFFIXES:
            file = Path(f"{self.store._engine.path}{suffix}")
            if file.exists():
                shutil.copy(file, folder / f"s.duckdb{suffix}")
        self.run(self.store.close())
        self.open(folder)

    # -- queries --------------------------------------------------------------------------------

    @rule(name=NAMES, limit=st.integers(1, 40), is_descending=st.booleans())
    def list_projects(self, name: str, limit: int, is_descending: bool) -> None:  # noqa: FBT001 -- a drawn value
        filters = (Filter("project_name", Operator.GTE, (name,)),)
        query = Query(
            filters=filters, sort=(Sort("project_name", descending=is_descending),), limit=limit
        )
        pages = [self.run(store.page(query)) for store in self.stores]
        assert pages[0].items == pages[1].items
        counts = [self.run(store.count(query)) for store in self.stores]
        assert counts[0] == counts[1]

    @precondition(lambda self: self.versions)
    @rule(number=ANY_PROJECT, version=st.integers(1, 4), limit=st.integers(1, 5))
    def read_project(self, number: int, version: int, limit: int) -> None:
        state, _ = self.choose(number)
        name = state.project_id
        now = self.clock.now()
        for results in (
            [self.run(outcome_of(s.get("project", name))) for s in self.stores],
            [self.run(outcome_of(s.get("project", name, version=version))) for s in self.stores],
            [self.run(outcome_of(s.get("project", name, as_of=now))) for s in self.stores],
            [self.run(s.head("project", name)).version for s in self.stores],
            [self.run(s.get_many("project", [name, "absent"])) for s in self.stores],
            [
                [without_position(entry) for entry in entries]
                for entries in (
                    self.run(s.history("project", name, after_version=0, limit=limit))
                    for s in self.stores
                )
            ],
        ):
            assert results[0] == results[1]

    @invariant()
    def feeds_are_equal(self) -> None:
        if not hasattr(self, "store"):
            return
        feeds = [self.run(read_feed(store)) for store in self.stores]
        assert feeds[0] == feeds[1]

    @rule()
    def compare_all(self) -> None:
        pages = [self.run(store.page(Query(limit=500))).items for store in self.stores]
        assert pages[0] == pages[1]
        assert {item.id: item.version for item in pages[0]} == {
            name: len(states) for name, states in self.versions.items()
        }
        histories = [self.run(store.version_history()) for store in self.stores]
        assert histories[0] == histories[1]
        bookmarks = [self.run(store.load_bookmarks()) for store in self.stores]
        assert numbers(bookmarks[0]) == numbers(bookmarks[1])
        logs = [self.run(store.migration_log()) for store in self.stores]
        assert [(m.new_version, m.rows) for m in logs[0]] == [
            (m.new_version, m.rows) for m in logs[1]
        ]


async def outcome_of(work: Coroutine[Any, Any, Any]) -> Any:
    """Return what both stores must agree on: the result without its epoch, or the error's code."""
    try:
        result = await work
    except SpawnError as error:
        return error.code
    position = getattr(result, "position", None)
    if isinstance(position, Position):
        return (position.number, result.recorded_at, result.replayed_response)
    return result


def without_position(entry: Any) -> Any:
    return msgspec.structs.replace(entry, position=Position(0, entry.position.number))


def numbers(bookmarks: dict[str, Position | None]) -> dict[str, int | None]:
    return {name: None if p is None else p.number for name, p in bookmarks.items()}


async def read_feed(store: Store) -> list[Any]:
    entries: list[Any] = []
    after = None
    while (page := await store.feed(after=after, limit=500)).entries:
        entries += [without_position(entry) for entry in page.entries]
        after = page.next
    return entries


TestStoreMachine = StoreMachine.TestCase
TestStoreMachine.settings = settings(
    max_examples=rounds(3, 10), stateful_step_count=30, deadline=None
)
