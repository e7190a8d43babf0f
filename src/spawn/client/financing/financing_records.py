"""Exact numbers, and records that are read from responses."""

from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, TypeVar

import httpx
import msgspec

from spawn.client import calls
from spawn.client.calls import Call, Operation
from spawn.client.records import Json

ExactNumber = Decimal | int | str
"""A number whose digits are sent as they are: amounts, rates and shares are never floats."""

DecimalText = Decimal | str
"""A decimal that is sent as a text: the service reads no numbers of JSON in its place."""

Day = date | str
Instant = datetime | str


class ClientRecord(msgspec.Struct, frozen=True, kw_only=True):
    """A response whose amounts, rates and shares are exact decimals."""


Report = TypeVar("Report")


def reader_of(kind: type[Report]) -> Callable[[httpx.Response], Report]:
    """Return a function that reads a record from a response, with its tag if the kind has one.

    Raises:
        ApprovalPending: the response is that of a command that waits for another person.
    """
    has_etag = "etag" in getattr(kind, "__struct_fields__", ())

    def read(response: httpx.Response) -> Report:
        record = msgspec.json.decode(calls.raise_pending(response).content, type=kind)
        if not has_etag:
            return record
        return msgspec.structs.replace(record, etag=response.headers.get("etag"))  # type: ignore[type-var]

    return read


def read_item(kind: type[Report], item: Mapping[str, Json]) -> Report:
    """Return a record of an item of a list; one with every attribute has it as its document."""
    record = msgspec.convert(item, kind)
    if "document" not in getattr(kind, "__struct_fields__", ()):
        return record
    return msgspec.structs.replace(record, document=item)  # type: ignore[type-var]


def get_report(path: str, kind: type[Report], options: Mapping[str, Any]) -> Operation[Report]:
    """Read figures of a kind; options that are None are left out."""
    response = yield build_report_call(path, options)
    return reader_of(kind)(response)


def post_document(
    path: str, kind: type[Report], document: object, key: str | None
) -> Operation[Report]:
    """Send a command whose decimals are texts, and read what it returns."""
    response = yield calls.build_change("POST", path, msgspec.to_builtins(document), {}, key)
    return reader_of(kind)(response)


def build_report_call(path: str, options: Mapping[str, Any]) -> Call:
    """Return the read of figures; options that are None are left out."""
    values = {name: value for name, value in options.items() if value is not None}
    return Call(
        method="GET",
        path=path,
        params=calls.to_params(values),
        headers={"Accept": "application/json"},
    )
