"""Types that the wire structs of all nouns share."""

from datetime import date, datetime
from types import SimpleNamespace
from typing import Annotated, Any, Generic, Self, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Count = Annotated[int, Meta(extra_json_schema={"minimum": 0})]
Version = Annotated[int, Meta(extra_json_schema={"minimum": 1})]
Instant = Annotated[datetime, Meta(extra_json_schema={"format": "date-time"})]
Day = Annotated[date, Meta(extra_json_schema={"format": "date"})]
JsonObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
"""An object that is stored as encoded JSON."""

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
    def of(cls, *sources: object, **members: object) -> Self:
        """Return the struct with the given members, and attributes of the sources by name.

        The first source that has an attribute provides it; nested structs are built alike.
        """
        if members or len(sources) > 1:
            return msgspec.convert(
                _Attributes((SimpleNamespace(**members), *sources)), cls, from_attributes=True
            )
        return msgspec.convert(sources[0], cls, from_attributes=True)


class PageView(WireStruct, Generic[T], frozen=True):
    """One page of a list; without a next page it is the last."""

    items: tuple[T, ...]
    next: Annotated[str | None, Meta(description="Cursor of the next page.")]


class _Attributes:
    """The attributes of several objects, those of the first ones before the others'."""

    __slots__ = ("_sources",)

    def __init__(self, sources: tuple[object, ...]) -> None:
        self._sources = sources

    def __getattr__(self, name: str) -> Any:
        for source in self._sources:
            try:
                return getattr(source, name)
            except AttributeError:
                continue
        raise AttributeError(name)
