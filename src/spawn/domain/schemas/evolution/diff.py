"""Comparison of two schema versions: every change with its verdicts, one rule per kind of change.

A rule compares one column before and after. Its verdicts apply to stored rows, to requests written
for the old version (which respect its Sunsets), and to clients that validate responses against the
old version's JSON Schema.
"""

from collections.abc import Iterable, Iterator
from datetime import date
from typing import Any

import msgspec

from spawn.domain.schema_version import Column, RetiredColumn, Schema, Value
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, get_core_columns
from spawn.domain.schemas.evolution.column_mapping import (
    SchemaMapping,
    carry_retired_columns,
    map_columns,
)
from spawn.domain.schemas.evolution.column_meaning import get_meaning
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Compatibility,
    Finding,
    Proof,
    SchemaComparison,
)
from spawn.domain.schemas.evolution.type_widening import has_same_type, is_widening

_Verdicts = tuple[Compatibility, Compatibility, Compatibility]
"""Verdicts on rows, writers and readers."""

_YES, _IF_PROVEN, _NO = Compatibility.YES, Compatibility.IF_PROVEN, Compatibility.NO
_COMPATIBLE: _Verdicts = (_YES, _YES, _YES)
_BREAKS_READERS: _Verdicts = (_YES, _YES, _NO)
_INCOMPATIBLE: _Verdicts = (_NO, _NO, _NO)
_SEVERITY = (_YES, _IF_PROVEN, _NO)


def compare_schemas(
    old: Schema, new: Schema, *, on_date: date, via: Schema | None = None
) -> SchemaComparison:
    """Compare two versions and judge every change, on a day.

    `via` is the predecessor of `new` if that is not `old`: its Sunsets and retired columns apply.
    For a version that was adopted already it is `new`.
    """
    before = via or old
    successor = carry_retired_columns(before, new)
    notices = _collect_notices(before)
    mapping = map_columns(old, successor)
    findings = [*_compare_schema(old, new), *_compare_pairs(mapping, old, new)]
    for earlier, later in (*mapping.same_name_pairs, *mapping.renamed_pairs):
        current = notices.get(later.name) or earlier
        findings.extend(_compare_notice(earlier, later, current, on_date))
    for column in new.governed:
        if column in mapping.added_columns:
            restored_column = mapping.restored_columns.get(column.name)
            findings.extend(_build_added_finding(new, column, restored_column))
    accepted_names = _get_accepted_names(successor)
    for column in mapping.removed_columns:
        is_accepted = accepted_names.issuperset(_get_input_names(column))
        notice = notices.get(column.name)
        findings.append(_build_removed_finding(column, notice, on_date, is_accepted=is_accepted))
    return SchemaComparison(
        old_version=old.version,
        new_version=new.version,
        findings=tuple(findings),
        rows=worst_compatibility(finding.rows for finding in findings),
        writers=worst_compatibility(finding.writers for finding in findings),
        readers=worst_compatibility(finding.readers for finding in findings),
    )


def _get_input_names(column: Column) -> set[str]:
    return {column.name, *column.aliases}


def _get_accepted_names(schema: Schema) -> set[str]:
    """Return names of retired columns that requests may still use: no column has them."""
    columns = (*get_core_columns(schema), *schema.governed)
    current_names = {name for column in columns for name in _get_input_names(column)}
    retired_names = {name for c in schema.retired for name in _get_input_names(c.column)}
    return retired_names - current_names


def worst_compatibility(relations: Iterable[Compatibility]) -> Compatibility:
    """Return the least favourable verdict; YES if there are none."""
    return max(relations, key=_SEVERITY.index, default=_YES)


def _collect_notices(schema: Schema) -> dict[str, Column | None]:
    """Return the columns that need notice before removal; None for removed ones."""
    notices: dict[str, Column | None] = {retired.name: None for retired in schema.retired}
    return {**notices, **{column.name: column for column in schema.governed}}


