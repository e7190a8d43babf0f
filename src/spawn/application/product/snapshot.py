"""What the documents are generated from: one immutable picture of the product."""

from collections.abc import Iterator, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from spawn.application.dependencies import Services
from spawn.application.quality.queries import latest_report
from spawn.domain.principal import Principal
from spawn.domain.quality.rules import Report, Result, Rule, rules_of
from spawn.domain.schemas.core_columns import SYSTEM_COLUMNS
from spawn.domain.schemas.model import Column, Schema
from spawn.domain.schemas.validator import compile_schema
from spawn.ports.schemas import SchemaRecord

Json = dict[str, Any]

API_MAJOR: Final = 1
"""The major version of the API; the contract's too, since within it nothing breaks."""

DOMAIN: Final = "project-finance"
DATASET: Final = "projects"
TITLE: Final = "Project finance"
PURPOSE: Final = (
    "The system of record for financed infrastructure and energy projects: what they are, what "
    "they cost, who stands behind them, and where they stand, with every change on record."
)
USAGE: Final = (
    "Read projects and their history over HTTP, filtered and sorted on any column; follow changes "
    "through the event feed; ask the calculators what a structure would yield."
)
LIMITATIONS: Final = (
    "Amounts are in each project's own currency and are never converted. Fields that begin with "
    "x_ are clients' own and lie outside the contract. Figures are as entered by the desk; the "
    "measured quality says how complete and consistent they are."
)


class Broker(msgspec.Struct, frozen=True):
    """A message broker that events are published to: its host, and the subjects' prefix."""

    protocol: str
    host: str
    prefix: str


class Product(msgspec.Struct, frozen=True, kw_only=True):
    """Who this product is; `owner` and `contact` are empty where none is declared.

    `webhooks` tells that events are posted to receivers; who they are is the operator's affair.
    """

    id: str
    base_url: str
    owner: str = ""
    contact: str = ""
    environment: str = "production"
    webhooks: bool = False
    brokers: tuple[Broker, ...] = ()

    @property
    def contract_id(self) -> str:
        """The id of the contract that rules the data."""
        return f"{self.id}.{DATASET}"

    @property
    def contact_object(self) -> Json:
        """Owner and contact as OpenAPI and AsyncAPI have them; empty if neither is declared."""
        mail = self.contact.removeprefix("mailto:")
        way = {"url": mail} if mail == self.contact else {"email": mail}
        return stated({"name": self.owner, **way})

    def url(self, path: str) -> str:
        """A path of this service as clients reach it."""
        return self.base_url + path


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a document may show. Equal views make equal documents.

    `rules` is what is promised of the data now, `report` what was measured last, None before the
    first measurement.
    """

    product: Product
    record: SchemaRecord
    rules: tuple[Rule, ...]
    report: Report | None = None

    @property
    def schema(self) -> Schema:
        """The schema that rules."""
        return self.record.schema

    @property
    def version(self) -> str:
        """The version of contract and ports: each adopted schema is a compatible minor."""
        return f"{API_MAJOR}.{self.schema.version}.0"

    @property
    def columns(self) -> tuple[Column, ...]:
        """Every column of a project as served, in the order of its document."""
        return columns_of(self.schema)

    @property
    def schema_url(self) -> str:
        """The version of the schema that the data are under."""
        return self.product.url(schema_path(self.schema))

    def assessed(self) -> Iterator[tuple[Rule, Result | None]]:
        """Every rule with its last result, those of ages and files included.

        These two only the report knows, and they are of no column. What else it alone knows was
        promised by a schema that rules no more: of its columns no document speaks.
        """
        results = {r.rule.rule_id: r for r in self.report.results} if self.report else {}
        for rule in self.rules:
            yield rule, results.pop(rule.rule_id, None)
        for result in results.values():
            if not result.rule.columns:
                yield result.rule, result


async def gather(services: Services, principal: Principal, product: Product) -> View:
    """The picture as it is now; a few reads of what the store knows by heart."""
    record = await services.active()
    declared = rules_of(compile_schema(record.schema).fields, record.schema.promises)
    found = await latest_report(services, principal)
    return View(
        product=product,
        record=record,
        rules=tuple(one.rule for one in declared),
        report=None if found is None else found.state,
    )


def columns_of(schema: Schema) -> tuple[Column, ...]:
    """The columns of a project as served under a schema: identity, core, governed, times."""
    fields = compile_schema(schema).fields
    identity, version, *times = (column.name for column in SYSTEM_COLUMNS)
    others = [name for name in fields if name not in {identity, version, *times}]
    return tuple(fields[name] for name in (identity, version, *others, *times))


def schema_path(schema: Schema) -> str:
    """Where a version of a schema lies."""
    return f"/v1/governance/schemas/{schema.id}/versions/{schema.version}"


def stated(fields: Mapping[str, Any]) -> Json:
    """The fields that say something: None, empty texts and empty collections are left out."""
    return {name: value for name, value in fields.items() if value not in (None, "", [], {}, ())}


def instant(moment: datetime) -> str:
    """An instant as the wire has it: RFC 3339 in UTC."""
    return moment.isoformat().replace("+00:00", "Z")


def properties(known: Mapping[str, Any]) -> list[Json]:
    """What is known as a list of properties, the form of both Bitol standards."""
    return [{"property": name, "value": value} for name, value in stated(known).items()]
