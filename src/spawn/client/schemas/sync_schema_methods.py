"""Methods of the synchronous client for schemas, contracts and consumers."""

from collections.abc import Iterator, Mapping
from typing import Any, TypeVar

from spawn.client.calls import Operation
from spawn.client.financing.financing_records import get_report
from spawn.client.records import Json
from spawn.client.schemas import schema_records
from spawn.client.schemas.schema_records import (
    PROJECT_SCHEMA,
    SchemaConsumerRecord,
    SchemaSummaryRecord,
    SchemaVersionRecord,
)

T = TypeVar("T")


class SchemaMethods:
    """Schemas of the governed kinds of a service, each by its id."""

    def _run(self, operation: Operation[T]) -> T:
        """Send the requests of an operation, and return its result."""
        raise NotImplementedError

    def _iterate_as(self, kind: type[T], path: str, options: Mapping[str, Any]) -> Iterator[T]:
        """Yield the items of a list as records, page by page."""
        raise NotImplementedError

    def iterate_schemas(self) -> Iterator[SchemaSummaryRecord]:
        """Yield the schema of each governed kind by its active version."""
        return self._iterate_as(SchemaSummaryRecord, schema_records.SCHEMAS, {})

    def get_schema(
        self, schema_id: str = PROJECT_SCHEMA, version: int | None = None
    ) -> SchemaVersionRecord:
        """Return a version of a schema; without a number the active one."""
        path = schema_records.schema_path(schema_id, version)
        return self._run(get_report(path, SchemaVersionRecord, {}))

    def iterate_schema_versions(
        self, schema_id: str = PROJECT_SCHEMA
    ) -> Iterator[SchemaSummaryRecord]:
        """Yield every known version of a schema."""
        path = f"{schema_records.schema_path(schema_id)}/versions"
        return self._iterate_as(SchemaSummaryRecord, path, {})

    def get_json_schema(
        self, schema_id: str, version: int, *, use: str = "output"
    ) -> dict[str, Json]:
        """Return the JSON Schema of what a schema version governs.

        `use` is `output` for a resource as served, `input` for a creation, `patch` for a change.
        """
        path = f"{schema_records.schema_path(schema_id, version)}/json-schema"
        return self._run(schema_records.read_document(path, {"use": use}))

    def get_contract(
        self, schema_id: str | None = None, *, schema_version: int | str | None = None
    ) -> dict[str, Json]:
        """Return the data contract of what a schema governs, by default of projects.

        `schema_version` is that of an older version that is still supported.
        """
        options = {"schema_id": schema_id, "schema_version": schema_version}
        return self._run(schema_records.read_document("/contract", options))

    def iterate_consumers(
        self, *, schema_id: str | None = None, schema_version: int | None = None
    ) -> Iterator[SchemaConsumerRecord]:
        """Yield the registered consumers, oldest first, of a schema and a version if given."""
        options: dict[str, Any] = {} if schema_id is None else {"schema_id": schema_id}
        options["schema_version"] = schema_version
        return self._iterate_as(SchemaConsumerRecord, schema_records.CONSUMERS, options)

    def register_consumer(
        self, name: str, contact: str, schema_version: int, *, schema_id: str = PROJECT_SCHEMA
    ) -> SchemaConsumerRecord:
        """Register a consumer of a schema version, or change its contact or version.

        A Sunset then names the consumer. `contact` is a `mailto:` address or a URL.
        """
        operation = schema_records.put_consumer(name, contact, schema_version, schema_id)
        return self._run(operation)

    def remove_consumer(self, name: str) -> SchemaConsumerRecord:
        """Remove a consumer, and return what it was."""
        return self._run(schema_records.delete_consumer(name))
