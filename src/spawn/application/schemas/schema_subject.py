"""The subject of a schema document: a schema of another kind is rejected in words.

A document states its id, which the registry also has in the path. Published in the wrong place, a
schema of another kind would pass every comparison if its columns are optional: they would be added,
and the columns of the right one retired.
"""

import re
from typing import Final

from spawn.domain.aggregates import governed_kinds
from spawn.domain.errors import MalformedBody
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES

_IDENTITY_MEMBERS: Final = ("$id", "@id", "@type", "iri", "kind", "governs")
_MIN_NAMES: Final = 3
"""Columns from which on it is no chance that none is known."""

_WORD: Final = re.compile(r"[a-z]+")


def find_foreign_subject(document: bytes, schema: Schema, active: Schema | None) -> str:
    """Return why a document describes something else than the schema's kind; empty if it does not.

    Args:
        document: of the schema, whose `$id`, `@id`, `iri` or `kind` may name what it describes.
        schema: as read from it.
        active: the active version of the kind; None before the first.
    """
    statement = _find_statement(document, schema.kind)
    if statement:
        return f"version {schema.version} says of itself that it {statement}"
    names = {name for column in schema.columns for name in (column.name, *column.aliases)}
    own_names = CORE_ATTRIBUTES[schema.kind].by_name.keys()
    if not names and active is not None and active.version and len(active.columns) >= _MIN_NAMES:
        return (
            f"version {schema.version} has no columns, and version {active.version} has"
            f" {len(active.columns)}: approve it if all are to be hidden"
        )
    if not names or names & (own_names | _list_known_names(active)):
        return ""
    is_large = active is not None and min(len(names), len(active.columns)) >= _MIN_NAMES
    if active is not None and active.version and is_large:
        return (
            f"version {schema.version} has no column in common with version {active.version} and"
            f" none of a {schema.kind}: it describes something else"
        )
    for kind in governed_kinds():
        common_names = names & CORE_ATTRIBUTES[kind].by_name.keys()
        if common_names:
            listing = ", ".join(sorted(common_names)[:5])
            return (
                f"version {schema.version} has columns of a {kind} ({listing}) and none of a"
                f" {schema.kind}: it describes something else"
            )
    return ""


def _find_statement(document: bytes, kind: str) -> str:
    """Return what a document's own identity says of another kind; empty if it names none."""
    try:
        members = parse_object(document)
    except MalformedBody:
        return ""
    for member in _IDENTITY_MEMBERS:
        words = _list_words(members.get(member))
        others = [one for one in governed_kinds() if one != kind and words & {one, f"{one}s"}]
        if others and not words & {kind, f"{kind}s"}:
            return f"describes a {others[0]} ({member}), and not a {kind}"
    return ""


def _list_words(token: Token) -> set[str]:
    """Return the words of a text, in lower case: `urn:x:FacilitySchema` has facility."""
    if not isinstance(token, str):
        return set()
    text = re.sub(r"([a-z])([A-Z])", r"\1 \2", token)
    return set(_WORD.findall(text.lower().replace("facilities", "facility")))


def _list_known_names(schema: Schema | None) -> set[str]:
    """Return the names that a version has or had for a column."""
    if schema is None:
        return set()
    columns: list[Column] = [*schema.columns, *(one.column for one in schema.retired)]
    return {name for column in columns for name in (column.name, *column.aliases)}
