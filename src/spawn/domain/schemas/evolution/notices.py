"""Notices of columns: their deprecation and Sunset, and how much notice clients get."""

from collections.abc import Iterator
from datetime import date

import msgspec

from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.evolution.column_mapping import map_columns
from spawn.domain.schemas.evolution.compatibility import ChangeKind, Finding
from spawn.domain.schemas.evolution.findings import COMPATIBLE, build_finding, build_path


def find_shortened_notices(old: Schema, new: Schema) -> dict[str, str]:
    """Return the reasons, by path, why Sunsets come before those that `old` announced."""
    mapping = map_columns(old, new)
    return {
        build_path(after, "deprecated"): reason
        for before, after in (*mapping.same_name_pairs, *mapping.renamed_pairs)
        if (reason := _find_early_sunset(before, after, date.min))
    }


def compare_notice(
    before: Column, after: Column, notice: Column, on_date: date
) -> Iterator[Finding]:
    """Compare the notices of a column; `notice` is the one that clients have now."""
    if (before.deprecated, before.sunset) == (after.deprecated, after.sunset):
        return
    path = build_path(after, "deprecated")
    if not after.deprecated:
        reason = f"{after.name} is not deprecated."
        yield build_finding(
            path, ChangeKind.UNDEPRECATED, COMPATIBLE, reason, "Its notice is withdrawn."
        )
        return
    sunset_text = f" until {after.sunset}" if after.sunset else ""
    finding = build_finding(
        path,
        ChangeKind.DEPRECATED,
        COMPATIBLE,
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


def is_past_sunset(column: Column, on_date: date) -> bool:
    """Whether the announced Sunset of a column is reached on a day."""
    sunset = column.announced_sunset
    return sunset is not None and sunset <= on_date
