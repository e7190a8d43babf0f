"""Comparison of two schema versions: every change with its verdicts, one rule per kind of change.

A rule compares one column before and after. Its verdicts apply to stored rows, to requests written
for the old version (which respect its Sunsets), and to clients that validate responses against the
old version's JSON Schema.
"""

from collections.abc import Iterable, Iterator
from datetime import date

import msgspec

from spawn.domain.schema_version import Column, RetiredColumn, Schema
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, get_core_columns
from spawn.domain.schemas.evolution.column_mapping import (
    SchemaMapping,
    carry_retired_columns,
    map_columns,
)
from spawn.domain.schemas.evolution.column_meaning import ColumnMeanings
from spawn.domain.schemas.evolution.column_rules import compare_column, compare_type, compare_unit
from spawn.domain.schemas.evolution.compatibility import (
    ChangeKind,
    Compatibility,
    Finding,
    Proof,
    SchemaComparison,
)
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
from spawn.domain.schemas.evolution.notices import compare_notice, is_past_sunset

_SEVERITY = (YES, IF_PROVEN, NO)


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
        findings.extend(compare_notice(earlier, later, current, on_date))
    meanings = ColumnMeanings(new)
    added_names = {column.name for column in mapping.added_columns}
    for column in new.governed:
        if column.name in added_names:
            restored_column = mapping.restored_columns.get(column.name)
            findings.extend(_build_added_finding(meanings, column, restored_column))
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
    return max(relations, key=_SEVERITY.index, default=YES)


def _collect_notices(schema: Schema) -> dict[str, Column | None]:
    """Return the columns that need notice before removal; None for removed ones."""
    notices: dict[str, Column | None] = {retired.name: None for retired in schema.retired}
    return {**notices, **{column.name: column for column in schema.governed}}


def _compare_schema(old: Schema, new: Schema) -> Iterator[Finding]:
    if old.id != new.id:
        yield build_finding(
            "/id",
            ChangeKind.MEANING_CHANGED,
            INCOMPATIBLE,
            f"The schema {old.id} became {new.id}.",
            "Another schema does not describe the data of this one.",
        )
    if (old.name, old.description) != (new.name, new.description):
        yield build_text_finding("/description", "The schema's name or description changed.")
    terms = _find_redefined_terms(old, new)
    if terms:
        yield build_finding(
            "/@context",
            ChangeKind.MEANING_CHANGED,
            INCOMPATIBLE,
            f"The context gives another meaning to {', '.join(terms)}.",
            "Stored values and requests keep the meaning under which they were written.",
        )
    elif old.context != new.context:
        yield build_text_finding(
            "/@context", "The JSON-LD context changed, but no term of a column."
        )
    if old.expectations != new.expectations:
        yield build_text_finding("/quality", "The data-quality expectations changed.")
    if _get_common_order(old, new) != _get_common_order(new, old):
        yield build_finding(
            "/columns",
            ChangeKind.REORDERED,
            COMPATIBLE,
            "The columns have another order.",
            "Responses list them in the new order; nothing else depends on it.",
        )


def _get_common_order(schema: Schema, other: Schema) -> list[str]:
    names = {column.name for column in other.columns}
    return [column.name for column in schema.columns if column.name in names]


def _find_redefined_terms(old: Schema, new: Schema) -> list[str]:
    """Return columns of both versions whose IRI another context changes, and nothing else."""
    after = {column.name: column for column in new.columns}
    meanings, later_meanings = ColumnMeanings(old), ColumnMeanings(new)
    return sorted(
        column.name
        for column in old.columns
        if column.name in after
        and column.semantic == after[column.name].semantic
        and not meanings.of(column).is_kept_by(later_meanings.of(after[column.name]))
    )


def _compare_pairs(mapping: SchemaMapping, old: Schema, new: Schema) -> Iterator[Finding]:
    meanings = ColumnMeanings(old), ColumnMeanings(new)
    for before, after in mapping.same_name_pairs:
        if before != after:
            yield from compare_column(before, after)
            yield from _compare_semantic(meanings, before, after)
    for before, after in mapping.renamed_pairs:
        yield _build_rename_finding(
            before, after, is_conflicting=after in mapping.conflicting_columns
        )
        yield from compare_column(before, after)
        yield from _compare_semantic(meanings, before, after)
    core = {column.name for column in get_core_columns(old)}
    for before, after in mapping.merged_pairs:
        owner = "the core's" if after.name in core else "another column's"
        yield build_finding(
            build_path(after, "aliases"),
            ChangeKind.MEANING_CHANGED,
            INCOMPATIBLE,
            f"{before.name} became an alias of {after.name}, which has {owner} values already.",
            "A row may have two values, and the new column has room for one.",
        )