def _compare_schema(old: Schema, new: Schema) -> Iterator[Finding]:
    if old.id != new.id:
        yield _build_finding(
            "/id",
            ChangeKind.MEANING_CHANGED,
            _INCOMPATIBLE,
            f"The schema {old.id} became {new.id}.",
            "Another schema does not describe the data of this one.",
        )
    if (old.name, old.description) != (new.name, new.description):
        yield _build_text_finding("/description", "The schema's name or description changed.")
    terms = _find_redefined_terms(old, new)
    if terms:
        yield _build_finding(
            "/@context",
            ChangeKind.MEANING_CHANGED,
            _INCOMPATIBLE,
            f"The context gives another meaning to {', '.join(terms)}.",
            "Stored values and requests keep the meaning under which they were written.",
        )
    elif old.context != new.context:
        yield _build_text_finding(
            "/@context", "The JSON-LD context changed, but no term of a column."
        )
    if old.expectations != new.expectations:
        yield _build_text_finding("/quality", "The data-quality expectations changed.")
    if _get_common_order(old, new) != _get_common_order(new, old):
        yield _build_finding(
            "/columns",
            ChangeKind.REORDERED,
            _COMPATIBLE,
            "The columns have another order.",
            "Responses list them in the new order; nothing else depends on it.",
        )


def _get_common_order(schema: Schema, other: Schema) -> list[str]:
    names = {column.name for column in other.columns}
    return [column.name for column in schema.columns if column.name in names]


def _find_redefined_terms(old: Schema, new: Schema) -> list[str]:
    """Return columns of both versions whose IRI another context changes, and nothing else."""
    after = {column.name: column for column in new.columns}
    return sorted(
        column.name
        for column in old.columns
        if column.name in after
        and column.semantic == after[column.name].semantic
        and not get_meaning(old, column).is_kept_by(get_meaning(new, after[column.name]))
    )


def _compare_pairs(mapping: SchemaMapping, old: Schema, new: Schema) -> Iterator[Finding]:
    for before, after in mapping.same_name_pairs:
        if before != after:
            yield from _compare_column(before, after)
            yield from _compare_semantic(old, before, new, after)
    for before, after in mapping.renamed_pairs:
        yield _build_rename_finding(
            before, after, is_conflicting=after in mapping.conflicting_columns
        )
        yield from _compare_column(before, after)
        yield from _compare_semantic(old, before, new, after)
    core = {column.name for column in get_core_columns(old)}
    for before, after in mapping.merged_pairs:
        owner = "the core's" if after.name in core else "another column's"
        yield _build_finding(
            _build_path(after, "aliases"),
            ChangeKind.MEANING_CHANGED,
            _INCOMPATIBLE,
            f"{before.name} became an alias of {after.name}, which has {owner} values already.",
            "A project may have two values, and the new column has room for one.",
        )


def _build_rename_finding(before: Column, after: Column, *, is_conflicting: bool) -> Finding:
    reason = f"{before.name} is now called {after.name}."
    if is_conflicting:
        return _build_finding(
            _build_path(after, "name"),
            ChangeKind.MEANING_CHANGED,
            _INCOMPATIBLE,
            f"{reason} A retired column had that name, and its values are kept.",
            "Its values would be taken for values of the renamed column: choose another name.",
        )
    return _build_finding(
        _build_path(after, "name"),
        ChangeKind.RENAMED,
        _BREAKS_READERS,
        reason,
        f"Requests may use both names. Responses have {after.name} and no {before.name}.",
    )


def _compare_column(before: Column, after: Column) -> Iterator[Finding]:
    """Apply every rule to one column."""
    yield from _compare_type(before, after)
    yield from _compare_presence(before, after)
    if has_same_type(before, after) or is_widening(before, after):
        # Values of two unrelated types cannot be compared.
        yield from _compare_enum(before, after)
        yield from _compare_limits(before, after)
        yield from _compare_pattern(before, after)
    yield from _compare_unit(before, after)
    yield from _compare_aliases(before, after)
    if before.description != after.description:
        yield _build_text_finding(
            _build_path(after, "description"), f"The description of {after.name} changed."
        )


def _compare_type(before: Column, after: Column) -> Iterator[Finding]:
    if has_same_type(before, after):
        return
    path = _build_path(after, "type")
    reason = f"{after.name} is {after.type.with_article} where it was {before.type.with_article}."
    if before.type == after.type:
        json_form = "a decimal string" if after.is_amount else "a JSON number"
        reason = f"{after.name} is {json_form} on the wire and {before.name} was not."
    if is_widening(before, after):
        consequence = "Stored values and requests stay valid. Responses may have larger values."
        yield _build_finding(path, ChangeKind.TYPE_WIDENED, _BREAKS_READERS, reason, consequence)
        return
    consequence = "Stored values and requests cannot all be read as the new type."
    yield _build_finding(path, ChangeKind.TYPE_CHANGED, _INCOMPATIBLE, reason, consequence)


