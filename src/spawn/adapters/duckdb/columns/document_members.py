"""Members of project documents that are JSON, read by the engine as exactly the text they have.

The engine's JSON functions write numbers and escapes anew. A pattern takes the text as it is, and
only where today's struct would write the same members in the same order.
"""

from typing import Any, Final

import msgspec

from spawn.domain.projects.milestones import Milestone
from spawn.domain.projects.parties import Sponsor, Spv
from spawn.domain.projects.project import CORE_FIELDS, ExternalRef
from spawn.domain.schemas.core_columns import EXTENSION_PREFIX, NESTED_FIELDS

# Only a key follows a comma as an unescaped quote, so that no text of a value looks like one.
_TEXT: Final = r'"(?:[^"\\]|\\.)*"'
_SCALAR: Final = f"(?:null|true|false|{_TEXT})"
_EMPTY: Final = {"sponsors": "[]", "milestones": "[]"}

NESTED_NAMES: Final = tuple(name for name in CORE_FIELDS if name in NESTED_FIELDS)
"""The members, which follow one another in a document."""


def _object_pattern(struct: type[msgspec.Struct]) -> str:
    members = (f'"{f.encode_name}":{_SCALAR}' for f in msgspec.structs.fields(struct))
    return rf"\{{{','.join(members)}\}}"


def _list_pattern(struct: type[msgspec.Struct]) -> str:
    item = _object_pattern(struct)
    return rf"\[(?:{item}(?:,{item})*)?\]"


_PATTERNS: Final = {
    "spv": f"null|{_object_pattern(Spv)}",
    "sponsors": _list_pattern(Sponsor),
    "milestones": _list_pattern(Milestone),
    "external_ref": f"null|{_object_pattern(ExternalRef)}",
}
_MEMBERS: Final = "".join(f',"{name}":({_PATTERNS[name]})' for name in NESTED_NAMES)
_ABSENT: Final = "".join(f',"{name}":{_EMPTY.get(name, "null")}' for name in NESTED_NAMES)
_NAMES: Final = ", ".join(f"'{name}'" for name in NESTED_NAMES)


def members_sql(document: str) -> str:
    """Return the expression for a struct of the members' texts; null if all are absent."""
    return (
        f"case when contains({document}, '{_ABSENT}') then null"
        f" else regexp_extract({document}, '{_MEMBERS}', [{_NAMES}]) end"
    )


def is_exact_sql(members: str, document: str) -> str:
    """Return the condition that the members are those of the document, which has no extension.

    Extensions are bounded JSON in any order, as it was received.
    """
    return (
        f"({members} is null or {members}.{NESTED_NAMES[-1]} <> '')"
        f" and not contains({document}, ',\"{EXTENSION_PREFIX}')"
    )


def member_sql(members: str, name: str) -> str:
    """Return the expression for the text of one member; null if it is absent or empty.

    A document with extensions is none of which `is_exact_sql` holds.
    """
    if name not in NESTED_NAMES:
        return "null::varchar"
    return f"nullif({members}.{name}, '{_EMPTY.get(name, 'null')}')"


def encode_members(project: Any) -> dict[str, str | None]:
    """Return the texts of the members of a decoded project, and of its extensions."""
    texts = {name: _encode(getattr(project, name)) for name in NESTED_NAMES}
    return {
        name: None if text == _EMPTY.get(name, "null") else text for name, text in texts.items()
    }


def _encode(value: Any) -> str:
    return msgspec.json.encode(value).decode()
