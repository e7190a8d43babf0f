"""Immutable snapshot of the product, from which every document is generated."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.product.contract_version import compute_contract_version
from spawn.application.product.links import Endpoint
from spawn.application.quality.queries import get_latest_report
from spawn.application.schemas.activation import find_record
from spawn.application.schemas.served_versions import SchemaVersionView, get_version_view
from spawn.application.schemas.version_selection import VersionSelection
from spawn.domain.aggregates import AGGREGATE_TYPES, governed_kinds
from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.report import QualityReport, RuleResult
from spawn.domain.quality.rules import (
    QualityRule,
    ServiceLevels,
    build_freshness_rules,
    list_rules,
)
from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES, CoreAttributes
from spawn.domain.schemas.evolution.migration_plan import ChangeType
from spawn.domain.schemas.evolution.version_conversion import current_name
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import SchemaRecord

Json = dict[str, Any]

DOMAIN: Final = "project-finance"
TITLE: Final = "Project finance"
PURPOSE: Final = CORE_ATTRIBUTES[PROJECT_KIND].description
USAGE: Final = (
    "Read projects, their facilities and their history over HTTP, filtered and sorted on any "
    "column; follow changes through the event feed; calculate returns and coverage ratios of a "
    "financing structure."
)
LIMITATIONS: Final = (
    "Amounts are in the currency of each project or facility and are never converted. Fields that "
    "begin with x_ belong to clients and are not part of the contract. Figures are as entered by "
    "the desk; the measured quality shows how complete and consistent they are."
)
"""Usage and limitations of the product with all its datasets."""

_DATASET_USAGE: Final = {
    PROJECT_KIND: (
        "Read projects and their history over HTTP, filtered and sorted on any column; follow "
        "changes through the event feed; calculate returns and coverage ratios of a financing "
        "structure."
    ),
    FACILITY_KIND: (
        "Read the terms of facilities by project or as one dataset, now or as recorded at an "
        "instant; follow changes through the event feed. Balances, statements and schedules follow "
        "from the ledger of each facility, under paths of their own."
    ),
}
_DATASET_LIMITATIONS: Final = {
    PROJECT_KIND: (
        "Amounts are in each project's own currency and are never converted. Fields that begin "
        "with x_ belong to clients and are not part of the contract. Figures are as entered by the "
        "desk; the measured quality shows how complete and consistent they are."
    ),
    FACILITY_KIND: (
        "Amounts are in each facility's own currency and are never converted. The dataset has the "
        "terms alone: what was drawn and repaid is in the ledgers. Fields that begin with x_ "
        "belong to clients and are not part of the contract. Terms are as entered by the desk; the "
        "measured quality shows how complete they are."
    ),
}

_PRODUCT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_MAX_OWNER_LENGTH: Final = 200


class Broker(msgspec.Struct, frozen=True):
    """A message broker that events are published to: its servers and its subjects.

    A subject is the prefix and the event type, and with `has_id_in_subject` the aggregate's id.
    """

    protocol: str
    hosts: tuple[str, ...]
    prefix: str
    has_id_in_subject: bool = False


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of the data product; `owner` and `contact` are empty if not declared.

    `is_open` is True without access control, so that no caller needs credentials. `webhooks` is
    True if events are posted to receivers; their addresses are not published. `levels` are the ages
    that the operator promises.
    """

    id: str
    base_url: str
    owner: str = ""
    contact: str = ""
    environment: str = "production"
    is_open: bool = False
    webhooks: bool = False
    brokers: tuple[Broker, ...] = ()
    levels: ServiceLevels = ServiceLevels()

    @property
    def contact_object(self) -> Json:
        """Owner and contact as an OpenAPI and AsyncAPI object; empty if neither is declared."""
        address = self.contact.removeprefix("mailto:")
        channel = {"url": address} if address == self.contact else {"email": address}
        return omit_empty({"name": self.owner, **channel})

    def url(self, path: str) -> str:
        """Return the absolute URL of a path of this service."""
        return self.base_url + path


