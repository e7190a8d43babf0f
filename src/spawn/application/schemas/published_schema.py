"""JSON Schema of a schema version, published for validators and generators of code."""

from typing import Any

from spawn.application.dependencies import Dependencies
from spawn.application.schemas.versions import get_version
from spawn.application.struct_schemas import (
    accept_null_members,
    input_schema,
    split_definition,
    state_schema,
)
from spawn.domain.aggregates import AGGREGATE_TYPES
from spawn.domain.errors import InvalidInput, NotFound
from spawn.domain.principal import Principal
from spawn.domain.schema_version import Schema
from spawn.domain.schemas.document_parser import read_schema
from spawn.domain.schemas.json_schema import DIALECT, SchemaUse
from spawn.domain.schemas.validator import compile_schema

_TITLES = {
    SchemaUse.INPUT: "{noun} as created",
    SchemaUse.PATCH: "Merge patch of a {kind}",
    SchemaUse.OUTPUT: "{noun} as served",
}


async def get_published_schema(
    dependencies: Dependencies,
    principal: Principal,
    schema_id: str,
    version: int,
    use: SchemaUse,
    *,
    url: str,
) -> dict[str, Any]:
    """Return the JSON Schema 2020-12 of states under a version of a schema.

    Args:
        dependencies: the ports.
        principal: the caller.
        schema_id: the schema.
        version: its version, adopted or not.
        use: what the JSON Schema describes.
        url: the absolute address of the JSON Schema, which becomes its `$id`.

    Raises:
        NotFound: there is no such schema or version, or its document is invalid.
    """
    record = await get_version(dependencies, principal, schema_id, version)
    try:
        read_schema(record.document, schema_id=schema_id, kind=record.schema.kind)
    except InvalidInput:
        raise NotFound(
            f"The document of version {version} is invalid, so it has no JSON Schema."
        ) from None
    schema = await _find_adopted(dependencies, record.schema)
    body = build_state_schema(schema, use)
    kind = record.schema.kind
    use_title = _TITLES[use].format(noun=kind.capitalize(), kind=kind)
    title = f"{use_title} under {schema_id} version {version}"
    return {"$schema": DIALECT, "$id": url, "title": title, **body}


def build_state_schema(schema: Schema, use: SchemaUse) -> dict[str, Any]:
    """Return the JSON Schema of a governed state, with the structs of its terms as definitions."""
    validator = compile_schema(schema)
    terms_type = AGGREGATE_TYPES[schema.kind].terms_type
    if terms_type is None:
        return validator.json_schema(use)
    if use is SchemaUse.OUTPUT:
        _, terms, definitions = split_definition(state_schema(terms_type))
    else:
        _, terms, definitions = split_definition(input_schema(terms_type))
        terms = accept_null_members(terms)
        definitions = {name: accept_null_members(one) for name, one in definitions.items()}
    body = validator.join_terms(terms, use)
    return body if use is SchemaUse.PATCH else {**body, "$defs": definitions}


async def _find_adopted(dependencies: Dependencies, schema: Schema) -> Schema:
    """Return the version as the store adopted it, with the columns removed before it."""
    history = await dependencies.schemas.version_history(schema.kind)
    matches = (one for one in history if one.fingerprint == schema.fingerprint)
    return next((one for one in matches if one.version == schema.version), schema)
