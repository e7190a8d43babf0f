"""JSON Schemas 2020-12 of a governed state, compiled from the same columns as the validator.

What the service accepts is valid under the schema of its use and what it rejects is not, but for
the rules that JSON Schema has no words for: `UNEXPRESSED_RULES`, which the schema itself lists.
"""

from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal
from enum import StrEnum
from typing import Any, Final

from spawn.domain.facilities.facility import FACILITY_KIND
from spawn.domain.money import DECIMAL_CONTEXT
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.extensions import EXTENSION_NAME, MAX_COUNT
from spawn.domain.projects.lifecycle import STATUS_ALIASES
from spawn.domain.projects.milestones import (
    MAX_EVIDENCE_LENGTH,
    MAX_ID_LENGTH,
    MAX_MILESTONES,
    MAX_TITLE_LENGTH,
    MilestoneKind,
)
from spawn.domain.projects.parties import MAX_NAME, MAX_REGISTRATION, MAX_SPONSORS
from spawn.domain.projects.project import MAX_KEY, MAX_REF_ID, PROJECT_KIND
from spawn.domain.schema_version import (
    Column,
    ColumnType,
    RetiredColumn,
    TypeName,
    Value,
)
from spawn.domain.schemas.core_columns import (
    PERCENT_ALIAS,
    CoreAttributes,
)
from spawn.domain.schemas.linear_regex import format_ecma_pattern
from spawn.domain.schemas.nested_fields import SHARE_TYPE
from spawn.domain.schemas.value_readers import INTEGER_RANGE, column_predicate, max_characters

JsonSchema = dict[str, Any]

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

UNEXPRESSED_RULES: Final = (
    "Names, titles, keys and sectors are trimmed and put in normalization form C first.",
    "They contain no invisible characters.",
    "Codes are those of ISO 4217, ISO 3166-1 and ISO 3166-2; a subdivision is in the country.",
    "A decimal fits its `x-type`; an amount has at most the decimals of its currency.",
    "Bounds also apply to decimals that are strings.",
    "Dates and instants exist, in the years 1 to 9999, from `x-minimum` to `x-maximum`.",
    "An instant has at most 6 decimals of a second; a blank may stand for its T.",
    "A number has at most 80 characters and is finite in double precision.",
    "An extension has at most 4096 bytes of JSON and 8 levels; a project has at most 32.",
    "The dates of a project are in order; its shares are above 0 and add up to 100.",
    "The terms of a facility agree with one another, and the shares of its lenders add up to 100.",
    "No two sponsors, milestones or external references are the same.",
    "A merge patch may repeat the present status, which only transitions change.",
    "A removed column is ignored with a warning until its Sunset, then rejected.",
)
"""Rules of a body that its JSON Schema does not express."""

_CONTROL: Final = r"\u0000-\u001f\u007f-\u009f"
_LINE_PATTERN: Final = f"^[^{_CONTROL}]*$"
_DATE: Final[JsonSchema] = {"type": "string", "format": "date"}


class SchemaUse(StrEnum):
    """The use of a JSON Schema: a whole body, a merge patch, or a project as served."""

    INPUT = "input"
    PATCH = "patch"
    OUTPUT = "output"


def build_state_schema(
    attributes: CoreAttributes,
    core: tuple[Column, ...],
    governed: tuple[Column, ...],
    retired_columns: Mapping[str, RetiredColumn],
    use: SchemaUse,
) -> JsonSchema:
    """Build the JSON Schema of a state for a use.

    Args:
        attributes: the core attributes of the kind.
        core: the core columns as the schema describes them.
        governed: the other columns.
        retired_columns: the removed columns by each name that requests used for them.
        use: the use.
    """
    if use is SchemaUse.OUTPUT:
        return _build_output_schema(attributes, core, governed)
    is_patch = use is SchemaUse.PATCH
    return _build_body_schema(attributes, core, governed, retired_columns, is_patch=is_patch)


