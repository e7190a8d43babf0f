"""Rules that compare one column before and after, each on one of its members.

The verdicts apply to stored rows, to requests written for the old version, and to clients that
validate responses against the old version's JSON Schema.
"""

from collections.abc import Iterator
from typing import Any

from spawn.domain.schema_version import Column
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Finding, Proof
from spawn.domain.schemas.evolution.findings import (
    BREAKS_READERS,
    COMPATIBLE,
    IF_PROVEN,
    INCOMPATIBLE,
    NO,
    YES,
    build_finding,
    build_meaning_finding,
    build_path,
    build_text_finding,
    format_value,
    join_values,
)
from spawn.domain.schemas.evolution.type_widening import has_same_type, is_widening


def compare_column(before: Column, after: Column) -> Iterator[Finding]:
    """Apply every rule to one column."""
    yield from compare_type(before, after)
    yield from _compare_presence(before, after)
    if has_same_type(before, after) or is_widening(before, after):
        # Values of two unrelated types cannot be compared.
        yield from _compare_enum(before, after)
        yield from _compare_limits(before, after)
        yield from _compare_pattern(before, after)
    yield from compare_unit(before, after)
    yield from _compare_aliases(before, after)
    if before.description != after.description:
        yield build_text_finding(
            build_path(after, "description"), f"The description of {after.name} changed."
        )


def compare_type(before: Column, after: Column) -> Iterator[Finding]:
    """Compare the type, which may become another, or wider."""
    if has_same_type(before, after):
        return
    path = build_path(after, "type")
    reason = f"{after.name} is {after.type.with_article} where it was {before.type.with_article}."
    if before.type == after.type:
        json_form = "a decimal string" if after.is_amount else "a JSON number"
        reason = f"{after.name} is {json_form} on the wire and {before.name} was not."
    if is_widening(before, after):
        consequence = "Stored values and requests stay valid. Responses may have larger values."
        yield build_finding(path, ChangeKind.TYPE_WIDENED, BREAKS_READERS, reason, consequence)
        return
    consequence = "Stored values and requests cannot all be read as the new type."
    yield build_finding(path, ChangeKind.TYPE_CHANGED, INCOMPATIBLE, reason, consequence)


def _compare_presence(before: Column, after: Column) -> Iterator[Finding]:
    """Compare whether the column is required, and its default."""
    path, name = build_path(after, "required"), after.name
    if before.required and not after.required:
        reason, consequence = f"{name} is now optional.", "Responses may have null."
        verdicts = BREAKS_READERS
        if before.default is not None:
            consequence += f" A null in a request meant {format_value(before.default)}."
            verdicts = (YES, NO, NO)
        yield build_finding(path, ChangeKind.MADE_OPTIONAL, verdicts, reason, consequence)
    elif after.required and not before.required and after.default is not None:
        yield build_finding(
            path,
            ChangeKind.MADE_REQUIRED,
            COMPATIBLE,
            f"{name} is now required, with a default.",
            f"Rows and requests without it get {format_value(after.default)}.",
        )
    elif after.required and not before.required:
        yield build_finding(
            path,
            ChangeKind.MADE_REQUIRED,
            (IF_PROVEN, NO, YES),
            f"{name} is now required, without a default.",
            "Every stored project must have a value. Requests without it are rejected.",
            Proof(stored_name=before.name, column=after, allows_null=False),
        )
    if before.default != after.default:
        yield _compare_default(before, after)


def _compare_default(before: Column, after: Column) -> Finding:
    path = build_path(after, "default")
    old, new = format_value(before.default), format_value(after.default)
    reason = f"The default of {after.name} is {new} and was {old}."
    verdicts = COMPATIBLE
    consequence = "Stored values stay. Requests without it follow the new version."
    if after.default is None and before.required and after.required:
        verdicts, consequence = (YES, NO, YES), "Requests without it are rejected."
    elif before.default is not None:
        # The request stays valid and says something else: nobody would notice.
        verdicts = (YES, NO, YES)
        consequence = f"Stored values stay. Requests without it meant {old} and would mean {new}."
    return build_finding(path, ChangeKind.DEFAULT_CHANGED, verdicts, reason, consequence)


