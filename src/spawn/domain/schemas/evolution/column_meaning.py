"""Meaning of a column as IRIs: its `semantic` and its JSON-LD term, expanded by the context.

Two versions mean the same by a column if its IRIs are the same, however each spells them: a moved
prefix changes the IRIs, a renamed one does not. A context that is only referred to is never
fetched, so its address stands for the terms that it may define.
"""

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Final

import msgspec

from spawn.domain.schema_version import Column, RetiredColumn, Schema

_MAX_EXPANSIONS: Final = 8
"""Prefixes that a term may go through; a longer way is a circle."""

_NO_TERM: Final = object()


class ColumnMeaning(msgspec.Struct, frozen=True):
    """IRIs of a column, its `semantic` first, and the other members of its term as JSON."""

    iris: tuple[str, ...]
    term_members: bytes = b""

    def is_kept_by(self, later: "ColumnMeaning") -> bool:
        """Whether a later meaning has every IRI of this one and leads with one of them."""
        if not self.iris:
            return True
        has_all = {*self.iris} <= {*later.iris} and later.iris[0] in self.iris
        return has_all and self.term_members in {b"", later.term_members}


class ColumnMeanings:
    """Meanings of the columns of a schema version, whose context is expanded once for all."""

    def __init__(self, schema: Schema) -> None:
        self._context = _get_context(schema.context)
        self._described_names = {column.name for column in schema.columns}

    def of(self, column: Column, name: str | None = None) -> ColumnMeaning:
        """Return the meaning of a column of the schema.

        `name` is the column's name where only a vocabulary defines it: its later name, if it was
        renamed, since a declared rename changes no meaning.
        """
        context = self._context
        own_iris = (context.expand(column.semantic),) if column.semantic else ()
        if column.name not in self._described_names:
            # A core column that the document does not describe has the domain's meaning.
            return ColumnMeaning(own_iris)
        term = context.terms.get(column.name, _NO_TERM)
        if term is _NO_TERM:
            return ColumnMeaning(own_iris or context.expand_unstated(name or column.name))
        iri, members = context.read_term(term)
        return ColumnMeaning((*own_iris, iri) if iri is not None else own_iris, members)

    def retire(self, column: Column, since: int) -> RetiredColumn:
        """Return a column as retired, with its IRI, since its context is gone with it."""
        iris = self.of(column).iris
        semantic = iris[0] if iris else None
        if semantic != column.semantic:
            column = msgspec.structs.replace(column, semantic=semantic)
        return RetiredColumn(column=column, since=since)


class _Context:
    """Terms of a JSON-LD context, of which later parts replace earlier ones."""

    def __init__(self, context: Any) -> None:
        self.terms: dict[str, Any] = {}
        self._references: list[str] = []
        for part in context if isinstance(context, list) else [context]:
            self._add(part)

    def _add(self, part: Any) -> None:
        if part is None:
            self.terms.clear()
            self._references.clear()
        elif isinstance(part, str):
            self._references.append(part)
        elif isinstance(part, dict):
            if isinstance(part.get("@import"), str):
                self._references.append(part["@import"])
            self.terms |= part

    def expand(self, text: str) -> str:
        """Expand an IRI, a compact IRI or a term."""
        for _ in range(_MAX_EXPANSIONS):
            iri = _get_iri(self.terms.get(text))
            if iri not in {None, text}:
                text = str(iri)
                continue
            prefix, colon, suffix = text.partition(":")
            if not colon:
                vocabulary = self.terms.get("@vocab")
                return self.expand_vocabulary(vocabulary) + text if vocabulary else text
            base = _get_iri(self.terms.get(prefix)) if not suffix.startswith("//") else None
            if base is None:
                return text
            text = base + suffix
        return text

    def expand_vocabulary(self, vocabulary: Any) -> str:
        """Return the IRI of `@vocab`, which may be compact itself."""
        text = vocabulary if isinstance(vocabulary, str) else ""
        prefix, colon, suffix = text.partition(":")
        base = _get_iri(self.terms.get(prefix)) if colon and not suffix.startswith("//") else None
        return text if base is None else base + suffix

    def expand_unstated(self, name: str) -> tuple[str, ...]:
        """Return the IRI that the vocabulary gives a name, and the contexts not read."""
        references = tuple(f"{name} in {reference}" for reference in self._references)
        vocabulary = self.terms.get("@vocab")
        return (
            (self.expand_vocabulary(vocabulary) + name, *references) if vocabulary else references
        )

    def read_term(self, term: Any) -> tuple[str | None, bytes]:
        """Return the expanded IRI of a term's definition, and its other members as JSON."""
        iri = _get_iri(term)
        others: dict[str, Any] = {}
        if isinstance(term, Mapping):
            others = {name: value for name, value in term.items() if name != "@id"}
            if isinstance(others.get("@type"), str):
                others["@type"] = self.expand(others["@type"])
        members = msgspec.json.encode(others, order="deterministic") if others else b""
        return (None if iri is None else self.expand(iri)), members


def _get_iri(term: Any) -> str | None:
    """Return the IRI of a term's definition; None if it has none."""
    iri = term.get("@id") if isinstance(term, Mapping) else term
    return iri if isinstance(iri, str) else None


@lru_cache(maxsize=256)
def _parse_context(raw: bytes) -> _Context:
    return _Context(msgspec.json.decode(raw))


def _get_context(raw: msgspec.Raw | None) -> _Context:
    return _parse_context(b"null" if raw is None else bytes(raw))