def join_terms(
    struct_schema: JsonSchema,
    attributes: CoreAttributes,
    core: tuple[Column, ...],
    governed: tuple[Column, ...],
    retired_columns: Mapping[str, RetiredColumn],
    use: SchemaUse,
) -> JsonSchema:
    """Build the JSON Schema of a state whose terms a struct defines; see `build_state_schema`.

    The types of the terms are those of the struct; what the schema says of them is added. A merge
    patch of a term may be a part of it.

    Args:
        struct_schema: the schema of the struct, for the same use.
        attributes: the core attributes of the kind.
        core: the core columns as the schema describes them.
        governed: the other columns.
        retired_columns: the removed columns by each name that requests used for them.
        use: the use.
    """
    terms, is_patch = struct_schema["properties"], use is SchemaUse.PATCH
    other_core = tuple(column for column in core if column.name not in terms)
    others = build_state_schema(attributes, other_core, governed, retired_columns, use)
    properties: JsonSchema = {name: {} if is_patch else one for name, one in terms.items()}
    for column in core:
        if column.name in properties:
            meaning = _describe_meaning(column)
            properties[column.name] = meaning if is_patch else {**terms[column.name], **meaning}
    properties |= {n: one for n, one in others["properties"].items() if n not in properties}
    term_names = () if is_patch else struct_schema.get("required", ())
    schema = {**struct_schema, **others, "properties": properties}
    texts = (one.get("description") for one in (struct_schema, others))
    schema["description"] = " ".join(text for text in texts if text)
    schema["required"] = list(dict.fromkeys((*term_names, *others["required"])))
    if "maxProperties" in others:
        schema["maxProperties"] = len(properties) + MAX_COUNT
    return schema


def build_response_schema(output_schema: JsonSchema) -> JsonSchema:
    """Return the schema of a project in a response; `fields=` may omit all but id and version."""
    return {**output_schema, "required": ["project_id", "version"]}


def list_input_names(column: Column, attributes: CoreAttributes) -> tuple[str, ...]:
    """Return the names of a column in a body: its own, then its aliases."""
    percent = (PERCENT_ALIAS,) if column.name == attributes.percent_name else ()
    return (column.name, *column.aliases, *percent)


def _build_output_schema(
    attributes: CoreAttributes, core: tuple[Column, ...], governed: tuple[Column, ...]
) -> JsonSchema:
    identity, version, *times = attributes.system_columns
    columns = (identity, version, *core, *governed, *times)
    properties = {
        c.name: _build_property(
            c,
            attributes,
            for_input=False,
            is_nullable=not c.required or c.name in attributes.may_be_unknown,
        )
        for c in columns
    }
    nested_fields = NESTED_SCHEMAS[attributes.kind](for_input=False)
    always_present = {c.name for c in columns if c.required or c.default is not None}
    always_present |= {c.name for c in attributes.system_columns}
    return {
        "type": "object",
        "properties": properties | {n: _make_nullable(s) for n, s in nested_fields.items()},
        "patternProperties": {f"^{EXTENSION_NAME.pattern}$": {}},
        "required": [c.name for c in columns if c.name in always_present],
    }