class ProductSnapshot(msgspec.Struct, frozen=True, kw_only=True):
    """Input of every document; equal snapshots make equal documents.

    `record` is the schema version that the documents describe, of one governed kind; `history` ends
    with it: the versions whose data the store holds, newest first. `is_active` unless it is an
    older version. `rules` are its quality rules; `report` is the last measurement, None before the
    first. `physical_types` are the store's own types of the columns by name, empty where none are
    needed. `others` are those of the other governed kinds, without others.
    """

    product: Product
    record: SchemaRecord
    rules: tuple[QualityRule, ...]
    history: tuple[Schema, ...] = ()
    is_active: bool = True
    report: QualityReport | None = None
    physical_types: Mapping[str, str] = msgspec.field(default_factory=dict)
    others: tuple["ProductSnapshot", ...] = ()

    @property
    def kind(self) -> str:
        """Governed kind that the schema version describes."""
        return self.schema.kind

    @property
    def attributes(self) -> CoreAttributes:
        """Core attributes of the kind."""
        return CORE_ATTRIBUTES[self.kind]

    @property
    def dataset(self) -> str:
        """Name of the dataset with the states of the kind, and of their table."""
        return AGGREGATE_TYPES[self.kind].table or self.kind

    @property
    def contract_id(self) -> str:
        """Id of the data contract."""
        return f"{self.product.id}.{self.dataset}"

    @property
    def purpose(self) -> str:
        """Description of the dataset."""
        return self.schema.description or self.attributes.description

    @property
    def usage(self) -> str:
        """Description of the uses of the dataset."""
        return _DATASET_USAGE.get(self.kind, USAGE)

    @property
    def limitations(self) -> str:
        """Description of the limits of the dataset."""
        return _DATASET_LIMITATIONS.get(self.kind, LIMITATIONS)

    @property
    def all_datasets(self) -> tuple["ProductSnapshot", ...]:
        """This snapshot and those of the other kinds."""
        return (self, *self.others)

    @property
    def other_schemas(self) -> tuple[Schema, ...]:
        """Schema versions of the other governed kinds."""
        return tuple(other.schema for other in self.others)

    def document_path(self, endpoint: Endpoint) -> str:
        """Return the path of a document that describes one schema, for that of this kind."""
        return document_path(endpoint, self.schema)

    @property
    def schema(self) -> Schema:
        """Schema version that the documents describe."""
        return self.record.schema

    @property
    def version(self) -> str:
        """Version of the contract and its ports."""
        return compute_contract_version(self.history)

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column of a served state, in the order of its document."""
        return served_columns(self.schema)

    @property
    def schema_url(self) -> str:
        """URL of the schema version."""
        return self.product.url(schema_path(self.schema))

    @property
    def promised_rules(self) -> tuple[QualityRule, ...]:
        """Rules of the contract: those of the schema and the ages that the operator promises."""
        ages = build_freshness_rules(self.product.levels) if self.kind == PROJECT_KIND else ()
        return (*self.rules, *(rule for rule in ages if rule.threshold is not None))

    def rules_with_results(self) -> Iterator[tuple[QualityRule, RuleResult | None]]:
        """Yield every rule with its last result, including rules on ages and files.

        Only the report has the rules on ages and files; they have no columns. Its other rules that
        are not current belong to an earlier schema, whose columns no document lists.
        """
        results = {r.rule.rule_id: r for r in self.report.results} if self.report else {}
        for rule in self.rules:
            yield rule, results.pop(rule.rule_id, None)
        if self.kind != PROJECT_KIND:
            return
        for result in results.values():
            if not result.rule.columns:
                yield result.rule, result


async def take_snapshot(
    dependencies: Dependencies,
    principal: Principal | None,
    product: Product,
    versions: VersionSelection = (),
    kind: str = PROJECT_KIND,
) -> ProductSnapshot:
    """Take the current snapshot; it costs a few reads that the store has cached.

    Args:
        dependencies: the ports.
        principal: the reader; without one, as for documents that everybody may read, and for a
            reader of some rows the snapshot has no quality report, which is of every row.
        product: the identity of the product.
        versions: the served schema versions to describe; the active one of a kind without any.
        kind: the governed kind of the snapshot; the others are beside it.

    Raises:
        NotFound: the store never had data under a version.
        SchemaVersionExpired: a version is no longer served.
    """
    report = None
    if principal is not None and principal.row_scope is None:
        stored_report = await get_latest_report(dependencies, principal)
        report = None if stored_report is None else stored_report.state
    snapshots = {
        one: await _take_snapshot_of(dependencies, product, report, one, dict(versions).get(one))
        for one in governed_kinds()
    }
    others = tuple(one for other, one in snapshots.items() if other != kind)
    return msgspec.structs.replace(snapshots[kind], others=others)


async def _take_snapshot_of(
    dependencies: Dependencies,
    product: Product,
    report: QualityReport | None,
    kind: str,
    version: int | None,
) -> ProductSnapshot:
    """Take the snapshot of one kind, under a served version of its schema or the active one."""
    record = await dependencies.active_schema(kind)
    history = await dependencies.schemas.version_history(kind)
    is_active = version is None or version == record.schema.version
    if version is not None and not is_active:
        schema = (await get_version_view(dependencies, version, kind)).schema
        history = history[history.index(schema) :]
        records = await dependencies.schemas.records(kind)
        found = find_record(records, schema.fingerprint, schema.version)
        record = msgspec.structs.replace(found or record, schema=schema)
    return ProductSnapshot(
        product=product,
        record=record,
        history=history,
        is_active=is_active,
        rules=list_rules(record.schema),
        report=report,
    )


async def read_physical_types(
    dependencies: Dependencies, kind: str = PROJECT_KIND, version: int | None = None
) -> dict[str, str]:
    """Return the type of each stored column of a governed kind, as the store itself names it.

    A column of an older schema version has the type of its column now, unless its type changed.
    """
    tables = await dependencies.reads.tables()
    types = {
        column.name: column.type
        for table in tables
        if table.kind == kind
        for column in table.columns
    }
    if version is None:
        return types
    return _name_types(types, await get_version_view(dependencies, version, kind))


def _name_types(types: Mapping[str, str], view: SchemaVersionView) -> dict[str, str]:
    changed_names = {
        step.name for plan in view.plans for step in plan.steps if isinstance(step, ChangeType)
    }
    current_names = {
        name: current_name(name, view.plans) for name in compile_schema(view.schema).fields
    }
    return {
        name: types[current]
        for name, current in current_names.items()
        if current in types and current not in changed_names
    }


def served_columns(schema: Schema) -> tuple[Column, ...]:
    """Return the columns of a state served under a schema: identity, core, governed, times."""
    fields = compile_schema(schema).fields
    system_columns = CORE_ATTRIBUTES[schema.kind].system_columns
    identity, version, *times = (column.name for column in system_columns)
    others = [name for name in fields if name not in {identity, version, *times}]
    return tuple(fields[name] for name in (identity, version, *others, *times))


def document_path(endpoint: Endpoint, schema: Schema) -> str:
    """Return the path of a document that describes one schema, such as the contract."""
    query = "" if schema.kind == PROJECT_KIND else f"?schema_id={schema.id}"
    return endpoint.path + query


def schema_path(schema: Schema) -> str:
    """Return the path of a schema version."""
    return f"/v1/governance/schemas/{schema.id}/versions/{schema.version}"


def omit_empty(fields: Mapping[str, Any]) -> Json:
    """Return the fields without those that are None, empty texts or empty collections."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {}, ())}


def format_instant(moment: datetime) -> str:
    """Format an instant as RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z")


def property_list(values: Mapping[str, Any]) -> list[Json]:
    """Convert fields to a list of properties, the form of both Bitol standards."""
    return [{"property": name, "value": value} for name, value in omit_empty(values).items()]


def parse_product_id(text: str) -> str:
    """Return the id of a product.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if not _PRODUCT_ID.fullmatch(text):
        raise ValueError("a product id is up to 100 lower-case letters, digits, '.', '_' and '-'")
    return text


def parse_owner(text: str) -> str:
    """Return the name of an owner.

    Raises:
        ValueError: the text is no such value; the message names the rule.
    """
    if not 0 < len(text) <= _MAX_OWNER_LENGTH or not text.isprintable():
        raise ValueError(f"a name of 1 to {_MAX_OWNER_LENGTH} printable characters is expected")
    return text
