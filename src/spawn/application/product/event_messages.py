"""Event types as AsyncAPI messages, and the JSON Schemas of the states in them.

States that no governed schema covers are described by the types that are encoded.
"""

import inspect
from collections.abc import Mapping
from typing import Final

import msgspec

from spawn.application.product.snapshot import Json, ProductSnapshot
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.approvals.approval import DECIDED_EVENT, REQUESTED_EVENT
from spawn.domain.covenants.cfads_actuals import ACTUALS_RECORDED_EVENT, CfadsActuals
from spawn.domain.covenants.cfads_case import (
    CASE_CREATED_EVENT,
    CASE_REVISED_EVENT,
    CASE_USED_EVENT,
    CfadsCase,
)
from spawn.domain.covenants.covenant_record import TEST_RECORDED_EVENT, RecordedCovenantTest
from spawn.domain.covenants.covenant_set import (
    COVENANT_AMENDED_EVENT,
    COVENANT_CREATED_EVENT,
    COVENANT_TESTED_EVENT,
    COVENANT_WAIVED_EVENT,
    CovenantSet,
)
from spawn.domain.covenants.project_reserve import (
    RESERVE_AMENDED_EVENT,
    RESERVE_BALANCED_EVENT,
    RESERVE_OPENED_EVENT,
    ReserveAccountState,
)
from spawn.domain.events.cloudevents import MEDIA_TYPE, format_event_type
from spawn.domain.events.published_states import PUBLISHED_STATES
from spawn.domain.facilities.facility import FACILITY_AMENDED_EVENT, FACILITY_CREATED_EVENT
from spawn.domain.facilities.ledger import ENTRY_RECORDED_EVENT, LedgerEntry
from spawn.domain.lineage.run import ENDED_EVENTS, STARTED_EVENT, Run, RunState
from spawn.domain.portfolios.fx_rate_set import (
    FX_CORRECTED_EVENT,
    FX_PUBLISHED_EVENT,
    FxRateSet,
)
from spawn.domain.portfolios.holding import (
    HOLDING_AMENDED_EVENT,
    HOLDING_CREATED_EVENT,
    HOLDING_REMOVED_EVENT,
    Holding,
)
from spawn.domain.portfolios.portfolio import (
    PORTFOLIO_AMENDED_EVENT,
    PORTFOLIO_CREATED_EVENT,
    Portfolio,
)
from spawn.domain.projects.project import AMENDED_EVENT, CREATED_EVENT, TRANSITIONED_EVENT
from spawn.domain.quality.report import BREACHED_EVENT, RECOVERED_EVENT, ServiceLevelStatus
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.json_schema import SchemaUse
from spawn.domain.schemas.schema_status import (
    ADOPTED_EVENT,
    QUARANTINED_EVENT,
    REJECTED_EVENT,
    SchemaStatus,
)
from spawn.domain.schemas.validator import compile_schema

_REFERENCE: Final = "#/components/schemas/{name}"


class EventDescription(msgspec.Struct, frozen=True):
    """An event type: its name in the journal, its meaning, the schema of its state."""

    name: str
    description: str
    state: str = "Project"

    @property
    def type(self) -> str:
        """CloudEvents type."""
        return format_event_type(self.name)