def _build_body_schema(
    attributes: CoreAttributes,
    core: tuple[Column, ...],
    governed: tuple[Column, ...],
    retired_columns: Mapping[str, RetiredColumn],
    *,
    is_patch: bool,
) -> JsonSchema:
    fixed_names = attributes.read_only_names | ({"status"} if is_patch else set())
    columns = (*(c for c in core if c.name not in fixed_names), *governed)

    def is_nullable(column: Column) -> bool:
        decide = _is_removable if is_patch else _may_be_null
        return decide(column, attributes)

    properties: JsonSchema = {}
    for column in columns:
        schema = _build_property(
            column,
            attributes,
            for_input=True,
            has_default=not is_patch,
            is_nullable=is_nullable(column),
        )
        properties[column.name] = schema
    nested_fields = NESTED_SCHEMAS[attributes.kind](for_input=True)
    properties |= {name: _make_nullable(schema) for name, schema in nested_fields.items()}
    for column in columns:
        properties |= _build_alias_properties(column, attributes, is_nullable=is_nullable(column))
    properties |= {
        name: _build_retired_property(name, one) for name, one in retired_columns.items()
    }
    body: JsonSchema = {
        "type": "object",
        "description": "Rules beyond this schema: " + " ".join(UNEXPRESSED_RULES),
        "properties": properties,
        "patternProperties": {f"^{EXTENSION_NAME.pattern}$": {}},
        "additionalProperties": False,
        # A body holds at most every property and the maximum number of extensions.
        "maxProperties": len(properties) + MAX_COUNT,
        "required": [],
    }
    if clashes := _build_clashes(columns, attributes, is_patch=is_patch):
        body["dependentSchemas"] = clashes
    if not is_patch:
        mandatory = [c for c in columns if c.required and c.default is None]
        names = {c.name: list_input_names(c, attributes) for c in mandatory}
        body["required"] = [name for name in names if len(names[name]) == 1]
        if choices := [_require_one(one) for one in names.values() if len(one) > 1]:
            body["allOf"] = choices
    return body


def _may_be_null(column: Column, attributes: CoreAttributes) -> bool:
    """Whether null may stand for absence in a whole body; another name may have the value."""
    is_required = column.required and column.default is None
    return not is_required or len(list_input_names(column, attributes)) > 1


def _is_removable(column: Column, attributes: CoreAttributes) -> bool:
    """Whether null in a merge patch removes the value or restores the default."""
    if column.name in attributes.by_name:
        return not column.required and column.default is None
    return not column.required or column.default is not None


_NULL: Final[JsonSchema] = {"type": "null"}


def _require_one(names: Iterable[str]) -> JsonSchema:
    """Require a value under one of the names of a column."""
    return {"anyOf": [{"required": [name], "properties": {name: {"not": _NULL}}} for name in names]}


def _build_clashes(
    columns: Iterable[Column], attributes: CoreAttributes, *, is_patch: bool
) -> JsonSchema:
    """Forbid a value under two names of a column; in a merge patch also null under one."""
    clashes: JsonSchema = {}
    for column in columns:
        names = list_input_names(column, attributes)
        for index, name in enumerate(names[1:], 1):
            if is_patch:
                clashes[name] = {"properties": dict.fromkeys(names[:index], False)}
            else:
                others = {"properties": dict.fromkeys(names[:index], _NULL)}
                clashes[name] = {"anyOf": [{"properties": {name: _NULL}}, others]}
    return clashes


def _build_retired_property(name: str, column: RetiredColumn) -> JsonSchema:
    end = f" from {column.sunset} on it is rejected" if column.sunset else ""
    former = "" if name == column.name else f", an alias of {column.name}"
    text = f"Ignored{former}: version {column.since} removed the column{';' if end else ''}{end}."
    return {"description": text, "deprecated": True}


def build_column_schema(column: Column) -> JsonSchema:
    """Build the schema of a column's values other than null, without their form as text."""
    schema = _TYPE_SCHEMAS[column.type.name] | {}
    if column.type.name is TypeName.STRING and column.enum is None:
        schema["maxLength"] = max_characters(column)
    if column.type.name in INTEGER_RANGE:
        schema["minimum"], schema["maximum"] = INTEGER_RANGE[column.type.name]
    if column.type.name is TypeName.DECIMAL:
        schema |= _build_decimal_bounds(column.type)
    if column.minimum is not None:
        schema[_bound_keyword(column, "minimum")] = to_json_literal(column.minimum)
    if column.maximum is not None:
        schema[_bound_keyword(column, "maximum")] = to_json_literal(column.maximum)
    if column.enum is not None:
        schema["enum"] = [to_json_literal(member) for member in column.enum]
    if column.pattern is not None:
        schema["pattern"] = format_ecma_pattern(column.pattern)
    return schema


