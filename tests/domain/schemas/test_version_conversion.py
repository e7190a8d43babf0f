"""Projects are converted between versions and back without losing values."""

import random
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain import schema_version
from spawn.domain.aggregates import decode_state, encode_state
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import NumberToken
from spawn.domain.projects.project import Project, apply_amendment
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName, Value
from spawn.domain.schemas.evolution import version_conversion
from spawn.domain.schemas.evolution.column_mapping import (
    carry_retired_columns,
    map_columns,
)
from spawn.domain.schemas.evolution.compatibility import Proof
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    MigrationPlan,
    MigrationStep,
    RenameColumn,
    plan_migration,
)
from spawn.domain.schemas.evolution.type_widening import cast_value
from spawn.domain.schemas.evolution.version_conversion import (
    VersionSteps,
    current_name,
    downgrade_state,
    find_removal_days,
    find_violation,
    former_name,
    support_end_date,
    upgrade_state,
)
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.testing.builders import a_project, a_schema
from spawn.testing.expected_errors import expect_invalid

pytestmark = pytest.mark.core

TEXT, WHOLE = ColumnType(TypeName.STRING), ColumnType(TypeName.INTEGER)
BIG = ColumnType(TypeName.BIGINT)
EXACT = ColumnType(TypeName.DECIMAL, precision=12, scale=2)
SUNSET = date(2030, 6, 15)
EVE = date(2030, 6, 14)


def column(name: str, type_: ColumnType = TEXT, **members: Any) -> Column:
    return Column(name=name, type=type_, **members)


def version(number: int, *columns: Column) -> Schema:
    return a_schema(columns, version=number)


def plans(*versions: Schema) -> list[MigrationPlan]:
    """The plans through versions of which each knows what the ones before retired."""
    made: list[MigrationPlan] = []
    active = versions[0]
    for schema in versions[1:]:
        made.append(plan_migration(active, schema))
        active = carry_retired_columns(active, schema)
    return made


def raw(text: str) -> msgspec.Raw:
    return msgspec.Raw(text.encode())


V1 = version(1, column("grade"), column("mw", WHOLE), column("zone"))
V2 = version(
    2,
    column("rating", aliases=("grade",)),
    column("mw", BIG),
    column("tier", required=True, default="B"),
)


def test_a_column_takes_over_the_values_of_another_unless_it_was_there_before() -> None:
    old = version(1, column("grade"), column("mw", WHOLE), column("zone"))
    taken = version(2, column("rating", aliases=("grade",)), column("zone", aliases=("mw",)))
    mapping = map_columns(old, taken)
    pairs = [(one.name, other.name) for one, other in mapping.renamed_pairs]
    merged = [(one.name, other.name) for one, other in mapping.merged_pairs]
    assert (pairs, merged) == ([("grade", "rating")], [("mw", "zone")])
    twice = version(2, column("rating", aliases=("grade", "mw")), column("zone"))
    mapping = map_columns(old, twice)
    assert [one.name for one, _ in mapping.renamed_pairs] == ["grade"]
    assert [one.name for one, _ in mapping.merged_pairs] == ["mw"]


