"""No pair of schema versions is called compatible that is not: asked of made-up data, not of rules.

For each pair, projects are written under the old version and read under the new one (rows), old
requests are sent to the new version (writers), and responses of the new version are read as the old
one read them (readers). Whatever the comparison promised must hold; a promise that asks for proof
must hold for the projects that give it.
"""

import random
from collections import Counter
from collections.abc import Sequence

import msgspec
import pytest
from tests.domain.schemas.schema_generator import ON, body, evolved, schema
from tests.searches import scale

from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.projects.codec import render_project
from spawn.domain.projects.project import Project, propose_project
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.core_columns import NESTED_FIELDS, READ_ONLY_COLUMNS, get_core_columns
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns, map_columns
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Compatibility,
    CompatibilityMode,
    SchemaComparison,
)
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import MigrationPlan, plan_migration
from spawn.domain.schemas.evolution.version_conversion import (
    downgrade_state,
    find_violation,
    upgrade_state,
)
from spawn.domain.schemas.validator import SchemaValidator
from spawn.domain.schemas.value_readers import column_reader
from spawn.testing.builders import PROJECT_ID
from spawn.testing.intensity import rounds

pytestmark = pytest.mark.core

BODIES = 3
"""Projects and requests that are made for each side of a pair."""

Body = dict[str, Token]


class VerdictCounts:
    """What was promised and held, by relation and verdict, and which changes were met."""

    def __init__(self) -> None:
        self.held: Counter[str] = Counter()
        self.kinds: Counter[ChangeKind] = Counter()

    def note(self, comparison: SchemaComparison) -> None:
        self.kinds.update(finding.kind for finding in comparison.findings)


def created(validator: SchemaValidator, tokens: Body) -> Project:
    read = validator.read(tokens)
    return propose_project(
        project_id=PROJECT_ID,
        fields=read.core,
        attributes=read.governed,
        extensions=read.extensions,
    )


def bodies(rng: random.Random, validator: SchemaValidator) -> list[Body]:
    made = (body(rng, validator) for _ in range(BODIES))
    return [tokens for tokens in made if tokens is not None]


def check_rows(
    projects: Sequence[Project], old: Schema, validator: SchemaValidator, plans: list[MigrationPlan]
) -> None:
    """Stored documents, read under the new version, are projects of the new version."""
    new = validator.schema
    for project in projects:
        stored = decode_state("project", encode_state("project", project, old), old)
        assert isinstance(stored, Project)
        read = upgrade_state(stored, plans)
        assert read.attributes.keys() <= {column.name for column in new.governed}
        assert decode_state("project", encode_state("project", read, new), new) == read
        again = validator.read(as_body(read, new)).governed
        for name, value in read.attributes.items():
            assert (type(again[name]), again[name]) == (type(value), value), name
        for column in new.governed:
            assert not column.required or column.name in read.attributes, column.name
        back = downgrade_state(read, plans)
        assert project.attributes.items() <= back.attributes.items()
        # A promoted value that is the default says nothing that others do not.
        defaults = {f"x_{column.name}" for column in new.governed if column.default is not None}
        assert project.extensions.keys() - defaults <= back.extensions.keys()


def as_body(project: Project, under: Schema) -> Body:
    """The body with the values of a project's response."""
    fields = {
        name: shown
        for name, shown in render_project(project, under).items()
        if name not in READ_ONLY_COLUMNS | NESTED_FIELDS | {"project_id", "status"}
    }
    return parse_object(msgspec.json.encode(fields))


def check_writers(
    requests: Sequence[Body], old: SchemaValidator, new: SchemaValidator, plans: list[MigrationPlan]
) -> None:
    """Old requests are accepted and mean what they meant."""
    added = {column.name for column in map_columns(old.schema, new.schema).added_columns}
    for request in requests:
        asked = in_force(request, old)
        if asked is None:
            continue
        meant = upgrade_state(created(old, asked), plans).attributes
        found = new.read(asked, on_date=ON)
        for name in found.governed.keys() & meant.keys() - added:
            given = {name, *new.fields[name].aliases} & asked.keys()
            assert not given or found.governed[name] == meant[name], name
        ignored = {note.pointer[1:] for note in found.warnings if note.code == "retired"}
        heard = {new.canonical_name(name) for name in asked} - {None}
        assert len(heard) + len(ignored) >= sum(not name.startswith("x_") for name in asked)
        patch = {name: None if at % 3 == 0 else asked[name] for at, name in enumerate(asked)}
        if accepts(old, patch):
            new.read(patch, partial=True, on_date=ON)


