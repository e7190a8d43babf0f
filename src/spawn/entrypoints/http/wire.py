"""Types that the wire structs of all nouns share."""

from collections.abc import Mapping
from datetime import date, datetime
from functools import cache
from typing import Annotated, Any, Final, Generic, Self, TypeVar, get_args, get_type_hints

import msgspec
from msgspec import Meta

from spawn.domain.projects.project import MAX_REASON

T = TypeVar("T")
_MISSING: Final = object()

Count = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Version = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
Instant = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
Day = Annotated[date, Meta(extra_json_schema={"format": "date"})]
JsonObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
"""An object that is stored as encoded JSON."""

Reason = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_REASON,
        pattern=r"^[^\u0000]*[^\s\u0000\u001c-\u001f\u0085][^\u0000]*$",
    ),
]
"""The reason of a transition or of a decision, as a client sends it."""

OptionalNumber = Annotated[Any, Meta(extra_json_schema={"type": ["number", "null"]})]
"""A number, raw to keep its digits, or null."""

RESOURCE_ID_SCHEMA = {
    "format": "uuid",
    "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
    "examples": ["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"],
}
ResourceId = Annotated[str, Meta(extra_json_schema=RESOURCE_ID_SCHEMA)]


class WireStruct(msgspec.Struct, frozen=True):
    """A JSON object as it is sent; its schema in the OpenAPI document is generated from it."""

    @classmethod
    def of(cls, source: object, *sources: object, **members: object) -> Self:
        """Return the struct with the given members, and attributes of the sources by name.

        The first source that has an attribute provides it; nested structs are built alike.
        """
        if not sources and not members:
            return msgspec.convert(source, cls, from_attributes=True)
        # Several sources cost Python's own loop; one is msgspec's, a fifth of the time.
        for name in cls.__struct_fields__:
            if name not in members:
                members[name] = _find_attribute(name, (source, *sources))
        for name, wire_type in _nested_types(cls).items():
            members[name] = msgspec.convert(members[name], wire_type, from_attributes=True)
        return cls(**members)


class PageView(WireStruct, Generic[T], frozen=True):
    """One page of a list; without a next page it is the last."""

    items: tuple[T, ...]
    next: Annotated[str | None, Meta(description="Cursor of the next page.")]


def _find_attribute(name: str, sources: tuple[object, ...]) -> Any:
    for source in sources:
        value = getattr(source, name, _MISSING)
        if value is not _MISSING:
            return value
    raise AttributeError(f"no source has {name}")


@cache
def _nested_types(wire_type: type[WireStruct]) -> Mapping[str, Any]:
    """Return the types of the members that are, or contain, wire structs."""
    hints = get_type_hints(wire_type)
    return {name: hints[name] for name in wire_type.__struct_fields__ if _is_nested(hints[name])}


def _is_nested(hint: Any) -> bool:
    if isinstance(hint, type) and issubclass(hint, WireStruct):
        return True
    return any(map(_is_nested, get_args(hint)))