def test_the_columns_that_were_removed_last_stay_in_the_tables(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(schema_version, "MAX_INDEXED_RETIRED", 2)
    active = version(1, *map(column, "abcd"))
    for number, left in enumerate(("bcd", "cd", "d"), start=2):
        active = carry_retired_columns(active, version(number, *map(column, left)))
    assert {one.name: one.is_indexed for one in active.retired} == {
        "a": False,
        "b": True,
        "c": True,
    }


def test_names_are_followed_types_widened_defaults_filled_and_the_rest_hidden() -> None:
    old = a_project(attributes={"grade": "A", "mw": 5, "zone": "N"})
    new = upgrade_state(old, plans(V1, V2))
    assert new.attributes == {"rating": "A", "mw": 5, "tier": "B"}
    assert new.hidden_attributes == {"zone": "N"}
    assert downgrade_state(new, plans(V1, V2)) == old


def test_a_project_that_nothing_happens_to_is_the_same_object() -> None:
    project = a_project()
    assert upgrade_state(project, plans(version(1), version(2))) is project
    assert upgrade_state(project, []) is project


def test_what_was_hidden_survives_later_writes_and_comes_back() -> None:
    first, gone, back = version(1, column("mw", WHOLE)), version(2), version(3, column("mw", BIG))
    second = carry_retired_columns(first, gone)
    document = encode_state("project", a_project(attributes={"mw": 7}), first)
    stored: Any = decode_state("project", document, first)
    read = upgrade_state(stored, plans(first, gone))
    amended = apply_amendment(read, {"sector": "Wind"}, {}, {})
    reread: Any = decode_state("project", encode_state("project", amended, second), second)
    assert (reread.attributes, reread.hidden_attributes) == ({}, {"mw": 7})
    restored = upgrade_state(reread, [plan_migration(second, back)])
    assert (restored.attributes, restored.hidden_attributes) == ({"mw": 7}, {})
    assert downgrade_state(restored, plans(first, gone, back)).attributes == {"mw": 7}


def test_an_extension_that_fits_is_promoted_and_one_that_does_not_stays() -> None:
    added = column("mw", EXACT, minimum=Decimal(1), default=Decimal(9))
    steps = plans(version(1), version(2, added))
    fitting = a_project(extensions={"x_mw": raw("12.5"), "x_note": raw("1")})
    promoted = upgrade_state(fitting, steps)
    assert promoted.attributes == {"mw": Decimal("12.5")}
    assert promoted.extensions == {"x_note": raw("1")}
    assert downgrade_state(promoted, steps) == fitting
    for unfit in ("0.5", '"12"', "null", "[]", "1.234"):
        project = a_project(extensions={"x_mw": raw(unfit)})
        read = upgrade_state(project, steps)
        assert (read.attributes, read.extensions) == ({"mw": Decimal(9)}, project.extensions)
        proof = steps[0].proofs[0]
        fault = find_violation(project, proof)
        assert fault is not None
        assert fault.pointer == "/x_mw"
        assert find_violation(fitting, proof) is None


def test_a_promoted_value_is_shown_as_an_extension_only_while_it_may_be_one() -> None:
    steps = plans(version(1), version(2, column("note")))
    crowded = a_project(
        attributes={"note": "n"}, extensions={f"x_{n}": raw("1") for n in range(32)}
    )
    assert downgrade_state(crowded, steps).extensions == crowded.extensions
    long = a_project(attributes={"note": "n" * 5_000})
    assert downgrade_state(long, steps).extensions == {}


def test_a_value_that_only_the_wider_type_holds_is_shown_as_it_is() -> None:
    steps = plans(version(1, column("mw", WHOLE)), version(2, column("mw", EXACT)))
    shown = [
        downgrade_state(a_project(attributes={"mw": Decimal(figure)}), steps).attributes["mw"]
        for figure in ("5", "5.5")
    ]
    assert [(type(value), value) for value in shown] == [(int, 5), (Decimal, Decimal("5.5"))]


def test_the_shape_of_a_version_is_served_until_the_first_sunset_of_what_went() -> None:
    leaving = column("grade", deprecated=True, sunset=SUNSET)
    unannounced = column("zone", sunset=EVE)
    first, second = version(1, leaving, unannounced), version(2, column("mw", WHOLE))
    assert support_end_date(plans(first, second)) == SUNSET
    assert support_end_date(plans(second, version(3))) is None
    assert support_end_date([]) is None


def test_a_version_does_not_end_with_columns_that_it_never_had() -> None:
    first = version(1, column("grade"))
    brief = column("tier", deprecated=True, sunset=SUNSET)
    second = version(2, column("grade"), brief)
    renamed = version(
        3, column("grade"), msgspec.structs.replace(brief, name="t", aliases=("tier",))
    )
    assert support_end_date(plans(first, second, renamed, version(4, column("grade")))) is None
    assert support_end_date(plans(second, renamed, version(4, column("grade")))) == SUNSET


def test_a_version_does_not_end_with_a_column_that_came_back() -> None:
    leaving = column("grade", deprecated=True, sunset=SUNSET)
    steps = plans(version(1, leaving), version(2), version(3, column("grade")))
    assert support_end_date(steps[:1]) == SUNSET
    assert support_end_date(steps) is None


@pytest.mark.parametrize("value", ["ab", "cd"])
def test_an_extension_that_equals_the_default_of_its_column_is_shown_again(value: str) -> None:
    steps = plans(version(1), version(2, column("c", default="ab")))
    wrote = a_project(extensions={"x_c": raw(f'"{value}"')})
    silent = a_project()
    read = upgrade_state(wrote, steps)
    assert read.attributes == {"c": value}
    assert downgrade_state(read, steps) == wrote
    assert downgrade_state(upgrade_state(silent, steps), steps) == silent


def test_a_promotion_is_remembered_by_later_documents() -> None:
    second = version(2, column("c", default="ab"))
    steps = plans(version(1), second)
    read = upgrade_state(a_project(extensions={"x_c": raw('"ab"')}), steps)
    for attributes in ({}, {"c": "zz"}, {"c": "ab"}):
        read = apply_amendment(read, {"sector": "Wind"}, attributes, {})
        document = encode_state("project", read, second)
        read = decode_state("project", document, second)  # type: ignore[assignment]  # its kind
        assert read.extensions == {}
    assert downgrade_state(read, steps).extensions == {"x_c": raw('"ab"')}
    removed = apply_amendment(read, {}, {"c": None}, {})
    assert downgrade_state(removed, steps).extensions == {}


def test_a_column_that_came_back_keeps_values_that_equal_its_new_default() -> None:
    steps = plans(version(1, column("c")), version(2), version(3, column("c", default="ab")))
    old = a_project(attributes={"c": "ab"})
    new = upgrade_state(old, steps)
    assert new.attributes == {"c": "ab"}
    assert downgrade_state(new, steps) == old


def test_a_field_of_an_old_version_is_asked_for_by_the_name_that_it_has_now() -> None:
    renamed = version(2, column("rating", aliases=("grade",)), column("mw", WHOLE))
    back = version(3, column("score", aliases=("rating",)), column("power", aliases=("mw",)))
    gone = carry_retired_columns(renamed, version(3, column("score", aliases=("rating",))))
    taken = version(4, column("score"), column("power", WHOLE, aliases=("mw",)))
    steps = [*plans(V1, renamed), plan_migration(renamed, gone), plan_migration(gone, taken)]
    assert [current_name(n, steps) for n in ("grade", "mw", "zone", "status")] == [
        "score",
        "power",
        "zone",
        "status",
    ]
    assert current_name("mw", [plan_migration(renamed, back)]) == "power"


def test_each_field_is_found_again_under_its_former_name() -> None:
    renamed = version(2, column("score", aliases=("grade",)), column("power", aliases=("mw",)))
    added = version(3, *renamed.columns, column("phase", WHOLE), column("due", WHOLE))
    moved = version(4, *renamed.columns, column("stage", WHOLE, aliases=("phase",)))
    steps = plans(V1, renamed, added, moved)
    for name in ("grade", "mw", "zone", "status", "total_amount"):
        assert former_name(current_name(name, steps), steps) == name
    # A column since is an extension there, also after a rename; a removed one keeps its name.
    assert [former_name(n, steps) for n in ("stage", "x_other", "due")] == [
        "x_phase",
        "x_other",
        "x_due",
    ]
    assert find_removal_days(steps).keys() == {"zone"}


def test_a_proof_is_asked_of_core_governed_and_kept_values_alike() -> None:
    project = a_project(
        sector="Solar", attributes={"mw": 7}, hidden_attributes={"grade": "AAA"}, dscr=None
    )
    wind = column("sector", enum=("Wind",))
    assert fault_code(project, Proof(stored_name="sector", column=wind)) == "not_in_enum"
    assert fault_code(project, Proof(stored_name="mw", column=column("mw", BIG, minimum=8))) == (
        "out_of_range"
    )
    assert fault_code(project, Proof(stored_name="grade", column=column("grade", pattern="A"))) == (
        "pattern_mismatch"
    )
    present = column("dscr", EXACT)
    assert fault_code(project, Proof(stored_name="dscr", column=present)) == ""
    assert (
        fault_code(project, Proof(stored_name="dscr", column=present, allows_null=False))
        == "missing"
    )


def fault_code(project: Project, proof: Proof) -> str:
    fault = find_violation(project, proof)
    return "" if fault is None else fault.code


@pytest.mark.parametrize(
    ("value", "type_", "expected"),
    [
        (5, BIG, 5),
        (5, EXACT, Decimal(5)),
        (Decimal("5.00"), WHOLE, 5),
        (5, ColumnType(TypeName.DOUBLE), 5.0),
        ("a", ColumnType(TypeName.STRING, max_length=1), "a"),
        (Decimal("0E+5"), ColumnType(TypeName.DECIMAL, precision=1, scale=0), Decimal(0)),
    ],
)
def test_a_cast_keeps_the_value(value: Value, type_: ColumnType, expected: Value) -> None:
    found = cast_value(value, type_)
    assert (type(found), found) == (type(expected), expected)


@pytest.mark.parametrize(
    ("value", "type_"),
    [
        (2**31, WHOLE),
        (Decimal("5.5"), WHOLE),
        (Decimal("5.555"), EXACT),
        (Decimal(12345678901), EXACT),
        (2**53 + 1, ColumnType(TypeName.DOUBLE)),
        (0.5, EXACT),
        (True, WHOLE),
        ("5", WHOLE),
        (date(2030, 1, 1), ColumnType(TypeName.TIMESTAMP)),
        ("ab", ColumnType(TypeName.STRING, max_length=1)),
    ],
)
def test_what_a_cast_would_change_is_rejected(value: Value, type_: ColumnType) -> None:
    with expect_invalid(("", "wrong_type")):
        cast_value(value, type_)


WHOLE_BODY = {"project_name": "A", "total_amount": NumberToken("1")}


def retiring(leaving: Column) -> SchemaValidator:
    return compile_schema(carry_retired_columns(version(1, leaving), version(2)))


def test_what_requests_say_of_a_retired_column_is_ignored_until_its_sunset() -> None:
    validator = retiring(column("grade", aliases=("mark",), deprecated=True, sunset=SUNSET))
    for name in ("grade", "mark"):
        for today in (None, EVE):
            read = validator.read({**WHOLE_BODY, name: "A"}, on_date=today)
            assert (read.governed, read.extensions) == ({}, {})
            (warning,) = read.warnings
            assert (warning.pointer, warning.code) == (f"/{name}", "retired")
            assert "version 2" in warning.detail
            assert "2030-06-15" in warning.detail
        with pytest.raises(InvalidInput) as exception:
            validator.read({**WHOLE_BODY, name: "A"}, on_date=SUNSET)
        (error,) = exception.value.errors
        assert (error.pointer, error.code) == (f"/{name}", "retired")
        assert "Sunset was 2030-06-15" in error.detail


def test_a_column_that_went_without_notice_is_ignored_for_good() -> None:
    validator = retiring(column("grade", sunset=SUNSET))
    read = validator.read({"grade": None}, partial=True, on_date=date(2999, 1, 1))
    assert [warning.code for warning in read.warnings] == ["retired"]


def test_the_name_of_a_retired_column_goes_to_the_column_that_takes_it() -> None:
    gone = carry_retired_columns(version(1, column("grade")), version(2))
    heir = compile_schema(
        carry_retired_columns(gone, version(3, column("rating", aliases=("grade",))))
    )
    read = heir.read({**WHOLE_BODY, "grade": "A"}, on_date=EVE)
    assert (read.governed, read.warnings) == ({"rating": "A"}, ())


def test_a_deprecated_column_says_until_when_it_is_there() -> None:
    leaving = column("grade", deprecated=True, sunset=SUNSET)
    (warning,) = compile_schema(version(1, leaving)).read({**WHOLE_BODY, "grade": "A"}).warnings
    assert warning.detail == "is deprecated and may go from 2030-06-15"


def test_a_schema_that_retired_something_is_compiled_for_itself() -> None:
    plain, knowing = version(2), carry_retired_columns(version(1, column("grade")), version(2))
    assert plain.fingerprint == knowing.fingerprint
    assert compile_schema(plain) is not compile_schema(knowing)
    assert compile_schema(knowing) is compile_schema(knowing)


def test_null_gives_a_required_column_its_default_again() -> None:
    tier = column("tier", required=True, default="B")
    read = compile_schema(version(1, tier)).read({"tier": None}, partial=True)
    assert read.governed == {"tier": "B"}


def draw_step(rng: random.Random) -> MigrationStep:
    """A step between a few names, so that one often meets what another left."""
    one, other = rng.sample("abcdef", 2)
    default = rng.choice([None, None, "filled"])
    source = rng.choice([None, other, f"x_{one}", f"x_{other}"])
    steps: list[MigrationStep] = [
        AddColumn(column=column(one), default=default, source_name=source),
        HideColumn(column=column(one)),
        ChangeType(name=one, before=TEXT, after=TEXT),
        RenameColumn(before=one, after=other),
        FillNulls(name=one, default="filled"),
    ]
    return rng.choice(steps)


@pytest.mark.parametrize("seed", range(300))
def test_steps_found_by_field_convert_as_all_in_turn(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = random.Random(seed)
    path = [
        MigrationPlan(
            schema_id="project_schema",
            old_version=number,
            new_version=number + 1,
            steps=tuple(draw_step(rng) for _ in range(rng.randrange(6))),
            proofs=(),
        )
        for number in range(rng.randrange(1, 8))
    ]
    names = rng.sample("abcdef", 4)
    project = a_project(
        attributes={name: name for name in names[:2]},
        hidden_attributes={name: name for name in names[2:3]},
        extensions={f"x_{name}": raw(f'"{name}"') for name in names[1:]},
    )
    monkeypatch.setattr(version_conversion, "MAX_STEPS_IN_TURN", 0)
    steps = VersionSteps(path)
    for first in range(len(path) + 1):
        assert steps.upgrade(project, first) == upgrade_state(project, path[first:])
    assert steps.downgrade(project) == downgrade_state(project, path)


def test_columns_that_came_and_went_take_no_step_of_a_state() -> None:
    wide = [[column(f"w{n}_{at}") for at in range(490)] for n in range(5)]
    first = version(1, column("grid"), column("left"))
    after = [version(2 * n + 2, column("grid"), *wide[n]) for n in range(5)]
    between = [version(2 * n + 3, column("grid")) for n in range(5)]
    path = plans(first, *(one for pair in zip(after, between, strict=True) for one in pair))
    project = a_project(attributes={"grid": "north", "left": "over"})
    taken: list[MigrationStep] = []
    hide = version_conversion._UPGRADE_STEPS[HideColumn]

    def note(fields: Any, step: MigrationStep) -> None:
        taken.append(step)
        hide(fields, step)

    with pytest.MonkeyPatch.context() as patched:
        for step_type in version_conversion._UPGRADE_STEPS:
            patched.setitem(version_conversion._UPGRADE_STEPS, step_type, note)
        upgraded = VersionSteps(path).upgrade(project)
    assert upgraded.hidden_attributes == {"left": "over"}
    assert taken == [HideColumn(column=column("left"))]
    assert sum(len(plan.steps) for plan in path) == 4_901