EVENTS_BY_MESSAGE: Final[Mapping[str, EventDescription]] = {
    "projectCreated": EventDescription(CREATED_EVENT, "A project was created or imported."),
    "projectAmended": EventDescription(AMENDED_EVENT, "Fields of a project were changed."),
    "projectTransitioned": EventDescription(
        TRANSITIONED_EVENT, "A project moved to another status."
    ),
    "facilityCreated": EventDescription(
        FACILITY_CREATED_EVENT, "A facility of a project was created.", "Facility"
    ),
    "facilityAmended": EventDescription(
        FACILITY_AMENDED_EVENT, "Terms of a facility were changed.", "Facility"
    ),
    "caseCreated": EventDescription(
        CASE_CREATED_EVENT, "A CFADS case of a project was created.", "CfadsCase"
    ),
    "caseRevised": EventDescription(
        CASE_REVISED_EVENT, "Figures of a CFADS case were changed.", "CfadsCase"
    ),
    "caseUsed": EventDescription(
        CASE_USED_EVENT, "A covenant test used a CFADS case first.", "CfadsCase"
    ),
    "covenantCreated": EventDescription(
        COVENANT_CREATED_EVENT, "A covenant of a project was created.", "CovenantSet"
    ),
    "covenantAmended": EventDescription(
        COVENANT_AMENDED_EVENT, "Terms of a covenant were changed.", "CovenantSet"
    ),
    "covenantTested": EventDescription(
        COVENANT_TESTED_EVENT, "A test was registered with its covenant.", "CovenantSet"
    ),
    "covenantWaived": EventDescription(
        COVENANT_WAIVED_EVENT, "A waiver of a covenant was recorded.", "CovenantSet"
    ),
    "covenantTestRecorded": EventDescription(
        TEST_RECORDED_EVENT, "A test of a covenant was recorded.", "RecordedCovenantTest"
    ),
    "reserveAccountOpened": EventDescription(
        RESERVE_OPENED_EVENT, "A reserve account of a project was opened.", "ReserveAccountState"
    ),
    "reserveAccountAmended": EventDescription(
        RESERVE_AMENDED_EVENT, "Terms of a reserve account were changed.", "ReserveAccountState"
    ),
    "reserveAccountBalanced": EventDescription(
        RESERVE_BALANCED_EVENT,
        "A balance of a reserve account was recorded.",
        "ReserveAccountState",
    ),
    "actualsRecorded": EventDescription(
        ACTUALS_RECORDED_EVENT, "Actual CFADS were recorded or corrected.", "CfadsActuals"
    ),
    "portfolioCreated": EventDescription(
        PORTFOLIO_CREATED_EVENT, "A portfolio was created.", "Portfolio"
    ),
    "portfolioAmended": EventDescription(
        PORTFOLIO_AMENDED_EVENT, "Terms or limits of a portfolio were changed.", "Portfolio"
    ),
    "holdingCreated": EventDescription(
        HOLDING_CREATED_EVENT, "A holding was added to a portfolio.", "Holding"
    ),
    "holdingAmended": EventDescription(
        HOLDING_AMENDED_EVENT, "The share or the days of a holding were changed.", "Holding"
    ),
    "holdingRemoved": EventDescription(
        HOLDING_REMOVED_EVENT, "A holding that was recorded in error was removed.", "Holding"
    ),
    "fxRateSetPublished": EventDescription(
        FX_PUBLISHED_EVENT, "A set of exchange rates was published.", "FxRateSet"
    ),
    "fxRateSetCorrected": EventDescription(
        FX_CORRECTED_EVENT, "A set of exchange rates was corrected.", "FxRateSet"
    ),
    "entryRecorded": EventDescription(
        ENTRY_RECORDED_EVENT,
        "An entry was recorded in the ledger of a facility.",
        "LedgerEntry",
    ),
    "schemaAdopted": EventDescription(
        ADOPTED_EVENT, "Another version of the schema became active.", "SchemaStatus"
    ),
    "schemaQuarantined": EventDescription(
        QUARANTINED_EVENT, "A version of the schema was quarantined.", "SchemaStatus"
    ),
    "schemaRejected": EventDescription(
        REJECTED_EVENT, "A version of the schema was rejected.", "SchemaStatus"
    ),
    "qualityBreached": EventDescription(
        BREACHED_EVENT, "A service level of the data is no longer met.", "ServiceLevelStatus"
    ),
    "qualityRecovered": EventDescription(
        RECOVERED_EVENT, "A service level of the data is met again.", "ServiceLevelStatus"
    ),
    "approvalRequested": EventDescription(
        REQUESTED_EVENT,
        "A command waits for the decision of another person.",
        "PublishedApproval",
    ),
    "approvalDecided": EventDescription(
        DECIDED_EVENT,
        "A command was approved, rejected, withdrawn, or was stale.",
        "PublishedApproval",
    ),
    "lineageStarted": EventDescription(
        STARTED_EVENT, "A run of an import, export or migration started.", "Run"
    ),
    "lineageCompleted": EventDescription(
        ENDED_EVENTS[RunState.COMPLETE], "A run completed.", "Run"
    ),
    "lineageFailed": EventDescription(ENDED_EVENTS[RunState.FAILED], "A run failed.", "Run"),
    "lineageAborted": EventDescription(ENDED_EVENTS[RunState.ABORTED], "A run was aborted.", "Run"),
}
"""Event types by AsyncAPI message name. Lineage events are sent only on request."""

_ENVELOPE_FIELDS: Final = frozenset({"version", "created_at", "updated_at"})
"""Fields that the event's envelope has, and its state does not repeat."""