def in_force(request: Body, validator: SchemaValidator) -> Body | None:
    """The request without what its version announced to be gone by now; None if it needs that."""
    ended = {
        name
        for column in validator.schema.governed
        if (sunset := column.announced_sunset) is not None and sunset <= ON
        for name in (column.name, *column.aliases)
    }
    accepted_tokens = {name: token for name, token in request.items() if name not in ended}
    return accepted_tokens if accepts(validator, accepted_tokens, partial=False) else None


def accepts(validator: SchemaValidator, tokens: Body, *, partial: bool = True) -> bool:
    try:
        validator.read(tokens, partial=partial)
    except InvalidInput:
        return False
    return True


def check_readers(projects: Sequence[Project], old: Schema, new: Schema) -> None:
    """Answers of the new version hold what the old version promised of them."""
    for project in projects:
        response = as_body(project, new)
        for column in (*get_core_columns(old), *old.governed):
            if column.name in READ_ONLY_COLUMNS | {"status"}:
                continue
            always = column.required or column.default is not None
            assert column.name in response or not always, column.name
            token = response.get(column.name)
            if token is None:
                assert not column.required, column.name
            elif column in old.governed or column.enum or column.pattern:
                column_reader(column)(token, column.name)


def check_pair(rng: random.Random, old: Schema, document: Schema, counts: VerdictCounts) -> None:
    new = carry_retired_columns(old, document)
    comparison = compare_schemas(old, document, on_date=ON)
    counts.note(comparison)
    plans = [plan_migration(old, document)]
    before, after = SchemaValidator(old), SchemaValidator(new)
    requests = bodies(rng, before)
    projects = [created(before, request) for request in requests]
    proven = not any(find_violation(p, proof) for p in projects for proof in comparison.proofs)
    if comparison.rows is Compatibility.YES or (
        comparison.rows is Compatibility.IF_PROVEN and proven
    ):
        check_rows(projects, old, after, plans)
        counts.held[f"rows {comparison.rows}"] += len(projects)
    if comparison.writers is Compatibility.YES:
        check_writers(requests, before, after, plans)
        counts.held["writers"] += len(requests)
    if comparison.readers is Compatibility.YES:
        responses = [created(after, request) for request in bodies(rng, after)]
        check_readers(responses, old, new)
        counts.held["readers"] += len(responses)


def run_pairs(seed: int, count: int) -> VerdictCounts:
    counts = VerdictCounts()
    for at in range(count):
        rng = random.Random(f"{seed}-{at}")
        old = schema(rng)
        new = evolved(rng, old, 2) if at % 4 else schema(rng, 2)
        try:
            check_pair(rng, old, new, counts)
        except Exception as error:
            error.add_note(f"pair {seed}-{at}:\nold {old.columns}\nnew {new.columns}")
            raise
    return counts


def check_chain(rng: random.Random) -> bool:
    """Three versions, adopted one after the other where the default mode lets them."""
    first = schema(rng)
    second = carry_retired_columns(first, evolved(rng, first, 2))
    third = carry_retired_columns(second, evolved(rng, second, 3))
    mode = CompatibilityMode.BACKWARD_TRANSITIVE
    steps = [
        judge_adoption(second, first, [], mode, ON),
        judge_adoption(third, second, [first], mode, ON),
    ]
    if not all(judgement.is_adoptable for judgement in steps):
        return False
    before, after = SchemaValidator(first), SchemaValidator(third)
    plans = [plan_migration(first, second), plan_migration(second, third)]
    requests = bodies(rng, before)
    stored = [created(before, request) for request in requests]
    proven = [p for p in stored if gives_proof(p, plans)]
    check_rows(proven, first, after, plans)
    check_writers(requests, before, after, plans)
    return bool(proven)


def gives_proof(project: Project, plans: Sequence[MigrationPlan]) -> bool:
    for plan in plans:
        if any(find_violation(project, proof) for proof in plan.proofs):
            return False
        project = upgrade_state(project, [plan])
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


def test_compatible_pairs_are_compatible() -> None:
    counts = run_pairs(seed=1, count=scale(150))
    assert min(counts.held.values()) > scale(150) / 10


def test_a_request_of_the_first_version_is_good_for_the_third() -> None:
    assert run_chains(seed=1, count=scale(120)) > scale(120) / 10


@pytest.mark.slow
def test_no_chain_of_many_loses_data_or_writers() -> None:
    assert run_chains(seed=2, count=rounds(500, 1_000)) > 100


@pytest.mark.slow
def test_no_pair_of_many_is_falsely_compatible() -> None:
    counts = run_pairs(seed=2, count=rounds(500, 2_000))
    assert counts.held.keys() == {"rows yes", "rows if_proven", "writers", "readers"}
    assert min(counts.held.values()) > 200
    assert counts.kinds.keys() == {*ChangeKind}