def _compare_presence(before: Column, after: Column) -> Iterator[Finding]:
    """Compare whether the column is required, and its default."""
    path, name = _build_path(after, "required"), after.name
    if before.required and not after.required:
        reason, consequence = f"{name} is now optional.", "Responses may have null."
        verdicts = _BREAKS_READERS
        if before.default is not None:
            consequence += f" A null in a request meant {_format_value(before.default)}."
            verdicts = (_YES, _NO, _NO)
        yield _build_finding(path, ChangeKind.MADE_OPTIONAL, verdicts, reason, consequence)
    elif after.required and not before.required and after.default is not None:
        yield _build_finding(
            path,
            ChangeKind.MADE_REQUIRED,
            _COMPATIBLE,
            f"{name} is now required, with a default.",
            f"Projects and requests without it get {_format_value(after.default)}.",
        )
    elif after.required and not before.required:
        yield _build_finding(
            path,
            ChangeKind.MADE_REQUIRED,
            (_IF_PROVEN, _NO, _YES),
            f"{name} is now required, without a default.",
            "Every stored project must have a value. Requests without it are rejected.",
            Proof(stored_name=before.name, column=after, allows_null=False),
        )
    if before.default != after.default:
        yield _compare_default(before, after)


def _compare_default(before: Column, after: Column) -> Finding:
    path = _build_path(after, "default")
    old, new = _format_value(before.default), _format_value(after.default)
    reason = f"The default of {after.name} is {new} and was {old}."
    verdicts = _COMPATIBLE
    consequence = "Stored values stay. Requests without it follow the new version."
    if after.default is None and before.required and after.required:
        verdicts, consequence = (_YES, _NO, _YES), "Requests without it are rejected."
    elif before.default is not None:
        # The request stays valid and says something else: nobody would notice.
        verdicts = (_YES, _NO, _YES)
        consequence = f"Stored values stay. Requests without it meant {old} and would mean {new}."
    return _build_finding(path, ChangeKind.DEFAULT_CHANGED, verdicts, reason, consequence)