def _build_rename_finding(before: Column, after: Column, *, is_conflicting: bool) -> Finding:
    reason = f"{before.name} is now called {after.name}."
    if is_conflicting:
        return build_finding(
            build_path(after, "name"),
            ChangeKind.MEANING_CHANGED,
            INCOMPATIBLE,
            f"{reason} A retired column had that name, and its values are kept.",
            "Its values would be taken for values of the renamed column: choose another name.",
        )
    return build_finding(
        build_path(after, "name"),
        ChangeKind.RENAMED,
        BREAKS_READERS,
        reason,
        f"Requests may use both names. Responses have {after.name} and no {before.name}.",
    )


def _compare_semantic(
    meanings: tuple[ColumnMeanings, ColumnMeanings], before: Column, after: Column
) -> Iterator[Finding]:
    """Compare the IRIs of a column whose `semantic` or name changed.

    `_find_redefined_terms` compares those of the others.
    """
    if before.semantic == after.semantic and before.name == after.name:
        return
    meaning, later_meaning = meanings[0].of(before, after.name), meanings[1].of(after)
    is_kept = meaning.is_kept_by(later_meaning)
    if is_kept and before.semantic == after.semantic:
        return
    yield build_meaning_finding(
        after,
        "semantic",
        join_values(meaning.iris) or None,
        join_values(later_meaning.iris) or None,
        is_kept=is_kept,
    )


def _build_added_finding(
    meanings: ColumnMeanings, column: Column, retired_column: RetiredColumn | None
) -> Iterator[Finding]:
    name, path = column.name, build_path(column)
    optional = msgspec.structs.replace(column, required=False)
    source_name = EXTENSION_PREFIX + name if retired_column is None else retired_column.name
    proof = Proof(stored_name=source_name, column=optional)
    value_effect = f"Stored values of {source_name} become its values, and all must be valid."
    if column.default is not None:
        kind, verdicts = ChangeKind.ADDED_WITH_DEFAULT, (IF_PROVEN, YES, YES)
        default = format_value(column.default)
        consequence = f"Rows and requests without it get {default}. {value_effect}"
    elif not column.required:
        kind, verdicts = ChangeKind.ADDED_OPTIONAL, (IF_PROVEN, YES, YES)
        consequence = f"Rows and requests may omit it. {value_effect}"
    else:
        kind, verdicts = ChangeKind.ADDED_REQUIRED, (NO, NO, YES)
        consequence = "Stored rows and old requests have no value, and there is no default."
    proofs = () if kind is ChangeKind.ADDED_REQUIRED else (proof,)
    yield build_finding(path, kind, verdicts, f"{name} is new.", consequence, *proofs)
    if retired_column is not None:
        yield from _compare_reuse(retired_column, meanings, column)


def _compare_reuse(
    retired_column: RetiredColumn, meanings: ColumnMeanings, column: Column
) -> Iterator[Finding]:
    """Report reuse of a retired name by a column of another type or meaning."""
    before = retired_column.column
    meaning = meanings.of(column, before.name)
    stated_column = msgspec.structs.replace(
        column, semantic=before.semantic if before.semantic in meaning.iris else column.semantic
    )
    for finding in (
        *compare_type(before, column),
        *compare_unit(before, column),
        *_compare_retired_semantic(before, stated_column),
    ):
        if finding.rows is NO:
            reason = f"Version {retired_column.since} retired {before.name}. {finding.reason}"
            yield msgspec.structs.replace(finding, reason=reason)


def _compare_retired_semantic(before: Column, after: Column) -> Iterator[Finding]:
    if before.semantic not in {None, after.semantic}:
        yield build_meaning_finding(
            after, "semantic", before.semantic, after.semantic, is_kept=False
        )


def _build_removed_finding(
    column: Column, notice: Column | None, on_date: date, *, is_accepted: bool
) -> Finding:
    """Build the finding of a removed column; `is_accepted` if requests may still name it."""
    name = column.name
    kind = ChangeKind.REMOVED_REQUIRED if column.required else ChangeKind.REMOVED_OPTIONAL
    always_present = column.required or column.default is not None
    writers = YES if is_accepted else NO
    consequence = "Requests that name it are rejected."
    if is_accepted:
        sunset = column.announced_sunset
        sunset_text = f" until {sunset}, then rejected" if sunset else ""
        consequence = f"Its value in requests is ignored with a warning{sunset_text}."
    is_early = notice is not None and notice.required and not is_past_sunset(notice, on_date)
    if is_early:
        rule = "A required column may be removed after deprecation and its Sunset."
        consequence = f"{rule} {consequence}"
    return Finding(
        path=build_path(column),
        kind=kind,
        rows=YES,
        writers=writers,
        readers=NO if always_present else YES,
        reason=f"{name} is removed.",
        consequence=f"Its values stay in the documents, unserved. {consequence}",
        is_early=is_early,
    )
