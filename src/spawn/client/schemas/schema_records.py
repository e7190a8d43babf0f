"""Schema versions and their consumers as typed values, and where they are read."""

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any, Final

from spawn.client import calls
from spawn.client.calls import Call, Operation
from spawn.client.financing.financing_records import ClientRecord, reader_of
from spawn.client.records import Json, decode_json

SCHEMAS: Final = "/v1/governance/schemas"
CONSUMERS: Final = "/v1/governance/consumers"
PROJECT_SCHEMA: Final = "project_schema"


class SchemaDecisionRecord(ClientRecord, frozen=True, kw_only=True):
    """The decision of a data steward about a schema version."""

    approved: bool
    actor: str
    reason: str
    decided_at: datetime


class SchemaSummaryRecord(ClientRecord, frozen=True, kw_only=True):
    """A schema version without its document."""

    schema_id: str
    version: int
    name: str
    state: str
    provenance: str
    recorded_at: datetime
    fingerprint: str
    reason: str | None
    decision: SchemaDecisionRecord | None
    url: str


class SchemaColumnRecord(ClientRecord, frozen=True, kw_only=True):
    """A column of a schema version."""

    name: str
    type: str
    description: str
    required: bool
    governed: bool
    semantic: str | None
    unit: str | None
    aliases: tuple[str, ...]
    deprecated: bool
    sunset: date | None


class SchemaSunsetRecord(ClientRecord, frozen=True, kw_only=True):
    """The first Sunset among the columns of a schema version."""

    column: str
    sunset_on: date


class SchemaConsumerRecord(ClientRecord, frozen=True, kw_only=True):
    """A registered consumer of a schema version, with the Sunset that affects it.

    `last_used_on` is the last day (UTC) on which a key of its owner was used; None if unknown.
    """

    name: str
    contact: str
    schema_id: str
    schema_version: int
    owner: str
    sunset: SchemaSunsetRecord | None
    last_used_on: date | None = None


class SchemaVersionRecord(SchemaSummaryRecord, frozen=True, kw_only=True):
    """A schema version with its columns, its consumers, and its document as published."""

    description: str
    columns: tuple[SchemaColumnRecord, ...]
    ineffective: tuple[str, ...]
    document: dict[str, Json]
    sunset: SchemaSunsetRecord | None
    consumers: tuple[SchemaConsumerRecord, ...]


def schema_path(schema_id: str, version: int | None = None) -> str:
    """Return the path of the active version of a schema, or of that of a number."""
    path = f"{SCHEMAS}/{calls.quote_segment(schema_id)}"
    return path if version is None else f"{path}/versions/{version:d}"


def consumer_path(name: str) -> str:
    """Return the path of a consumer."""
    return f"{CONSUMERS}/{calls.quote_segment(name)}"


def read_document(path: str, options: Mapping[str, Any]) -> Operation[dict[str, Json]]:
    """Read a document in JSON; options that are None are left out."""
    values = {name: value for name, value in options.items() if value is not None}
    params, headers = calls.to_params(values), {"Accept": "application/json"}
    response = yield Call(method="GET", path=path, params=params, headers=headers)
    return decode_json(response.content)


def put_consumer(
    name: str, contact: str, schema_version: int, schema_id: str
) -> Operation[SchemaConsumerRecord]:
    """Register a consumer, or change it."""
    document = {"contact": contact, "schema_version": schema_version, "schema_id": schema_id}
    response = yield Call(
        method="PUT",
        path=consumer_path(name),
        body=calls.encode_document(document),
        headers={"Content-Type": "application/json"},
    )
    return reader_of(SchemaConsumerRecord)(response)


def delete_consumer(name: str) -> Operation[SchemaConsumerRecord]:
    """Remove a consumer; a repetition would not find it."""
    response = yield Call(method="DELETE", path=consumer_path(name), is_repeatable=False)
    return reader_of(SchemaConsumerRecord)(response)