def _build_decimal_bounds(type_: ColumnType) -> JsonSchema:
    """Return the largest decimals of a type as bounds, inclusive: a double rounds the power of 10.

    A validator in double precision reads 99999999999999999999.9999 as 1e20, which an exclusive
    bound of 1e20 would reject.
    """
    scale = type_.scale or 0
    largest = Decimal(10 ** (type_.precision or 0) - 1).scaleb(-scale, DECIMAL_CONTEXT)
    # `-largest` would round to the digits of the default context.
    smallest = largest.copy_negate()
    bounds = {"minimum": to_json_literal(smallest), "maximum": to_json_literal(largest)}
    return {**bounds, "x-type": str(type_)}


def _bound_keyword(column: Column, name: str) -> str:
    """Return the keyword of a bound: JSON Schema bounds numbers only."""
    is_time = column.type.name in {TypeName.DATE, TypeName.TIMESTAMP}
    return f"x-{name}" if is_time else name


def _build_property(
    column: Column,
    attributes: CoreAttributes,
    *,
    for_input: bool,
    has_default: bool = False,
    is_nullable: bool | None = None,
) -> JsonSchema:
    schema = _build_value_schema(column, attributes, for_input=for_input)
    if not column.required if is_nullable is None else is_nullable:
        schema = _make_nullable(schema)
    if column.default is not None and has_default:
        schema["default"] = format_wire_literal(column, column.default, attributes)
    return {**schema, **_describe_meaning(column)}


def _describe_meaning(column: Column) -> JsonSchema:
    """Return the annotations of a column: its text and its meaning."""
    schema: JsonSchema = {}
    if text := " ".join(filter(None, (column.description, _describe_bounds(column)))):
        schema["description"] = text
    if column.deprecated:
        schema["deprecated"] = True
    if column.semantic:
        schema["x-semantic"] = column.semantic
    if column.unit:
        schema["x-unit"] = column.unit
    return schema


def _describe_bounds(column: Column) -> str:
    """Describe bounds that no keyword expresses."""
    if column.type.name not in {TypeName.DATE, TypeName.TIMESTAMP}:
        return ""
    bounds = (("not before", column.minimum), ("not after", column.maximum))
    texts = [f"{text} {to_json_literal(bound)}" for text, bound in bounds if bound is not None]
    text = " and ".join(texts)
    return f"{text[0].upper()}{text[1:]}." if text else ""


def _build_value_schema(
    column: Column, attributes: CoreAttributes, *, for_input: bool
) -> JsonSchema:
    """Build the schema of values other than null, in the form of requests or responses."""
    if attributes.is_amount(column):
        text = _build_amount_text_schema(column, for_input=for_input)
        return {"anyOf": [text, build_column_schema(column)]} if for_input else text
    if column.name in attributes.code_names:
        return _build_code_schema(column, for_input=for_input)
    if column.name in attributes.line_names:
        schema = {**build_column_schema(column), **_build_line_schema(column.type.max_length or 0)}
        if column.pattern is not None:
            schema["allOf"] = [{"pattern": format_ecma_pattern(column.pattern)}]
        return schema
    schema = build_column_schema(column)
    if for_input and column.type.name is TypeName.TIMESTAMP and "enum" in schema:
        # A request may write a listed instant with another offset; the keyword compares texts.
        schema["x-enum"] = schema.pop("enum")
    return schema


def _build_code_schema(column: Column, *, for_input: bool) -> JsonSchema:
    """Build the schema of a code: its list if a schema restricts it, else its pattern."""
    code = CODE_FIELDS.get(column.name)
    aliases = STATUS_ALIASES if code is None else code.aliases
    if code is not None and column.enum is None and column.pattern is None:
        return {"type": "string", "pattern": (for_input and code.input_pattern) or code.pattern}
    codes = (column.enum or ()) if code is None else code.codes
    texts = list(filter(column_predicate(column), map(str, codes)))
    if for_input:
        texts += [alias for alias, target in aliases.items() if target in texts]
    return {"type": "string", "enum": texts}