def _compare_enum(before: Column, after: Column) -> Iterator[Finding]:
    if before.enum == after.enum:
        return
    path = build_path(after, "enum")
    old, new = before.enum, after.enum
    is_reduced = new is not None and (old is None or not {*old} <= {*new})
    is_extended = old is not None and (new is None or not {*new} <= {*old})
    if is_extended:
        old_values = {*(old or ())}
        added_values = (
            "any value" if new is None else join_values(v for v in new if v not in old_values)
        )
        yield build_finding(
            path,
            ChangeKind.ENUM_EXTENDED,
            BREAKS_READERS,
            f"{after.name} may also be {added_values}.",
            "Responses may have values that old clients do not know.",
        )
    if is_reduced:
        new_values = {*(new or ())}
        removed_values = "anything else"
        if old:
            removed_values = join_values(value for value in old if value not in new_values)
        yield build_finding(
            path,
            ChangeKind.ENUM_REDUCED,
            (IF_PROVEN, NO, YES),
            f"{after.name} may no longer be {removed_values}.",
            "No stored project may have such a value. Requests with one are rejected.",
            Proof(stored_name=before.name, column=after),
        )
    if not is_extended and not is_reduced:
        reason = f"The values of {after.name} are listed in another order."
        yield build_finding(
            path, ChangeKind.REORDERED, COMPATIBLE, reason, "Nothing depends on it."
        )


def _compare_limits(before: Column, after: Column) -> Iterator[Finding]:
    yield from _compare_limit(before, after, "minimum", before.minimum, after.minimum)
    yield from _compare_limit(before, after, "maximum", before.maximum, after.maximum)


def _compare_limit(
    before: Column, after: Column, member: str, old: Any, new: Any
) -> Iterator[Finding]:
    if old == new:
        return
    is_lower = new is None or (old is not None and new < old)
    is_looser = new is None or (old is not None and is_lower == (member == "minimum"))
    reason = f"The {member} of {after.name} is {format_value(new)} and was {format_value(old)}."
    yield _build_constraint_finding(
        before, after, member, reason, is_looser=is_looser, is_tighter=not is_looser
    )


def _compare_pattern(before: Column, after: Column) -> Iterator[Finding]:
    if before.pattern == after.pattern:
        return
    old, new = format_value(before.pattern), format_value(after.pattern)
    reason = f"The pattern of {after.name} is {new} and was {old}."
    yield _build_constraint_finding(
        before,
        after,
        "pattern",
        reason,
        is_looser=before.pattern is not None,
        is_tighter=after.pattern is not None,
    )


def _build_constraint_finding(
    before: Column, after: Column, member: str, reason: str, *, is_looser: bool, is_tighter: bool
) -> Finding:
    """Build the finding of a looser or tighter constraint.

    A changed pattern counts as both: which of two patterns allows more is unknown.
    """
    readers = NO if is_looser else YES
    if not is_tighter:
        consequence = "Responses may have values that the old version excluded."
        verdicts = (YES, YES, readers)
        return build_finding(
            build_path(after, member),
            ChangeKind.CONSTRAINT_LOOSENED,
            verdicts,
            reason,
            consequence,
        )
    return build_finding(
        build_path(after, member),
        ChangeKind.CONSTRAINT_TIGHTENED,
        (IF_PROVEN, NO, readers),
        reason,
        "Every stored value must satisfy it. Requests that do not are rejected.",
        Proof(stored_name=before.name, column=after),
    )


def compare_unit(before: Column, after: Column) -> Iterator[Finding]:
    """Compare the unit, which a column may state but not change."""
    if before.unit != after.unit:
        is_kept = before.unit is None
        yield build_meaning_finding(after, "unit", before.unit, after.unit, is_kept=is_kept)


def _compare_aliases(before: Column, after: Column) -> Iterator[Finding]:
    path = build_path(after, "aliases")
    removed_values = [name for name in before.aliases if name not in {*after.aliases, after.name}]
    new_aliases = [name for name in after.aliases if name not in {*before.aliases, before.name}]
    if removed_values:
        yield build_finding(
            path,
            ChangeKind.ALIAS_REMOVED,
            (YES, NO, YES),
            f"{after.name} no longer has the alias {join_values(removed_values)}.",
            "Requests that use the alias are rejected.",
        )
    if new_aliases:
        yield build_finding(
            path,
            ChangeKind.ALIAS_ADDED,
            COMPATIBLE,
            f"{after.name} has the new alias {join_values(new_aliases)}.",
            "Requests may use the alias; responses keep the name.",
        )