def build_messages(snapshot: ProductSnapshot) -> Json:
    """Build every event type as an AsyncAPI message."""
    schema_ids = {one.kind.capitalize(): one.schema.id for one in snapshot.all_datasets}
    return {name: _message(event, schema_ids) for name, event in EVENTS_BY_MESSAGE.items()}


def build_schemas(snapshot: ProductSnapshot) -> Json:
    """Build the schemas that the messages refer to."""
    states = (
        *(
            CfadsActuals,
            CfadsCase,
            LedgerEntry,
            ServiceLevelStatus,
            SchemaStatus,
        ),
        *(Run, CovenantSet, FxRateSet, Portfolio, Holding, RecordedCovenantTest),
        ReserveAccountState,
        *PUBLISHED_STATES.values(),
        *(one.terms_type for one in AGGREGATE_TYPES.values() if one.terms_type is not None),
    )
    _, components = msgspec.json.schema_components(states, ref_template=_REFERENCE)
    for component in components.values():
        # Docstrings are indented for the source; the document needs plain text.
        component["description"] = inspect.cleandoc(component.get("description", ""))
    for one in snapshot.all_datasets:
        terms_type = AGGREGATE_TYPES[one.kind].terms_type
        terms = None if terms_type is None else components.pop(terms_type.__name__)
        components[one.kind.capitalize()] = _build_state(one.schema, terms)
    return {**components, "CloudEvent": _ENVELOPE}


def schema_reference(name: str) -> Json:
    """Return a reference to a component schema."""
    return {"$ref": _REFERENCE.format(name=name)}


def _message(event: EventDescription, schema_ids: Mapping[str, str]) -> Json:
    data = {
        "type": "object",
        "properties": {
            "before_version": {"type": "integer", "minimum": 0},
            "changed": {"type": "array", "items": {"type": "string"}},
            "after": schema_reference(event.state),
        },
        "required": ["before_version", "changed", "after"],
    }
    payload_fields = {"type": {"const": event.type}, "data": data}
    return {
        "name": event.type,
        "title": event.description.removesuffix("."),
        "summary": event.description,
        "contentType": MEDIA_TYPE,
        "payload": {
            "allOf": [
                schema_reference("CloudEvent"),
                {"type": "object", "properties": payload_fields},
            ]
        },
        "tags": [{"name": schema_ids.get(event.state, event.state)}],
    }


def _build_state(schema: Schema, terms: Json | None) -> Json:
    """Return the schema of a governed state in events, under a version of its schema."""
    validator = compile_schema(schema)
    if terms is None:
        state_schema = validator.json_schema(SchemaUse.OUTPUT)
    else:
        state_schema = validator.join_terms(terms, SchemaUse.OUTPUT)
    properties = {
        name: one
        for name, one in state_schema["properties"].items()
        if name not in _ENVELOPE_FIELDS
    }
    return {
        **state_schema,
        "description": f"A {schema.kind} under {schema.id} version {schema.version}.",
        "properties": properties,
        "required": [name for name in state_schema["required"] if name not in _ENVELOPE_FIELDS],
    }


_TEXT: Final[Json] = {"type": "string", "minLength": 1}
_ENVELOPE: Final[Json] = {
    "type": "object",
    "description": "CloudEvents 1.0, structured. Deduplicate by `source` and `id`.",
    "properties": {
        "specversion": {"const": "1.0"},
        "id": {**_TEXT, "description": "Position in the feed, `@` and the identity of the store."},
        "source": {"type": "string", "format": "uri", "description": "This service."},
        "type": _TEXT,
        "subject": {"type": "string", "description": "Aggregate, such as projects/{id}."},
        "time": {"type": "string", "format": "date-time"},
        "datacontenttype": {"const": "application/json"},
        "dataschema": {
            "type": "string",
            "format": "uri",
            "description": "Schema version of the state of a governed kind.",
        },
        "sequence": {"type": "string", "description": "Version of the aggregate."},
        "storeid": {
            "type": "string",
            "pattern": "^[0-9a-f]{32}$",
            "description": "Identity of the store, made once with it.",
        },
        "traceparent": {"type": "string", "description": "W3C trace context of the command."},
        "data": {"type": "object"},
    },
    "required": [
        *("specversion", "id", "source", "type", "subject", "time", "sequence", "storeid", "data"),
    ],
}