def _build_amount_text_schema(column: Column, *, for_input: bool) -> JsonSchema:
    if column.enum is None:
        is_positive = isinstance(column.minimum, Decimal) and column.minimum >= 0
        return _build_decimal_text_schema(column.type, is_positive=is_positive, for_input=for_input)
    texts = "|".join(_format_member_pattern(Decimal(str(m)), column.type) for m in column.enum)
    return {"type": "string", "pattern": f"^(?:{texts})$"}


def _build_decimal_text_schema(
    type_: ColumnType, *, is_positive: bool, for_input: bool
) -> JsonSchema:
    """Build the schema of decimals in plain notation; a request may write 0 as -0."""
    scale = type_.scale or 0
    digits = (type_.precision or 0) - scale
    whole = f"(0|[1-9][0-9]{{0,{digits - 1}}})" if digits else "0"
    text = whole + (rf"(\.[0-9]{{1,{scale}}})?" if scale else "")
    if not is_positive:
        text = f"-?{text}"
    elif for_input:
        text = f"({text}|-0" + (rf"(\.0{{1,{scale}}})?)" if scale else ")")
    return {"type": "string", "pattern": f"^{text}$"}


def _format_member_pattern(member: Decimal, type_: ColumnType) -> str:
    """Return the pattern of the texts of one decimal: zeros may follow its decimals."""
    scale = type_.scale or 0
    whole, _, decimals = f"{member.normalize(DECIMAL_CONTEXT):f}".partition(".")
    sign = "-?" if not member else ""
    spare = scale - len(decimals)
    if decimals:
        return rf"{whole}\.{decimals}0{{0,{spare}}}"
    return rf"{sign}{whole.removeprefix('-') if sign else whole}" + (
        rf"(?:\.0{{1,{scale}}})?" if scale else ""
    )


def _build_alias_properties(
    column: Column, attributes: CoreAttributes, *, is_nullable: bool
) -> JsonSchema:
    """Build the properties of a column's aliases, which accept what the column accepts."""
    schemas: JsonSchema = {}
    for alias in list_input_names(column, attributes)[1:]:
        schema = _build_value_schema(column, attributes, for_input=True)
        is_percent = alias == PERCENT_ALIAS and column.name == attributes.percent_name
        if is_percent:
            schema = _build_percent_schema(column)
        if is_nullable:
            schema = _make_nullable(schema)
        text = f"Alias of {column.name}{', in percent' if is_percent else ''}."
        schemas[alias] = {**schema, "description": text, "deprecated": True}
    return schemas


def _build_percent_schema(column: Column) -> JsonSchema:
    """Build the schema of a fraction as a percentage, with two decimals fewer."""
    precision, scale = column.type.precision or 0, (column.type.scale or 0) - 2
    type_ = ColumnType(TypeName.DECIMAL, precision=precision, scale=scale)
    schema: JsonSchema = {"type": "number", **_build_decimal_bounds(type_)}
    for keyword, bound in (("minimum", column.minimum), ("maximum", column.maximum)):
        if isinstance(bound, Decimal):
            schema[keyword] = to_json_literal(bound.scaleb(2, DECIMAL_CONTEXT))
    if column.enum is not None:
        members = (Decimal(str(member)).scaleb(2, DECIMAL_CONTEXT) for member in column.enum)
        schema["enum"] = list(map(to_json_literal, members))
    return schema


def _make_nullable(schema: JsonSchema) -> JsonSchema:
    if "anyOf" in schema:
        return {**schema, "anyOf": [*schema["anyOf"], {"type": "null"}]}
    nullable = {**schema, "type": [schema["type"], "null"]}
    if "enum" in schema:
        nullable["enum"] = [*schema["enum"], None]
    return nullable


def to_json_literal(value: Value) -> Any:
    """Convert a value to a JSON literal; a decimal keeps its digits, a whole one is an integer."""
    if isinstance(value, Decimal):
        return int(value) if value == value.to_integral_value() else value
    if isinstance(value, datetime):
        return value.isoformat().replace("+00:00", "Z")
    if isinstance(value, date):
        return value.isoformat()
    return str(value) if isinstance(value, str) else value


