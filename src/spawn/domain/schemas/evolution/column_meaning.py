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
_DELIMITERS: Final = frozenset(":/?#[]@")
"""Last characters of an IRI that make a plain term a prefix: the general delimiters of RFC 3986."""

_SILENT_MEMBERS: Final = frozenset({"@id", "@prefix", "@protected"})
"""Members of a term that say nothing of the values: its IRI, and how others may use the term."""


class ColumnMeaning(msgspec.Struct, frozen=True):
    """IRIs of a column, its `semantic` first, and the other members of its term.

    `datatype` is the IRI of the values' type, and `term_members` as JSON what else is said of
    them: that they are IRIs, in a container, in a language.
    """

    iris: tuple[str, ...]
    term_members: bytes = b""
    datatype: str = ""

    def is_kept_by(self, later: "ColumnMeaning") -> bool:
        """Whether a later meaning has every IRI of this one and leads with one of them."""
        if not self.iris:
            return True
        has_all = {*self.iris} <= {*later.iris} and later.iris[0] in self.iris
        has_type = self.datatype in {"", later.datatype}
        return has_all and has_type and self.term_members == later.term_members


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
        iri, datatype, members = context.read_term(term, name or column.name)
        iris = own_iris if iri is None else (*own_iris, iri)
        return ColumnMeaning(iris, members, datatype)

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
            if ":" not in text:
                vocabulary = self.terms.get("@vocab")
                return self.expand_vocabulary(vocabulary) + text if vocabulary else text
            base_and_suffix = self._split(text)
            if base_and_suffix is None:
                return text
            text = "".join(base_and_suffix)
        return text

    def expand_vocabulary(self, vocabulary: Any) -> str:
        """Return the IRI of `@vocab`, which may be compact itself."""
        text = vocabulary if isinstance(vocabulary, str) else ""
        return "".join(self._split(text) or (text,))

    def _split(self, text: str) -> tuple[str, str] | None:
        """Return the IRI of the prefix of a compact IRI, and the rest; None if it has no prefix."""
        prefix, colon, suffix = text.partition(":")
        term = self.terms.get(prefix)
        base = _get_iri(term)
        if not colon or suffix.startswith("//") or base is None:
            return None
        base = self._follow(base)
        return (base, suffix) if _is_prefix(term, base) else None

    def _follow(self, iri: str) -> str:
        """Return the IRI of a term that is defined by the name of another one."""
        for _ in range(_MAX_EXPANSIONS):
            following = _get_iri(self.terms.get(iri))
            if following in {None, iri}:
                break
            iri = str(following)
        return iri

    def expand_unstated(self, name: str) -> tuple[str, ...]:
        """Return the IRI that the vocabulary gives a name, and the contexts not read."""
        references = tuple(f"{name} in {reference}" for reference in self._references)
        vocabulary = self.terms.get("@vocab")
        return (
            (self.expand_vocabulary(vocabulary) + name, *references) if vocabulary else references
        )

    def read_term(self, term: Any, name: str) -> tuple[str | None, str, bytes]:
        """Return the expanded IRI of a term, the type of its values, and what else it says."""
        iri, vocabulary = _get_iri(term), self.terms.get("@vocab")
        if not isinstance(term, Mapping):
            return (None if iri is None else self.expand(iri)), "", b""
        if "@id" not in term and vocabulary:
            iri = self.expand_vocabulary(vocabulary) + name
        others = {key: value for key, value in term.items() if key not in _SILENT_MEMBERS}
        datatype = others.get("@type")
        if isinstance(datatype, str) and not datatype.startswith("@"):
            datatype = self.expand(others.pop("@type"))
        else:
            datatype = ""
        members = msgspec.json.encode(others, order="deterministic") if others else b""
        return (None if iri is None else self.expand(iri)), datatype, members


def _is_prefix(term: Any, iri: str) -> bool:
    """Return whether compact IRIs may begin with a term (JSON-LD 1.1 API, 4.2.2 step 14.2.5).

    An expanded definition says so; a plain one is a prefix if its IRI ends with a delimiter, or
    is a blank node.
    """
    if isinstance(term, Mapping):
        return term.get("@prefix") is True
    return iri[-1:] in _DELIMITERS or iri.startswith("_:")


def _get_iri(term: Any) -> str | None:
    """Return the IRI of a term's definition; None if it has none."""
    iri = term.get("@id") if isinstance(term, Mapping) else term
    return iri if isinstance(iri, str) else None


@lru_cache(maxsize=256)
def _parse_context(raw: bytes) -> _Context:
    return _Context(msgspec.json.decode(raw))


def _get_context(raw: msgspec.Raw | None) -> _Context:
    return _parse_context(b"null" if raw is None else bytes(raw))
