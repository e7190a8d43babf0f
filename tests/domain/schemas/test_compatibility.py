"""Verdicts of every kind of schema change, every mode, every plan."""

from collections.abc import Sequence
from datetime import date
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.core_columns import CORE_BY_NAME
from spawn.domain.schemas.evolution.adoption_policy import judge_adoption
from spawn.domain.schemas.evolution.column_mapping import carry_retired_columns
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Compatibility,
    CompatibilityMode,
    Finding,
    Proof,
)
from spawn.domain.schemas.evolution.diff import compare_schemas
from spawn.domain.schemas.evolution.migration_plan import (
    AddColumn,
    ChangeType,
    FillNulls,
    HideColumn,
    RenameColumn,
    plan_migration,
)
from spawn.testing.builders import a_schema

pytestmark = pytest.mark.core

ON = date(2030, 6, 15)
BEFORE, AFTER = date(2030, 6, 15), date(2030, 6, 16)
"""The Sunset that is reached on the day, and the one that is not."""

TEXT = ColumnType(TypeName.STRING)
WHOLE = ColumnType(TypeName.INTEGER)


def text(max_length: int | None = None) -> ColumnType:
    return ColumnType(TypeName.STRING, max_length=max_length)


def exact(precision: int, scale: int) -> ColumnType:
    return ColumnType(TypeName.DECIMAL, precision=precision, scale=scale)


def column(name: str = "grade", type_: ColumnType = TEXT, **members: Any) -> Column:
    return Column(name=name, type=type_, **members)


def version(number: int, *columns: Column, **members: Any) -> Schema:
    governed = tuple(c for c in columns if c.name not in CORE_BY_NAME)
    return a_schema(columns, version=number, governed=governed, **members)


def findings(old: Sequence[Column], new: Sequence[Column]) -> tuple[Finding, ...]:
    return compare_schemas(version(1, *old), version(2, *new), on_date=ON).findings


def verdicts(finding: Finding) -> str:
    relations = (finding.rows, finding.writers, finding.readers)
    return " ".join(relations)


GRADE = column()
SECTOR = CORE_BY_NAME["sector"]
PLAIN, ENUM = column(), column(enum=("A", "B"))
NEEDED = column(required=True)
LEAVING = column(required=True, deprecated=True, sunset=BEFORE)
STAYING = column(required=True, deprecated=True, sunset=AFTER)


def with_(before: Column, **members: Any) -> Column:
    return msgspec.structs.replace(before, **members)