def format_wire_literal(column: Column, value: Value, attributes: CoreAttributes) -> Any:
    """Convert a value of a column to a literal in the form of responses: amounts are strings."""
    return f"{value:f}" if attributes.is_amount(column) else to_json_literal(value)


_TYPE_SCHEMAS: Final[Mapping[TypeName, JsonSchema]] = {
    TypeName.STRING: {"type": "string"},
    TypeName.INTEGER: {"type": "integer", "format": "int32"},
    TypeName.BIGINT: {"type": "integer", "format": "int64"},
    TypeName.DECIMAL: {"type": "number"},
    TypeName.DOUBLE: {"type": "number", "format": "double"},
    TypeName.BOOLEAN: {"type": "boolean"},
    TypeName.DATE: _DATE,
    TypeName.TIMESTAMP: {"type": "string", "format": "date-time"},
}


def _build_line_schema(maximum: int) -> JsonSchema:
    return {"type": "string", "minLength": 1, "maxLength": maximum, "pattern": _LINE_PATTERN}


def _build_object_schema(properties: JsonSchema, required: list[str]) -> JsonSchema:
    optional = {
        name: property_schema if name in required else _make_nullable(property_schema)
        for name, property_schema in properties.items()
    }
    return {
        "type": "object",
        "properties": optional,
        "required": required,
        "additionalProperties": False,
    }


def _build_project_nested_schemas(*, for_input: bool) -> dict[str, JsonSchema]:
    country = CODE_FIELDS["country_code"]
    sponsor = {
        "name": _build_line_schema(MAX_NAME),
        "share": _build_share_schema(for_input=for_input),
    }
    milestone = {
        "milestone_id": _build_line_schema(MAX_ID_LENGTH),
        "title": _build_line_schema(MAX_TITLE_LENGTH),
        "kind": {"type": "string", "enum": [member.value for member in MilestoneKind]},
        "due_date": _DATE,
        "met_on": _DATE,
        "waived_on": _DATE,
        "draw_stop": {"type": "boolean"},
        "evidence": {"type": "string", "maxLength": MAX_EVIDENCE_LENGTH},
    }
    spv = {
        "name": _build_line_schema(MAX_NAME),
        "registration_number": _build_line_schema(MAX_REGISTRATION),
        "country_code": {
            "type": "string",
            "pattern": country.input_pattern if for_input else country.pattern,
        },
    }
    reference = {"source": _build_line_schema(MAX_KEY), "id": _build_line_schema(MAX_REF_ID)}
    return {
        "spv": _build_object_schema(spv, ["name"]),
        "sponsors": _build_array_schema(_build_object_schema(sponsor, ["name"]), MAX_SPONSORS),
        "milestones": _build_array_schema(
            _build_object_schema(milestone, ["milestone_id", "title"]), MAX_MILESTONES
        ),
        "external_ref": _build_object_schema(reference, ["source", "id"]),
    }


def _build_array_schema(items: JsonSchema, maximum: int) -> JsonSchema:
    return {"type": "array", "items": items, "maxItems": maximum}


def _build_share_schema(*, for_input: bool) -> JsonSchema:
    text = _build_decimal_text_schema(SHARE_TYPE, is_positive=True, for_input=False)
    number: JsonSchema = {"type": "number", "exclusiveMinimum": 0, "maximum": 100}
    return {"anyOf": [text, number]} if for_input else text


def _build_facility_nested_schemas(*, for_input: bool) -> dict[str, JsonSchema]:
    """Describe the terms in outline; the API's document has their members."""
    del for_input
    return {
        **{n: {"type": "object"} for n in ("rate", "fees", "payment_dates", "repayment")},
        **{
            name: {"type": "array", "items": {"type": "object"}}
            for name in ("lenders", "lender_steps")
        },
        "dates": {"type": "array", "items": _DATE},
    }


NESTED_SCHEMAS: Final[dict[str, Callable[..., dict[str, JsonSchema]]]] = {
    PROJECT_KIND: _build_project_nested_schemas,
    FACILITY_KIND: _build_facility_nested_schemas,
}
"""Schemas of nested fields by governed kind."""
