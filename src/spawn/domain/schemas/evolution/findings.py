"""Findings of a comparison: their verdicts, paths and texts."""

from collections.abc import Iterable

from spawn.domain.schema_version import Column, Value
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Compatibility, Finding, Proof

Verdicts = tuple[Compatibility, Compatibility, Compatibility]
"""Verdicts on rows, writers and readers."""

YES, IF_PROVEN, NO = Compatibility.YES, Compatibility.IF_PROVEN, Compatibility.NO
COMPATIBLE: Verdicts = (YES, YES, YES)
BREAKS_READERS: Verdicts = (YES, YES, NO)
INCOMPATIBLE: Verdicts = (NO, NO, NO)
_MAX_LISTED_VALUES = 10


def build_finding(
    path: str, kind: ChangeKind, verdicts: Verdicts, reason: str, consequence: str, *proofs: Proof
) -> Finding:
    """Build a finding of three verdicts: on rows, writers and readers."""
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


def build_text_finding(path: str, reason: str) -> Finding:
    """Build the finding of a text that nothing depends on."""
    consequence = "Validation and data stay as they are."
    return build_finding(path, ChangeKind.TEXT_CHANGED, COMPATIBLE, reason, consequence)


def build_meaning_finding(
    column: Column, member: str, old: str | None, new: str | None, *, is_kept: bool
) -> Finding:
    """Build the finding of a unit or IRI; `is_kept` if the old meaning still holds."""
    path = build_path(column, member)
    if is_kept:
        return build_text_finding(path, f"The {member} of {column.name} is stated: {new}.")
    return build_finding(
        path,
        ChangeKind.MEANING_CHANGED,
        INCOMPATIBLE,
        f"The {member} of {column.name} is {format_value(new)} and was {format_value(old)}.",
        "The same figure would mean something else. Publish it under another name.",
    )


def build_path(column: Column, member: str = "") -> str:
    """Return the JSON pointer of a column, or of a member of it."""
    return f"/columns/{column.name}" + (f"/{member}" if member else "")


def join_values(values: Iterable[Value]) -> str:
    """Return values as a text, shortened after ten."""
    texts = [str(value) for value in values]
    return ", ".join(texts[:_MAX_LISTED_VALUES]) + (
        ", …" if len(texts) > _MAX_LISTED_VALUES else ""
    )


def format_value(value: Value | None) -> str:
    """Return a value as a text; `none` for no value."""
    return "none" if value is None else str(value)