TABLE: dict[str, tuple[list[Column], list[Column], str, ChangeKind, str]] = {
    "add optional": (
        [],
        [GRADE],
        "/columns/grade",
        ChangeKind.ADDED_OPTIONAL,
        "if_proven yes yes",
    ),
    "add with default": (
        [],
        [column(required=True, default="A")],
        "/columns/grade",
        ChangeKind.ADDED_WITH_DEFAULT,
        "if_proven yes yes",
    ),
    "add optional with default": (
        [],
        [column(default="A")],
        "/columns/grade",
        ChangeKind.ADDED_WITH_DEFAULT,
        "if_proven yes yes",
    ),
    "add required": ([], [NEEDED], "/columns/grade", ChangeKind.ADDED_REQUIRED, "no no yes"),
    "deprecate": (
        [NEEDED],
        [LEAVING],
        "/columns/grade/deprecated",
        ChangeKind.DEPRECATED,
        "yes yes yes",
    ),
    "another Sunset": (
        [LEAVING],
        [STAYING],
        "/columns/grade/deprecated",
        ChangeKind.DEPRECATED,
        "yes yes yes",
    ),
    "withdraw the notice": (
        [LEAVING],
        [NEEDED],
        "/columns/grade/deprecated",
        ChangeKind.UNDEPRECATED,
        "yes yes yes",
    ),
    "remove optional": (
        [GRADE],
        [],
        "/columns/grade",
        ChangeKind.REMOVED_OPTIONAL,
        "yes yes yes",
    ),
    "remove optional with default, which every response had": (
        [column(default="A")],
        [],
        "/columns/grade",
        ChangeKind.REMOVED_OPTIONAL,
        "yes yes no",
    ),
    "remove required": (
        [NEEDED],
        [],
        "/columns/grade",
        ChangeKind.REMOVED_REQUIRED,
        "yes yes no",
    ),
    "make optional": (
        [NEEDED],
        [GRADE],
        "/columns/grade/required",
        ChangeKind.MADE_OPTIONAL,
        "yes yes no",
    ),
    "make required": (
        [GRADE],
        [NEEDED],
        "/columns/grade/required",
        ChangeKind.MADE_REQUIRED,
        "if_proven no yes",
    ),
    "make required with a default": (
        [column(default="A")],
        [column(default="A", required=True)],
        "/columns/grade/required",
        ChangeKind.MADE_REQUIRED,
        "yes yes yes",
    ),
    "make a core column required": (
        [],
        [with_(SECTOR, required=True)],
        "/columns/sector/required",
        ChangeKind.MADE_REQUIRED,
        "if_proven no yes",
    ),
    "change a default, which requests without a value meant": (
        [column(default="A")],
        [column(default="B")],
        "/columns/grade/default",
        ChangeKind.DEFAULT_CHANGED,
        "yes no yes",
    ),
    "drop a default": (
        [column(default="A")],
        [GRADE],
        "/columns/grade/default",
        ChangeKind.DEFAULT_CHANGED,
        "yes no yes",
    ),
    "give a default to an optional column": (
        [GRADE],
        [column(default="A")],
        "/columns/grade/default",
        ChangeKind.DEFAULT_CHANGED,
        "yes yes yes",
    ),
    "make optional what null returned to its default": (
        [column(required=True, default="A")],
        [column(default="A")],
        "/columns/grade/required",
        ChangeKind.MADE_OPTIONAL,
        "yes no no",
    ),
    "drop the default of what is required": (
        [column(default="A", required=True)],
        [NEEDED],
        "/columns/grade/default",
        ChangeKind.DEFAULT_CHANGED,
        "yes no yes",
    ),
    "extend an enumeration": (
        [ENUM],
        [column(enum=("A", "B", "C"))],
        "/columns/grade/enum",
        ChangeKind.ENUM_EXTENDED,
        "yes yes no",
    ),
    "lift an enumeration": (
        [ENUM],
        [PLAIN],
        "/columns/grade/enum",
        ChangeKind.ENUM_EXTENDED,
        "yes yes no",
    ),
    "reduce an enumeration": (
        [ENUM],
        [column(enum=("A",))],
        "/columns/grade/enum",
        ChangeKind.ENUM_REDUCED,
        "if_proven no yes",
    ),
    "introduce an enumeration": (
        [PLAIN],
        [ENUM],
        "/columns/grade/enum",
        ChangeKind.ENUM_REDUCED,
        "if_proven no yes",
    ),
    "introduce an enumeration of a core column": (
        [],
        [with_(SECTOR, enum=("Solar",))],
        "/columns/sector/enum",
        ChangeKind.ENUM_REDUCED,
        "if_proven no yes",
    ),
    "list an enumeration in another order": (
        [ENUM],
        [column(enum=("B", "A"))],
        "/columns/grade/enum",
        ChangeKind.REORDERED,
        "yes yes yes",
    ),
    "lower a minimum": (
        [column("mw", WHOLE, minimum=5)],
        [column("mw", WHOLE, minimum=1)],
        "/columns/mw/minimum",
        ChangeKind.CONSTRAINT_LOOSENED,
        "yes yes no",
    ),
    "raise a minimum": (
        [column("mw", WHOLE, minimum=5)],
        [column("mw", WHOLE, minimum=6)],
        "/columns/mw/minimum",
        ChangeKind.CONSTRAINT_TIGHTENED,
        "if_proven no yes",
    ),
    "drop a maximum": (
        [column("mw", WHOLE, maximum=5)],
        [column("mw", WHOLE)],
        "/columns/mw/maximum",
        ChangeKind.CONSTRAINT_LOOSENED,
        "yes yes no",
    ),
    "introduce a maximum": (
        [column("mw", WHOLE)],
        [column("mw", WHOLE, maximum=5)],
        "/columns/mw/maximum",
        ChangeKind.CONSTRAINT_TIGHTENED,
        "if_proven no yes",
    ),
    "raise a maximum of a core column back to the core's": (
        [with_(CORE_BY_NAME["maturity_years"], maximum=Decimal(30))],
        [],
        "/columns/maturity_years/maximum",
        ChangeKind.CONSTRAINT_LOOSENED,
        "yes yes no",
    ),
    "introduce a pattern": (
        [PLAIN],
        [column(pattern="[A-Z]")],
        "/columns/grade/pattern",
        ChangeKind.CONSTRAINT_TIGHTENED,
        "if_proven no yes",
    ),
    "change a pattern, which may do both": (
        [column(pattern="[A-Z]")],
        [column(pattern="[A-Z]+")],
        "/columns/grade/pattern",
        ChangeKind.CONSTRAINT_TIGHTENED,
        "if_proven no no",
    ),
    "drop a pattern": (
        [column(pattern="[A-Z]")],
        [PLAIN],
        "/columns/grade/pattern",
        ChangeKind.CONSTRAINT_LOOSENED,
        "yes yes no",
    ),
    "rename with the old name as alias": (
        [GRADE],
        [column("rating", aliases=("grade",))],
        "/columns/rating/name",
        ChangeKind.RENAMED,
        "yes yes no",
    ),
    "a second column under one name": (
        [GRADE, column("mark")],
        [column("rating", aliases=("grade", "mark"))],
        "/columns/rating/aliases",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
    "a column under the name of one that is there": (
        [GRADE, column("rating")],
        [column("rating", aliases=("grade",))],
        "/columns/rating/aliases",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
    "add an alias": (
        [GRADE],
        [column(aliases=("mark",))],
        "/columns/grade/aliases",
        ChangeKind.ALIAS_ADDED,
        "yes yes yes",
    ),
    "drop an alias": (
        [column(aliases=("mark",))],
        [GRADE],
        "/columns/grade/aliases",
        ChangeKind.ALIAS_REMOVED,
        "yes no yes",
    ),
    "drop an alias of a core column": (
        [with_(SECTOR, aliases=("industry",))],
        [],
        "/columns/sector/aliases",
        ChangeKind.ALIAS_REMOVED,
        "yes no yes",
    ),
    "describe": (
        [GRADE],
        [column(description="Of the sponsor.")],
        "/columns/grade/description",
        ChangeKind.TEXT_CHANGED,
        "yes yes yes",
    ),
    "describe a core column": (
        [],
        [with_(SECTOR, description="By our taxonomy.")],
        "/columns/sector/description",
        ChangeKind.TEXT_CHANGED,
        "yes yes yes",
    ),
    "state a unit that was unsaid": (
        [column("mw", WHOLE)],
        [column("mw", WHOLE, unit="MW")],
        "/columns/mw/unit",
        ChangeKind.TEXT_CHANGED,
        "yes yes yes",
    ),
    "change a unit": (
        [column("mw", WHOLE, unit="kW")],
        [column("mw", WHOLE, unit="MW")],
        "/columns/mw/unit",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
    "withdraw a unit": (
        [column("mw", WHOLE, unit="MW")],
        [column("mw", WHOLE)],
        "/columns/mw/unit",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
    "change the semantics": (
        [column(semantic="urn:a")],
        [column(semantic="urn:b")],
        "/columns/grade/semantic",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
    "change the semantics of a core column": (
        [],
        [with_(CORE_BY_NAME["total_amount"], semantic="urn:b")],
        "/columns/total_amount/semantic",
        ChangeKind.MEANING_CHANGED,
        "no no no",
    ),
}


@pytest.mark.parametrize(("old", "new", "path", "kind", "expected"), TABLE.values(), ids=TABLE)
def test_each_change_has_its_verdicts(
    old: list[Column], new: list[Column], path: str, kind: ChangeKind, expected: str
) -> None:
    found = {(f.path, f.kind): f for f in findings(old, new)}
    finding = found[path, kind]
    assert verdicts(finding) == expected
    assert finding.reason.endswith(".")
    assert finding.consequence.endswith(".")
    assert len(found) == 1 or kind is ChangeKind.MEANING_CHANGED


INTEGER, BIGINT = ColumnType(TypeName.INTEGER), ColumnType(TypeName.BIGINT)
DOUBLE, DATE = ColumnType(TypeName.DOUBLE), ColumnType(TypeName.DATE)
BOOLEAN, INSTANT = ColumnType(TypeName.BOOLEAN), ColumnType(TypeName.TIMESTAMP)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (text(5), text(6)),
        (text(5), text()),
        (text(10_000), text()),
        (INTEGER, BIGINT),
        (INTEGER, DOUBLE),
        (INTEGER, exact(10, 0)),
        (INTEGER, exact(14, 4)),
        (BIGINT, exact(19, 0)),
        (exact(10, 2), exact(11, 2)),
        (exact(10, 2), exact(11, 3)),
    ],
    ids=str,
)
def test_a_wider_type_holds_every_value(before: ColumnType, after: ColumnType) -> None:
    (finding,) = findings([column("mw", before)], [column("mw", after)])
    assert finding.kind is ChangeKind.TYPE_WIDENED
    assert verdicts(finding) == "yes yes no"
    # Text without a length is as long as the longest.
    assert before == text(10_000) or is_type_change(column("mw", after), column("mw", before))


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (INTEGER, exact(13, 4)),
        (BIGINT, exact(18, 0)),
        (BIGINT, DOUBLE),
        (exact(10, 2), DOUBLE),
        (exact(10, 2), exact(10, 3)),
        (exact(10, 2), exact(12, 1)),
        (DOUBLE, exact(38, 10)),
        (DATE, INSTANT),
        (INSTANT, DATE),
        (INTEGER, text()),
        (DATE, text()),
        (BOOLEAN, INTEGER),
        (text(), BOOLEAN),
    ],
    ids=str,
)
def test_any_other_type_is_rejected(before: ColumnType, after: ColumnType) -> None:
    assert is_type_change(column("mw", before), column("mw", after))


def is_type_change(before: Column, after: Column) -> bool:
    found = {f.kind: f for f in findings([before], [after])}
    return verdicts(found[ChangeKind.TYPE_CHANGED]) == "no no no"


def test_an_amount_is_another_type_on_the_wire() -> None:
    """Text where it was a number: by the name alone."""
    ratio, amount = column("cost", exact(10, 2)), column("cost_amount", exact(10, 2))
    assert is_type_change(ratio, with_(amount, aliases=("cost",)))
    assert is_type_change(amount, with_(ratio, aliases=("cost_amount",)))
    assert is_type_change(column("cost_amount", INTEGER), column("cost_amount", exact(12, 2)))


def test_unlike_bounds_are_not_compared() -> None:
    old = column("since", DATE, minimum=date(2000, 1, 1), enum=(date(2000, 1, 1),))
    assert is_type_change(old, column("since", INTEGER, minimum=1, enum=(1,)))


@pytest.mark.parametrize(
    ("leaving", "early"),
    [
        (NEEDED, True),
        (STAYING, True),
        (column(required=True, sunset=BEFORE), True),
        (column(required=True, deprecated=True), True),
        (LEAVING, False),
        (GRADE, False),
        (column(deprecated=True, sunset=AFTER), False),
    ],
)
def test_a_required_column_is_removed_only_after_its_sunset(
    leaving: Column, *, early: bool
) -> None:
    (finding,) = findings([leaving], [])
    assert finding.is_early is early
    active, candidate = version(1, leaving), version(2)
    for mode in CompatibilityMode:
        adoptable = judge_adoption(candidate, active, [], mode, ON).is_adoptable
        demands_readers = mode.startswith(("forward", "full"))
        held = mode is CompatibilityMode.NONE or not early
        assert adoptable is (held and not (demands_readers and leaving.required))


def test_a_schema_of_another_id_and_a_redefined_term_are_other_meanings() -> None:
    old = version(1, GRADE, context=msgspec.Raw(b'{"grade": "urn:a", "g": "urn:x"}'))
    another = version(2, GRADE, id="asset_schema")
    redefined = version(2, GRADE, context=msgspec.Raw(b'["urn:base", {"grade": "urn:b"}]'))
    same = version(2, GRADE, name="Deals", context=msgspec.Raw(b'{"grade": "urn:a", "h": "urn:y"}'))
    # What stands before a null has no effect.
    reset = version(
        2, GRADE, name="Deals", context=msgspec.Raw(b'["u:b", null, {"grade": "urn:a"}]')
    )
    for new, path in ((another, "/id"), (redefined, "/@context")):
        found = {f.path: f for f in compare_schemas(old, new, on_date=ON).findings}
        assert verdicts(found[path]) == "no no no"
    for new in (same, reset):
        found_kinds = {f.kind for f in compare_schemas(old, new, on_date=ON).findings}
        assert found_kinds == {ChangeKind.TEXT_CHANGED}


def test_the_same_columns_in_another_order_are_reordered() -> None:
    (finding,) = findings([GRADE, column("mark")], [column("mark"), GRADE])
    assert finding.kind is ChangeKind.REORDERED
    assert findings([GRADE, column("mark")], [GRADE, column("mark")]) == ()


def test_a_comparison_has_the_worst_verdicts_of_its_findings() -> None:
    comparison = compare_schemas(
        version(1, ENUM, column("mw", WHOLE)), version(2, column(enum=("A",))), on_date=ON
    )
    assert (comparison.rows, comparison.writers, comparison.readers) == (
        Compatibility.IF_PROVEN,
        Compatibility.NO,
        Compatibility.YES,
    )
    assert comparison.proofs == (Proof(stored_name="grade", column=column(enum=("A",))),)


MODES = {
    CompatibilityMode.NONE: "rows",
    CompatibilityMode.BACKWARD: "rows writers",
    CompatibilityMode.BACKWARD_TRANSITIVE: "rows writers",
    CompatibilityMode.FORWARD: "rows readers",
    CompatibilityMode.FORWARD_TRANSITIVE: "rows readers",
    CompatibilityMode.FULL: "rows writers readers",
    CompatibilityMode.FULL_TRANSITIVE: "rows writers readers",
}
BREAKS = {
    "rows writers": ([], [NEEDED]),
    "writers": ([column(aliases=("mark",))], [GRADE]),
    "readers": ([NEEDED], [GRADE]),
    "rows writers readers": ([column(unit="MW")], [column(unit="kW")]),
    "": ([], [GRADE]),
}


@pytest.mark.parametrize("mode", CompatibilityMode)
@pytest.mark.parametrize("broken", BREAKS)
def test_each_mode_requires_its_relations(mode: CompatibilityMode, broken: str) -> None:
    old, new = BREAKS[broken]
    judgement = judge_adoption(version(2, *new), version(1, *old), [], mode, ON)
    has_violations = set(broken.split()) & set(MODES[mode].split())
    assert judgement.is_adoptable is not bool(has_violations)
    assert bool(judgement.violations) is bool(has_violations)
    for relation in has_violations:
        assert relation in judgement.violations[0]


def history(*versions: Schema) -> list[Schema]:
    """Versions as a store holds them, each knowing what the ones before retired."""
    known = [versions[0]]
    for schema in versions[1:]:
        known.append(carry_retired_columns(known[-1], schema))
    return known


@pytest.mark.parametrize("mode", CompatibilityMode)
def test_transitive_modes_check_every_earlier_version(mode: CompatibilityMode) -> None:
    """Two steps that each keep an alias may together lose one."""
    first, second = history(
        version(1, column("grade")), version(2, column("rating", aliases=("grade",)))
    )
    third = version(3, column("score", aliases=("rating",)))
    judgement = judge_adoption(third, second, [first], mode, ON)
    transitive = mode.endswith("_transitive")
    assert [c.old_version for c in judgement.comparisons] == ([2, 1] if transitive else [2])
    mentions_version_1 = any("version 1" in violation for violation in judgement.violations)
    assert mentions_version_1 is (
        mode in {CompatibilityMode.BACKWARD_TRANSITIVE, CompatibilityMode.FULL_TRANSITIVE}
    )


def test_a_break_that_was_decided_is_not_held_against_later_versions() -> None:
    first, second = history(version(1, column(aliases=("mark",))), version(2, GRADE))
    third = version(3, GRADE, column("mw", WHOLE))
    assert not judge_adoption(
        second, first, [], CompatibilityMode.BACKWARD_TRANSITIVE, ON
    ).is_adoptable
    assert judge_adoption(
        third, second, [first], CompatibilityMode.BACKWARD_TRANSITIVE, ON
    ).is_adoptable


def test_a_notice_given_later_counts_for_every_earlier_version() -> None:
    first, second = history(version(1, NEEDED), version(2, LEAVING))
    assert judge_adoption(
        version(3), second, [first], CompatibilityMode.BACKWARD_TRANSITIVE, ON
    ).is_adoptable
    _, _, third = history(first, second, version(3))
    fourth = version(4, column("mw", WHOLE))
    assert judge_adoption(
        fourth, third, [second, first], CompatibilityMode.BACKWARD_TRANSITIVE, ON
    ).is_adoptable


def test_a_plan_renames_widens_adds_fills_and_hides_in_that_order() -> None:
    old = version(1, column("out"), column("grade"), column("mw", WHOLE), column("tier", text(3)))
    rating = column("rating", aliases=("grade",))
    tier = column("tier", text(5), required=True, default="A")
    mw, new = column("mw", BIGINT), column("zone", default="Z")
    plan = plan_migration(old, version(2, new, tier, mw, rating))
    assert plan.steps == (
        RenameColumn(before="grade", after="rating"),
        ChangeType(name="tier", before=text(3), after=text(5)),
        ChangeType(name="mw", before=WHOLE, after=BIGINT),
        AddColumn(column=new, default="Z", source_name="x_zone"),
        FillNulls(name="tier", default="A"),
        HideColumn(column=column("out")),
    )
    assert (plan.schema_id, plan.old_version, plan.new_version) == ("project_schema", 1, 2)
    assert plan.proofs == (Proof(stored_name="x_zone", column=new),)


def test_a_plan_for_notices_and_texts_has_no_steps() -> None:
    plan = plan_migration(version(1, NEEDED), version(2, with_(LEAVING, description="Old.")))
    assert (plan.steps, plan.proofs) == ((), ())


def test_a_restored_column_gets_its_stored_values() -> None:
    _, gone = history(version(1, column("mw", WHOLE, unit="MW")), version(2))
    assert [(c.name, c.since) for c in gone.retired] == [("mw", 2)]
    back = column("mw", BIGINT, unit="MW", minimum=1)
    plan = plan_migration(gone, version(3, back))
    assert plan.steps == (AddColumn(column=back, default=None, source_name="mw"),)
    assert plan.proofs == (Proof(stored_name="mw", column=back),)
    assert carry_retired_columns(gone, version(3, back)).retired == ()


def test_a_column_can_be_restored_under_another_name() -> None:
    _, gone = history(version(1, column("mw", WHOLE)), version(2))
    power = column("power_mw", WHOLE, aliases=("mw",))
    assert plan_migration(gone, version(3, power)).steps == (
        AddColumn(column=power, default=None, source_name="mw"),
    )


@pytest.mark.parametrize(
    "back", [column("mw", text(), unit="MW"), column("mw", WHOLE, unit="kW")], ids=["type", "unit"]
)
def test_the_name_of_a_retired_column_keeps_its_meaning(back: Column) -> None:
    _, gone = history(version(1, column("mw", WHOLE, unit="MW")), version(2))
    judgement = judge_adoption(version(3, back), gone, [], CompatibilityMode.NONE, ON)
    assert not judgement.is_adoptable
    assert "Version 2 retired mw" in judgement.violations[0]


def test_no_column_is_renamed_to_a_name_with_stored_values() -> None:
    _, gone = history(version(1, GRADE, column("mark")), version(2, GRADE))
    judgement = judge_adoption(
        version(3, column("mark", aliases=("grade",))), gone, [], CompatibilityMode.NONE, ON
    )
    assert "values are kept" in judgement.violations[0]


def test_an_alias_of_a_column_that_goes_is_not_given_to_another() -> None:
    """Requests that used it would be read as something else."""
    old, new = [column("grade", aliases=("mark",))], [column("mark", exact(4, 1))]
    found = {f.kind: f for f in findings(old, new)}
    assert found[ChangeKind.REMOVED_OPTIONAL].writers is Compatibility.NO


def test_sentences_name_the_column_and_the_figures() -> None:
    (finding,) = findings(
        [column("mw", exact(4, 1), minimum=Decimal("0.5"))],
        [column("mw", exact(4, 1), minimum=Decimal(1))],
    )
    assert finding.reason == "The minimum of mw is 1 and was 0.5."


def test_an_approved_break_waives_no_other_break_of_its_relation() -> None:
    """Clients of version 1 say q for b; the approval of a lower maximum does not give q away."""
    limit = column("a", WHOLE, maximum=50)
    first, second = history(
        version(1, column("b", aliases=("q",)), with_(limit, maximum=100)), version(2, limit)
    )
    mode = CompatibilityMode.BACKWARD_TRANSITIVE
    unrelated = version(3, limit, column("q", description="something else"))
    judgement = judge_adoption(unrelated, second, [first], mode, ON)
    (violation,) = judgement.violations
    assert violation.startswith("/columns/b breaks the writers of version 1: ")
    assert judge_adoption(version(3, limit, GRADE), second, [first], mode, ON).is_adoptable


def test_a_violation_names_all_versions_at_once() -> None:
    """Versions that differ in texts are judged once, and one sentence names those it concerns."""
    described = [version(n, column(description=f"Text {n}.")) for n in range(1, 9)]
    *earlier, active = history(*described)
    judgement = judge_adoption(
        version(9, column(type_=WHOLE)), active, earlier, CompatibilityMode.FULL_TRANSITIVE, ON
    )
    reasons = [violation.partition(": ") for violation in judgement.violations]
    assert [head for head, *_ in reasons] == [
        "/columns/grade/type breaks the rows and writers and readers of 8 versions from 1 to 8"
    ]
    assert [c.old_version for c in judgement.comparisons] == [8, 7]


SOON, LATER = date(2030, 7, 1), date(2030, 9, 1)


def leaving(sunset: date | None) -> Column:
    return column(required=True, deprecated=True, sunset=sunset)


@pytest.mark.parametrize(
    ("columns", "is_adoptable"),
    [
        ([NEEDED, leaving(SOON)], True),
        ([leaving(SOON), leaving(LATER)], True),
        ([leaving(LATER), leaving(None)], True),
        ([leaving(LATER), leaving(SOON)], False),
        ([leaving(LATER), leaving(date(2030, 6, 14))], False),
        # A Sunset that nobody could know of before it passed.
        ([NEEDED, leaving(date(2030, 6, 14))], False),
        ([NEEDED, leaving(ON)], True),
        # Withdrawing a notice in between does not shorten it.
        ([leaving(LATER), NEEDED, leaving(SOON)], False),
        ([leaving(LATER), leaving(None), leaving(SOON)], False),
        ([leaving(LATER), NEEDED, leaving(LATER)], True),
        ([leaving(SOON), leaving(LATER), leaving(SOON)], False),
    ],
)
@pytest.mark.parametrize("mode", [CompatibilityMode.BACKWARD, CompatibilityMode.FORWARD_TRANSITIVE])
def test_a_notice_never_shortens(
    columns: list[Column], *, is_adoptable: bool, mode: CompatibilityMode
) -> None:
    *before, candidate = (version(n, one) for n, one in enumerate(columns, start=1))
    *earlier, active = history(*before)
    judgement = judge_adoption(candidate, active, earlier, mode, ON)
    assert judgement.is_adoptable is is_adoptable
    assert all("too little notice" in violation for violation in judgement.violations)


def test_a_shortened_notice_that_was_approved_is_not_held_against_later_versions() -> None:
    first, second = history(version(1, leaving(LATER)), version(2, leaving(SOON)))
    third = version(3, leaving(SOON), column("mw", WHOLE))
    assert judge_adoption(third, second, [first], CompatibilityMode.BACKWARD, ON).is_adoptable


def context(**terms: Any) -> dict[str, Any]:
    return {"context": msgspec.Raw(msgspec.json.encode(terms))}


EX = context(ex="http://a/", zone="ex:zone")


A_ZONE = "http://a/zone"


@pytest.mark.parametrize(
    ("before", "after", "is_kept"),
    [
        # The prefix has another IRI, or another name for the same one.
        (context(ex="http://a/", zone="ex:zone"), context(ex="http://b/", zone="ex:zone"), False),
        (context(ex="http://a/", zone="ex:zone"), context(xx="http://a/", zone="xx:zone"), True),
        (context(ex="http://a/", zone="ex:zone"), context(zone=A_ZONE), True),
        (context(ex="http://a/", zone="ex:zone"), context(zone={"@id": A_ZONE}), True),
        # The term is gone, or null.
        (context(ex="http://a/", zone="ex:zone"), context(ex="http://a/"), False),
        (context(zone=A_ZONE), {}, False),
        (context(zone=A_ZONE), context(zone=None), False),
        # The vocabulary gives the IRI.
        (context(**{"@vocab": "http://a/"}), context(zone=A_ZONE), True),
        (context(**{"@vocab": "http://a/"}), context(**{"@vocab": "http://b/"}), False),
        (context(**{"@vocab": "http://a/"}), {}, False),
        (context(ex="http://a/", **{"@vocab": "ex:"}), context(**{"@vocab": "http://a/"}), True),
        ({}, context(zone=A_ZONE), True),
        # A circle has no IRI, and ends.
        (context(ex="xx:", xx="ex:", zone="ex:zone"), context(zone=A_ZONE), False),
        (context(zone={"@id": A_ZONE, "@type": "xsd:int"}), context(zone=A_ZONE), False),
        (context(zone=A_ZONE), context(zone={"@id": A_ZONE, "@type": "xsd:int"}), True),
        (context(zone=A_ZONE), context(zone={"@id": A_ZONE, "@type": "@id"}), False),
        (context(zone=A_ZONE), context(zone={"@id": A_ZONE, "@language": "de"}), False),
        (context(zone=A_ZONE), context(zone={"@id": A_ZONE, "@container": "@list"}), False),
        (context(zone=A_ZONE), context(zone={"@id": A_ZONE, "@protected": True}), True),
        (
            context(**{"@vocab": "http://a/"}),
            context(zone={"@type": "xsd:int"}, **{"@vocab": "http://a/"}),
            True,
        ),
        # A prefix is a plain IRI that ends with a delimiter, or is said to be one.
        (EX, context(ex={"@id": "http://a/"}, zone="ex:zone"), False),
        (EX, context(ex={"@id": "http://a/", "@prefix": False}, zone="ex:zone"), False),
        (EX, context(ex={"@id": "http://a/", "@prefix": True}, zone="ex:zone"), True),
        (context(zone="http://a/xzone"), context(ex="http://a/x", zone="ex:zone"), False),
        (
            context(zone="http://a/xzone"),
            context(ex={"@id": "http://a/x", "@prefix": True}, zone="ex:zone"),
            True,
        ),
        (context(zone="http://a#zone"), context(ex="http://a#", zone="ex:zone"), True),
        (context(zone="http://a/zone"), context(ex="yy", yy="http://a/", zone="ex:zone"), True),
    ],
)
def test_iris_are_compared_as_the_context_expands_them(
    before: dict[str, Any], after: dict[str, Any], *, is_kept: bool
) -> None:
    zone = column("zone")
    comparison = compare_schemas(version(1, zone, **before), version(2, zone, **after), on_date=ON)
    assert comparison.rows is (Compatibility.YES if is_kept else Compatibility.NO)


@pytest.mark.parametrize(
    ("before", "after", "terms", "is_kept"),
    [
        ("ex:zone", A_ZONE, {"ex": "http://a/"}, True),
        ("ex:zone", "http://b/zone", {"ex": "http://a/"}, False),
        (A_ZONE, None, {"zone": A_ZONE}, True),
        (A_ZONE, None, {}, False),
        (None, A_ZONE, {}, True),
        (None, A_ZONE, {"@vocab": "http://a/"}, True),
        (None, "http://b/zone", {"zone": A_ZONE}, False),
    ],
)
def test_a_semantic_counts_as_its_expanded_iri(
    before: str | None, after: str | None, terms: dict[str, Any], *, is_kept: bool
) -> None:
    old, new = column("zone", semantic=before), column("zone", semantic=after)
    first, second = version(1, old, **context(**terms)), version(2, new, **context(**terms))
    comparison = compare_schemas(first, second, on_date=ON)
    assert comparison.rows is (Compatibility.YES if is_kept else Compatibility.NO)


def test_a_rename_and_a_return_keep_the_iri_of_the_column() -> None:
    terms = context(ex="http://a/", zone="ex:zone", area="ex:zone")
    first = version(1, column("zone"), **terms)
    area = column("area", aliases=("zone",))
    vocabulary = context(**{"@vocab": "http://a/"})
    renamed = compare_schemas(first, version(2, area, **terms), on_date=ON)
    assert renamed.rows is Compatibility.YES
    by_vocabulary = compare_schemas(
        version(1, column("zone"), **vocabulary), version(2, area, **vocabulary), on_date=ON
    )
    assert by_vocabulary.rows is Compatibility.YES
    lost = compare_schemas(first, version(2, area, **context(area="http://b/area")), on_date=ON)
    assert lost.rows is Compatibility.NO
    _, without = history(first, version(2))
    back = compare_schemas(without, version(3, column("zone", semantic=A_ZONE)), on_date=ON)
    assert back.rows is Compatibility.IF_PROVEN
    other = version(3, column("zone"), **context(ex="http://b/", zone="ex:zone"))
    assert compare_schemas(without, other, on_date=ON).rows is Compatibility.NO
