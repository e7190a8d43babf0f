"""Types that the wire structs of all nouns share."""

from datetime import datetime
from typing import Annotated, Generic, TypeVar

import msgspec
from msgspec import Meta

T = TypeVar("T")

Count = Annotated[int, Meta(ge=0)]
Instant = Annotated[datetime, Meta(tz=True)]
JsonObject = Annotated[msgspec.Raw, Meta(extra_json_schema={"type": "object"})]
"""An object that is stored as encoded JSON."""

OptionalNumber = Annotated[msgspec.Raw | None, Meta(extra_json_schema={"type": ["number", "null"]})]
"""A number with exactly its digits, or null."""

ResourceId = Annotated[
    str,
    Meta(
        pattern="^[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$",
        examples=["019a2b3c-4d5e-7f60-8a9b-0c1d2e3f4a5b"],
        extra_json_schema={"format": "uuid"},
    ),
]


class PageView(msgspec.Struct, Generic[T], frozen=True):
    """One page of a list; without a next page it is the last."""

    items: tuple[T, ...]
    next: Annotated[str | None, Meta(description="Cursor of the next page.")]
