"""Wire structs of facilities."""

from collections.abc import Callable
from datetime import date
from typing import Any

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.facilities.facility import Facility, FacilityTermSheet
from spawn.domain.facilities.facility_codec import FACILITY_STATES
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.validator import ProjectInput, SchemaValidator
from spawn.domain.struct_reader import TokenReader, compile_reader
from spawn.entrypoints.http.wire import Instant, ResourceId, Version

_read_term_sheet: TokenReader = compile_reader(FacilityTermSheet, null_is_absent=True)


class FacilityView(FacilityTermSheet, frozen=True, kw_only=True):
    """A facility with its terms; amounts, rates and shares are strings of exact decimals."""

    facility_id: ResourceId
    project_id: ResourceId
    version: Version
    created_at: Instant
    updated_at: Instant


def facility_fields(aggregate: StoredAggregate[Facility], schema: Schema) -> dict[str, Any]:
    """Return the wire form of a stored facility: its terms and its governed attributes."""
    return {
        **FACILITY_STATES.render(aggregate.state, schema),
        "version": aggregate.version,
        "created_at": aggregate.created_at,
        "updated_at": aggregate.updated_at,
    }


class FacilityInput(msgspec.Struct, frozen=True):
    """The body of a facility: its terms, and its governed attributes with extensions."""

    terms: FacilityTermSheet
    governed_input: ProjectInput


def read_facility(document: bytes, validator: SchemaValidator, on_date: date) -> FacilityInput:
    """Read the body of a facility under the active schema.

    Raises:
        MalformedBody, InvalidInput: the document does not state it.
    """
    terms, others = _split(parse_object(document))
    errors: list[FieldError] = []
    values: list[Any] = []
    for read in (
        lambda: _read_term_sheet(terms, ""),
        lambda: validator.read_governed(others, on_date=on_date),
    ):
        try:
            values.append(read())
        except InvalidInput as error:
            errors += error.errors
    if errors:
        raise InvalidInput(errors)
    return FacilityInput(*values)


def _split(members: dict[str, Token]) -> tuple[dict[str, Token], dict[str, Token]]:
    """Return the members of a body that are terms, and the others."""
    names = frozenset(FacilityTermSheet.__struct_fields__)
    terms = {name: token for name, token in members.items() if name in names}
    return terms, {name: token for name, token in members.items() if name not in names}


class FacilityPatch(msgspec.Struct, frozen=True):
    """A merge patch of a facility: the change of its terms, and that of other attributes."""

    change_terms: Callable[[Facility], FacilityTermSheet]
    governed_input: ProjectInput


def read_facility_patch(
    document: bytes, validator: SchemaValidator, on_date: date
) -> FacilityPatch:
    """Read a JSON merge patch (RFC 7396) of a facility under the active schema.

    Raises:
        MalformedBody, InvalidInput: the document is no JSON object, or sets an invalid attribute.
    """
    patch, others = _split(parse_object(document))
    governed_input = validator.read_governed(others, partial=True, on_date=on_date)

    def change_terms(facility: Facility) -> FacilityTermSheet:
        members = {n: getattr(facility, n) for n in FacilityTermSheet.__struct_fields__}
        document = parse_object(msgspec.json.encode(members))
        terms: FacilityTermSheet = _read_term_sheet(_merge(document, patch), "")
        return terms

    return FacilityPatch(change_terms, governed_input)


def _merge(target: Token, patch: Token) -> Token:
    """Apply a merge patch: an object merges, null removes, any other value replaces."""
    if not isinstance(patch, dict):
        return patch
    result: dict[str, Any] = dict(target) if isinstance(target, dict) else {}
    for name, value in patch.items():
        if value is None:
            result.pop(name, None)
        else:
            result[name] = _merge(result.get(name), value)
    return result
