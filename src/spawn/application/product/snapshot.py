"""Immutable snapshot of the product, from which every document is generated."""

import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Dependencies
from spawn.application.quality.queries import get_latest_report
from spawn.domain.principal import Principal
from spawn.domain.projects.project import PROJECT_KIND
from spawn.domain.quality.report import QualityReport, RuleResult
from spawn.domain.quality.rules import QualityRule, derive_rules
from spawn.domain.schema_version import Column, Schema
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import SchemaRecord

Json = dict[str, Any]

API_MAJOR: Final = 1
"""Major version of the API and of the contract; within it no change is breaking."""

DOMAIN: Final = "project-finance"
DATASET: Final = "projects"
TITLE: Final = "Project finance"
PURPOSE: Final = (
    "The system of record for financed infrastructure and energy projects: their attributes, "
    "costs, sponsors and status, with a full history of changes."
)
USAGE: Final = (
    "Read projects and their history over HTTP, filtered and sorted on any column; follow changes "
    "through the event feed; calculate returns and coverage ratios of a financing structure."
)
LIMITATIONS: Final = (
    "Amounts are in each project's own currency and are never converted. Fields that begin with "
    "x_ belong to clients and are not part of the contract. Figures are as entered by the desk; "
    "the measured quality shows how complete and consistent they are."
)


_PRODUCT_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,98}[a-z0-9])?")
_MAX_OWNER_LENGTH: Final = 200


class Broker(msgspec.Struct, frozen=True):
    """A message broker that events are published to: its host and subject prefix."""

    protocol: str
    host: str
    prefix: str


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Identity of the data product; `owner` and `contact` are empty if not declared.

    `is_open` is True without access control, so that no caller needs credentials. `webhooks` is
    True if events are posted to receivers; their addresses are not published.
    """

    id: str
    base_url: str
    owner: str = ""
    contact: str = ""
    environment: str = "production"
    is_open: bool = False
    webhooks: bool = False
    brokers: tuple[Broker, ...] = ()

    @property
    def contract_id(self) -> str:
        """Id of the data contract."""
        return f"{self.id}.{DATASET}"

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

    `rules` are the current quality rules; `report` is the last measurement, None before the first.
    `physical_types` are the store's own types of the columns by name, empty where none are needed.
    """

    product: Product
    record: SchemaRecord
    rules: tuple[QualityRule, ...]
    report: QualityReport | None = None
    physical_types: Mapping[str, str] = msgspec.field(default_factory=dict)

    @property
    def schema(self) -> Schema:
        """Active schema."""
        return self.record.schema

    @property
    def version(self) -> str:
        """Version of the contract and its ports; each adopted schema is a compatible minor."""
        return f"{API_MAJOR}.{self.schema.version}.0"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column of a served project, in the order of its document."""
        return served_columns(self.schema)

    @property
    def schema_url(self) -> str:
        """URL of the active schema version."""
        return self.product.url(schema_path(self.schema))

    def rules_with_results(self) -> Iterator[tuple[QualityRule, RuleResult | None]]:
        """Yield every rule with its last result, including rules on ages and files.

        Only the report has the rules on ages and files; they have no columns. Its other rules that
        are not current belong to an earlier schema, whose columns no document lists.
        """
        results = {r.rule.rule_id: r for r in self.report.results} if self.report else {}
        for rule in self.rules:
            yield rule, results.pop(rule.rule_id, None)
        for result in results.values():
            if not result.rule.columns:
                yield result.rule, result


async def take_snapshot(
    dependencies: Dependencies, principal: Principal | None, product: Product
) -> ProductSnapshot:
    """Take the current snapshot; it costs a few reads that the store has cached.

    Without a principal, as for documents that everybody may read, it has no quality report.
    """
    record = await dependencies.active_schema()
    declarations = derive_rules(compile_schema(record.schema).fields, record.schema.expectations)
    stored_report = None if principal is None else await get_latest_report(dependencies, principal)
    return ProductSnapshot(
        product=product,
        record=record,
        rules=tuple(declaration.rule for declaration in declarations),
        report=None if stored_report is None else stored_report.state,
    )


async def read_physical_types(dependencies: Dependencies) -> dict[str, str]:
    """Return the type of each stored column of a project, as the store itself names it."""
    tables = await dependencies.reads.tables()
    return {
        column.name: column.type
        for table in tables
        if table.kind == PROJECT_KIND
        for column in table.columns
    }


def served_columns(schema: Schema) -> tuple[Column, ...]:
    """Return the columns of a project served under a schema: identity, core, governed, times."""
    fields = compile_schema(schema).fields
    identity, version, *times = (column.name for column in SYSTEM_COLUMNS)
    others = [name for name in fields if name not in {identity, version, *times}]
    return tuple(fields[name] for name in (identity, version, *others, *times))


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
