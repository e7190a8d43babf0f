"""Wire structs of facilities."""

from collections.abc import Callable
from typing import Any, Self

import msgspec

from spawn.domain.change import StoredAggregate
from spawn.domain.facilities.facility import Facility, FacilityTermSheet
from spawn.domain.json_tokens import Token, parse_object
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

    @classmethod
    def of_facility(cls, aggregate: StoredAggregate[Facility]) -> Self:
        """Return the wire form of a stored facility."""
        return cls(
            **msgspec.structs.asdict(aggregate.state),
            version=aggregate.version,
            created_at=aggregate.created_at,
            updated_at=aggregate.updated_at,
        )


def read_term_sheet(document: bytes) -> FacilityTermSheet:
    """Read the terms of a facility.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    terms: FacilityTermSheet = _read_term_sheet(parse_object(document), "")
    return terms


def read_term_patch(document: bytes) -> Callable[[Facility], FacilityTermSheet]:
    """Read a JSON merge patch (RFC 7396) as a change of the terms of a facility.

    Raises:
        MalformedBody, InvalidInput: the document is no JSON object.
    """
    patch = parse_object(document)

    def change_terms(facility: Facility) -> FacilityTermSheet:
        members = {n: getattr(facility, n) for n in FacilityTermSheet.__struct_fields__}
        document = parse_object(msgspec.json.encode(members))
        terms: FacilityTermSheet = _read_term_sheet(_merge(document, patch), "")
        return terms

    return change_terms


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
