"""No pair of schema versions is called compatible that is not: asked of made-up data, not of rules.

For each pair, projects are written under the old version and read under the new one (rows), old
requests are sent to the new version (writers), and answers of the new version are read as the old
one read them (readers). Whatever the comparison promised must hold; a promise that asks for proof
must hold for the projects that give it.
"""

import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from tests.domain.schema.evolving import ON, body, evolved, schema

from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Token, read_object
from spawn.domain.projects.project import Project, propose
from spawn.domain.schemas.core_columns import READ_ONLY_COLUMNS, STRUCTURE, core_columns
from spawn.domain.schemas.evolution.adoption_policy import judge
from spawn.domain.schemas.evolution.column_mapping import succeed, succession
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Comparison, Mode, Relation
from spawn.domain.schemas.evolution.diff import compare
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.evolution.version_conversion import broken_by, downgrade, upgrade
from spawn.domain.schemas.model import Schema
from spawn.domain.schemas.validator import Conformance
from spawn.domain.schemas.value_readers import reader_for
from spawn.domain.serialization import decode, encode, render
from spawn.testing.builders import PROJECT_ID

pytestmark = pytest.mark.core

BODIES = 3
"""Projects and requests that are made for each side of a pair."""

Body = dict[str, Token]


class Promises:
    """What was promised and held, by relation and verdict, and which changes were met."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.kinds: Counter[ChangeKind] = Counter()

    def note(self, comparison: Comparison) -> None:
        self.kinds.update(finding.kind for finding in comparison.findings)


def created(conformance: Conformance, tokens: Body) -> Project:
    read = conformance.read(tokens)
    return propose(
        project_id=PROJECT_ID,
        fields=read.core,
        attributes=read.governed,
        extensions=read.extensions,
    )


def bodies(rng: random.Random, conformance: Conformance) -> list[Body]:
    made = (body(rng, conformance) for _ in range(BODIES))
    return [tokens for tokens in made if tokens is not None]


def check_rows(
    projects: Sequence[Project], old: Schema, conformance: Conformance, plans: list[MigrationPlan]
) -> None:
    """Stored documents, read under the new version, are projects of the new version."""
    new = conformance.schema
    for project in projects:
        stored = decode("project", encode("project", project, old), old)
        assert isinstance(stored, Project)
        read = upgrade(stored, plans)
        assert read.attributes.keys() <= {column.name for column in new.governed}
        assert decode("project", encode("project", read, new), new) == read
        again = conformance.read(as_body(read, new)).governed
        for name, value in read.attributes.items():
            assert (type(again[name]), again[name]) == (type(value), value), name
        for column in new.governed:
            assert not column.required or column.name in read.attributes, column.name
        back = downgrade(read, plans)
        assert project.attributes.items() <= back.attributes.items()
        # A promoted value that is the default says nothing that others do not.
        defaults = {f"x_{column.name}" for column in new.governed if column.default is not None}
        assert project.extensions.keys() - defaults <= back.extensions.keys()


def as_body(project: Project, under: Schema) -> Body:
    """The body that says of a project what an answer says."""
    fields = {
        name: shown
        for name, shown in render(project, under).items()
        if name not in READ_ONLY_COLUMNS | STRUCTURE | {"project_id", "status"}
    }
    return read_object(msgspec.json.encode(fields))


def check_writers(
    requests: Sequence[Body], old: Conformance, new: Conformance, plans: list[MigrationPlan]
) -> None:
    """Old requests are accepted and mean what they meant."""
    added = {column.name for column in succession(old.schema, new.schema).added}
    for request in requests:
        asked = in_force(request, old)
        if asked is None:
            continue
        meant = upgrade(created(old, asked), plans).attributes
        found = new.read(asked, on=ON)
        for name in found.governed.keys() & meant.keys() - added:
            given = {name, *new.fields[name].aliases} & asked.keys()
            assert not given or found.governed[name] == meant[name], name
        ignored = {note.pointer[1:] for note in found.warnings if note.code == "retired"}
        heard = {new.alias(name) for name in asked} - {None}
        assert len(heard) + len(ignored) >= sum(not name.startswith("x_") for name in asked)
        patch = {name: None if at % 3 == 0 else asked[name] for at, name in enumerate(asked)}
        if accepts(old, patch):
            new.read(patch, partial=True, on=ON)


def in_force(request: Body, conformance: Conformance) -> Body | None:
    """The request without what its version announced to be gone by now; None if it needs that."""
    ended = {
        name
        for column in conformance.schema.governed
        if (sunset := column.announced_sunset) is not None and sunset <= ON
        for name in (column.name, *column.aliases)
    }
    kept = {name: token for name, token in request.items() if name not in ended}
    return kept if accepts(conformance, kept, partial=False) else None


def accepts(conformance: Conformance, tokens: Body, *, partial: bool = True) -> bool:
    try:
        conformance.read(tokens, partial=partial)
    except InvalidInput:
        return False
    return True


def check_readers(projects: Sequence[Project], old: Schema, new: Schema) -> None:
    """Answers of the new version hold what the old version promised of them."""
    for project in projects:
        answer = as_body(project, new)
        for column in (*core_columns(old), *old.governed):
            if column.name in READ_ONLY_COLUMNS | {"status"}:
                continue
            always = column.required or column.default is not None
            assert column.name in answer or not always, column.name
            token = answer.get(column.name)
            if token is None:
                assert not column.required, column.name
            elif column in old.governed or column.enum or column.pattern:
                reader_for(column)(token, column.name)


def check_pair(rng: random.Random, old: Schema, document: Schema, promises: Promises) -> None:
    new = succeed(old, document)
    comparison = compare(old, document, on=ON)
    promises.note(comparison)
    plans = [plan_migration(old, document)]
    before, after = Conformance(old), Conformance(new)
    requests = bodies(rng, before)
    projects = [created(before, request) for request in requests]
    proven = not any(broken_by(p, proof) for p in projects for proof in comparison.proofs)
    if comparison.rows is Relation.YES or (comparison.rows is Relation.IF_PROVEN and proven):
        check_rows(projects, old, after, plans)
        promises.held[f"rows {comparison.rows}"] += len(projects)
    if comparison.writers is Relation.YES:
        check_writers(requests, before, after, plans)
        promises.held["writers"] += len(requests)
    if comparison.readers is Relation.YES:
        answers = [created(after, request) for request in bodies(rng, after)]
        check_readers(answers, old, new)
        promises.held["readers"] += len(answers)


def run_pairs(seed: int, count: int) -> Promises:
    promises = Promises()
    for at in range(count):
        rng = random.Random(f"{seed}-{at}")
        old = schema(rng)
        new = evolved(rng, old, 2) if at % 4 else schema(rng, 2)
        try:
            check_pair(rng, old, new, promises)
        except Exception as error:
            error.add_note(f"pair {seed}-{at}:\nold {old.columns}\nnew {new.columns}")
            raise
    return promises


def check_chain(rng: random.Random) -> bool:
    """Three versions, adopted one after the other where the default mode lets them."""
    first = schema(rng)
    second = succeed(first, evolved(rng, first, 2))
    third = succeed(second, evolved(rng, second, 3))
    mode = Mode.BACKWARD_TRANSITIVE
    steps = [judge(second, first, [], mode, ON), judge(third, second, [first], mode, ON)]
    if not all(judgement.adoptable for judgement in steps):
        return False
    before, after = Conformance(first), Conformance(third)
    plans = [plan_migration(first, second), plan_migration(second, third)]
    requests = bodies(rng, before)
    stored = [created(before, request) for request in requests]
    proven = [p for p in stored if gives_proof(p, plans)]
    check_rows(proven, first, after, plans)
    check_writers(requests, before, after, plans)
    return bool(proven)


def gives_proof(project: Project, plans: Sequence[MigrationPlan]) -> bool:
    for plan in plans:
        if any(broken_by(project, proof) for proof in plan.proofs):
            return False
        project = upgrade(project, [plan])
    return True


def run_chains(seed: int, count: int) -> int:
    held = 0
    for at in range(count):
        try:
            held += check_chain(random.Random(f"{seed}-{at}"))
        except Exception as error:
            error.add_note(f"chain {seed}-{at}")
            raise
    return held


def test_what_is_called_compatible_is() -> None:
    promises = run_pairs(seed=1, count=150)
    assert min(promises.held.values()) > 15


def test_a_request_of_the_first_version_is_good_for_the_third() -> None:
    assert run_chains(seed=1, count=120) > 12


@pytest.mark.slow
def test_no_chain_of_two_thousand_loses_data_or_writers() -> None:
    assert run_chains(seed=2, count=2_000) > 200


@pytest.mark.slow
def test_no_pair_of_ten_thousand_is_called_compatible_falsely() -> None:
    promises = run_pairs(seed=2, count=10_000)
    assert promises.held.keys() == {"rows yes", "rows if_proven", "writers", "readers"}
    assert min(promises.held.values()) > 1_000
    assert promises.kinds.keys() == {*ChangeKind}