def _compare_enum(before: Column, after: Column) -> Iterator[Finding]:
    if before.enum == after.enum:
        return
    path = _build_path(after, "enum")
    old, new = before.enum, after.enum
    is_reduced = new is not None and (old is None or not {*old} <= {*new})
    is_extended = old is not None and (new is None or not {*new} <= {*old})
    if is_extended:
        old_values = {*(old or ())}
        added_values = (
            "any value" if new is None else _join_values(v for v in new if v not in old_values)
        )
        yield _build_finding(
            path,
            ChangeKind.ENUM_EXTENDED,
            _BREAKS_READERS,
            f"{after.name} may also be {added_values}.",
            "Responses may have values that old clients do not know.",
        )
    if is_reduced:
        new_values = {*(new or ())}
        removed_values = "anything else"
        if old:
            removed_values = _join_values(value for value in old if value not in new_values)
        yield _build_finding(
            path,
            ChangeKind.ENUM_REDUCED,
            (_IF_PROVEN, _NO, _YES),
            f"{after.name} may no longer be {removed_values}.",
            "No stored project may have such a value. Requests with one are rejected.",
            Proof(stored_name=before.name, column=after),
        )
    if not is_extended and not is_reduced:
        reason = f"The values of {after.name} are listed in another order."
        yield _build_finding(
            path, ChangeKind.REORDERED, _COMPATIBLE, reason, "Nothing depends on it."
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
    reason = f"The {member} of {after.name} is {_format_value(new)} and was {_format_value(old)}."
    yield _build_constraint_finding(
        before, after, member, reason, is_looser=is_looser, is_tighter=not is_looser
    )


def _compare_pattern(before: Column, after: Column) -> Iterator[Finding]:
    if before.pattern == after.pattern:
        return
    old, new = _format_value(before.pattern), _format_value(after.pattern)
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
    readers = _NO if is_looser else _YES
    if not is_tighter:
        consequence = "Responses may have values that the old version excluded."
        verdicts = (_YES, _YES, readers)
        return _build_finding(
            _build_path(after, member),
            ChangeKind.CONSTRAINT_LOOSENED,
            verdicts,
            reason,
            consequence,
        )
    return _build_finding(
        _build_path(after, member),
        ChangeKind.CONSTRAINT_TIGHTENED,
        (_IF_PROVEN, _NO, readers),
        reason,
        "Every stored value must satisfy it. Requests that do not are rejected.",
        Proof(stored_name=before.name, column=after),
    )


def _compare_unit(before: Column, after: Column) -> Iterator[Finding]:
    if before.unit != after.unit:
        is_kept = before.unit is None
        yield _build_meaning_finding(after, "unit", before.unit, after.unit, is_kept=is_kept)


def _compare_semantic(old: Schema, before: Column, new: Schema, after: Column) -> Iterator[Finding]:
    """Compare the IRIs of a column whose `semantic` or name changed.

    `_find_redefined_terms` compares those of the others.
    """
    if before.semantic == after.semantic and before.name == after.name:
        return
    meaning = get_meaning(old, before, after.name)
    later_meaning = get_meaning(new, after)
    is_kept = meaning.is_kept_by(later_meaning)
    if is_kept and before.semantic == after.semantic:
        return
    yield _build_meaning_finding(
        after,
        "semantic",
        _join_values(meaning.iris) or None,
        _join_values(later_meaning.iris) or None,
        is_kept=is_kept,
    )


def _build_meaning_finding(
    column: Column, member: str, old: str | None, new: str | None, *, is_kept: bool
) -> Finding:
    path = _build_path(column, member)
    if is_kept:
        return _build_text_finding(path, f"The {member} of {column.name} is stated: {new}.")
    return _build_finding(
        path,
        ChangeKind.MEANING_CHANGED,
        _INCOMPATIBLE,
        f"The {member} of {column.name} is {_format_value(new)} and was {_format_value(old)}.",
        "The same figure would mean something else. Publish it under another name.",
    )


def _compare_aliases(before: Column, after: Column) -> Iterator[Finding]:
    path = _build_path(after, "aliases")
    removed_values = [name for name in before.aliases if name not in {*after.aliases, after.name}]
    new_aliases = [name for name in after.aliases if name not in {*before.aliases, before.name}]
    if removed_values:
        yield _build_finding(
            path,
            ChangeKind.ALIAS_REMOVED,
            (_YES, _NO, _YES),
            f"{after.name} no longer has the alias {_join_values(removed_values)}.",
            "Requests that use the alias are rejected.",
        )
    if new_aliases:
        yield _build_finding(
            path,
            ChangeKind.ALIAS_ADDED,
            _COMPATIBLE,
            f"{after.name} has the new alias {_join_values(new_aliases)}.",
            "Requests may use the alias; responses keep the name.",
        )


def find_shortened_notices(old: Schema, new: Schema) -> dict[str, str]:
    """Return the reasons, by path, why Sunsets come before those that `old` announced."""
    mapping = map_columns(old, new)
    return {
        _build_path(after, "deprecated"): reason
        for before, after in (*mapping.same_name_pairs, *mapping.renamed_pairs)
        if (reason := _find_early_sunset(before, after, date.min))
    }


def _compare_notice(
    before: Column, after: Column, notice: Column, on_date: date
) -> Iterator[Finding]:
    """Compare the notices of a column; `notice` is the one that clients have now."""
    if (before.deprecated, before.sunset) == (after.deprecated, after.sunset):
        return
    path = _build_path(after, "deprecated")
    if not after.deprecated:
        reason = f"{after.name} is not deprecated."
        yield _build_finding(
            path, ChangeKind.UNDEPRECATED, _COMPATIBLE, reason, "Its notice is withdrawn."
        )
        return
    sunset_text = f" until {after.sunset}" if after.sunset else ""
    finding = _build_finding(
        path,
        ChangeKind.DEPRECATED,
        _COMPATIBLE,
        f"{after.name} is deprecated.",
        f"It is served{sunset_text} with notice in the Deprecation and Sunset headers.",
    )
    if early_reason := _find_early_sunset(notice, after, on_date):
        finding = msgspec.structs.replace(finding, reason=early_reason, is_early=True)
    yield finding


def _find_early_sunset(before: Column, after: Column, on_date: date) -> str:
    """Return why clients get less notice than they may rely on; empty if they do not."""
    announced, sunset = before.announced_sunset, after.announced_sunset
    if sunset is None or sunset == announced:
        return ""
    if announced is not None and sunset < announced:
        return f"The Sunset of {after.name} is {sunset}, and was announced for {announced}."
    if sunset < on_date:
        return f"The Sunset of {after.name} is {sunset}, before any client could know of it."
    return ""


def _build_added_finding(
    new: Schema, column: Column, retired_column: RetiredColumn | None
) -> Iterator[Finding]:
    name, path = column.name, _build_path(column)
    optional = msgspec.structs.replace(column, required=False)
    source_name = EXTENSION_PREFIX + name if retired_column is None else retired_column.name
    proof = Proof(stored_name=source_name, column=optional)
    value_effect = f"Stored values of {source_name} become its values, and all must be valid."
    if column.default is not None:
        kind, verdicts = ChangeKind.ADDED_WITH_DEFAULT, (_IF_PROVEN, _YES, _YES)
        default = _format_value(column.default)
        consequence = f"Projects and requests without it get {default}. {value_effect}"
    elif not column.required:
        kind, verdicts = ChangeKind.ADDED_OPTIONAL, (_IF_PROVEN, _YES, _YES)
        consequence = f"Projects and requests may omit it. {value_effect}"
    else:
        kind, verdicts = ChangeKind.ADDED_REQUIRED, (_NO, _NO, _YES)
        consequence = "Stored projects and old requests have no value, and there is no default."
    proofs = () if kind is ChangeKind.ADDED_REQUIRED else (proof,)
    yield _build_finding(path, kind, verdicts, f"{name} is new.", consequence, *proofs)
    if retired_column is not None:
        yield from _compare_reuse(retired_column, new, column)


def _compare_reuse(retired_column: RetiredColumn, new: Schema, column: Column) -> Iterator[Finding]:
    """Report reuse of a retired name by a column of another type or meaning."""
    before = retired_column.column
    meaning = get_meaning(new, column, before.name)
    stated_column = msgspec.structs.replace(
        column, semantic=before.semantic if before.semantic in meaning.iris else column.semantic
    )
    for finding in (
        *_compare_type(before, column),
        *_compare_unit(before, column),
        *_compare_retired_semantic(before, stated_column),
    ):
        if finding.rows is _NO:
            reason = f"Version {retired_column.since} retired {before.name}. {finding.reason}"
            yield msgspec.structs.replace(finding, reason=reason)


def _compare_retired_semantic(before: Column, after: Column) -> Iterator[Finding]:
    if before.semantic not in {None, after.semantic}:
        yield _build_meaning_finding(
            after, "semantic", before.semantic, after.semantic, is_kept=False
        )


def _build_removed_finding(
    column: Column, notice: Column | None, on_date: date, *, is_accepted: bool
) -> Finding:
    """Build the finding of a removed column; `is_accepted` if requests may still name it."""
    name = column.name
    kind = ChangeKind.REMOVED_REQUIRED if column.required else ChangeKind.REMOVED_OPTIONAL
    always_present = column.required or column.default is not None
    writers = _YES if is_accepted else _NO
    consequence = "Requests that name it are rejected."
    if is_accepted:
        sunset = column.announced_sunset
        sunset_text = f" until {sunset}, then rejected" if sunset else ""
        consequence = f"Its value in requests is ignored with a warning{sunset_text}."
    is_early = notice is not None and notice.required and not _is_past_sunset(notice, on_date)
    if is_early:
        rule = "A required column may be removed after deprecation and its Sunset."
        consequence = f"{rule} {consequence}"
    return Finding(
        path=_build_path(column),
        kind=kind,
        rows=_YES,
        writers=writers,
        readers=_NO if always_present else _YES,
        reason=f"{name} is removed.",
        consequence=f"Its values stay in the documents, unserved. {consequence}",
        is_early=is_early,
    )


def _is_past_sunset(column: Column, on_date: date) -> bool:
    sunset = column.announced_sunset
    return sunset is not None and sunset <= on_date


def _build_text_finding(path: str, reason: str) -> Finding:
    consequence = "Validation and data stay as they are."
    return _build_finding(path, ChangeKind.TEXT_CHANGED, _COMPATIBLE, reason, consequence)


def _build_finding(
    path: str, kind: ChangeKind, verdicts: _Verdicts, reason: str, consequence: str, *proofs: Proof
) -> Finding:
    rows, writers, readers = verdicts
    return Finding(
        path=path,
        kind=kind,
        rows=rows,
        writers=writers,
        readers=readers,
        reason=reason,
        consequence=consequence,
        proofs=proofs,
    )


def _build_path(column: Column, member: str = "") -> str:
    return f"/columns/{column.name}" + (f"/{member}" if member else "")


_MAX_LISTED_VALUES = 10


def _join_values(values: Iterable[Value]) -> str:
    texts = [str(value) for value in values]
    return ", ".join(texts[:_MAX_LISTED_VALUES]) + (
        ", …" if len(texts) > _MAX_LISTED_VALUES else ""
    )


def _format_value(value: Value | None) -> str:
    return "none" if value is None else str(value)
