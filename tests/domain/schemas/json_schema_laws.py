"""Law of the published JSON Schemas: a body is valid under its schema if the service accepts it.

`python -m tests.domain.schemas.json_schema_laws 10000` checks that many random schemas; the tests
check a few. Only the rules that the schema itself lists as unexpressed may separate the two.
"""

import json
import random
import sys
import unicodedata
from decimal import Decimal
from typing import Any, Final

import jsonschema_rs
import msgspec
from tests.domain.schemas import schema_generator

from spawn.domain.errors import FieldError, InvalidInput, MalformedBody
from spawn.domain.json_tokens import Token, parse_object
from spawn.domain.projects.codec import to_json_value
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName
from spawn.domain.schemas.column_parser import check_column
from spawn.domain.schemas.core_columns import CORE_ATTRIBUTES
from spawn.domain.schemas.json_schema import SchemaUse, list_input_names
from spawn.domain.schemas.validator import SchemaValidator, compile_schema
from spawn.domain.text import trim

Json = dict[str, Any]

ENCODER: Final = msgspec.json.Encoder(decimal_format="number")
_TIMES: Final = frozenset({TypeName.DATE, TypeName.TIMESTAMP})
_LINES: Final = ("project_name", "sector")
_LITERALS: Final = (
    *("null", "true", "false", "0", "-0", "1", "-1", "1.5", "1e2", "49.0", "2147483648", "1e-3"),
    *("9223372036854775807", "9223372036854775808", "12345678901234567890.1234", "1e400"),
    *('""', '"a"', '"abc"', '"abcabcabcd"', '"0"', '"-0"', '"-0.0"', '"1.5"', '"01"', '"1e2"'),
    *('"12345678901234567890"', '"0.00000001"', '"2030-06-15"', '"2030-02-30"', '"x"', '"\\u2028"'),
    *('"2030-06-15T00:00:00Z"', '"2030-06-15T00:00:00+02:00"', '"2030-06-15T00:00:00"'),
    *('" a "', '"\\n"', '"ES"', '"ESP"', '"ACTIVE"', '"OPERATION"', "[]", "{}", '["a"]'),
)
"""JSON texts that most columns reject and some accept."""


PATTERNS: Final = (
    *(r"[0-9]+\$", r"\S+", r"\s*a\s*", r"\w{2,3}|\d", r"[^a-c]*", "é|ß", "..", r"a\|b|\\|\^a"),
    *(r"^a|b$", r"a\\$", r"[\]\-^]*", r"[\s\S]", r"\D\W?", "😀?.", "(a|b){2}", "(ab?)?c"),
)
_CHARACTERS: Final = "aabbc0019$ \n\t\x0b\u00a0\u2028é😀|\\_-^]"
_WIDE: Final = (
    *(ColumnType(TypeName.DECIMAL, precision=38, scale=scale) for scale in (0, 10, 38)),
    ColumnType(TypeName.BIGINT),
)


def read_exactly(text: bytes | str) -> Any:
    """Return JSON with every digit of its numbers."""
    return json.loads(text, parse_float=Decimal)


def compile_json_schema(validator: SchemaValidator, use: SchemaUse) -> jsonschema_rs.Validator:
    """Return the validator of a published schema, as a client reads it from its JSON."""
    schema = read_exactly(ENCODER.encode(validator.json_schema(use)))
    jsonschema_rs.meta.validate(schema)
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def write_body(rng: random.Random, validator: SchemaValidator, *, partial: bool) -> dict[str, str]:
    """Return a random body as JSON texts by name; about half of the bodies are accepted."""
    body = {} if partial else {"project_name": '"A"', "total_amount": '"1.00"'}
    columns = [*validator.schema.governed, *rng.sample(_core_columns(validator), 2)]
    is_careful = rng.random() < 0.7
    for column in columns:
        if column.required or rng.random() < 0.6:
            names = list_input_names(column, CORE_ATTRIBUTES[validator.schema.kind])
            count = 1 if is_careful or rng.random() < 0.8 else min(2, len(names))
            for name in rng.sample(names, count):
                body[name] = _write_value(rng, column, is_careful=is_careful)
    if partial:
        # The present status is no change, another one needs a transition: a rule of the project.
        body.pop("status", None)
    if rng.random() < 0.1:
        body[rng.choice(["x_a", "x_é", "unknown", "version", "status_reason"])] = "1"
    if rng.random() < 0.1 and body:
        body.pop(rng.choice(list(body)))
    return body


def write_schema(rng: random.Random) -> Schema:
    """Return a random schema, some columns with wide decimals and patterns that are read amiss."""
    schema = schema_generator.schema(rng)
    columns = [_make_hostile(rng, column) for column in schema.columns]
    names = {column.name for column in schema.governed}
    governed = tuple(column for column in columns if column.name in names)
    return msgspec.structs.replace(schema, columns=tuple(columns), governed=governed)


def _make_hostile(rng: random.Random, column: Column) -> Column:
    changes: Json = {}
    if column.type.name is TypeName.STRING and rng.random() < 0.5:
        changes = {"pattern": rng.choice(PATTERNS)}
    if column.name in schema_generator.NAMES and rng.random() < 0.2:
        changes = {"type": rng.choice(_WIDE), "enum": None, "minimum": None, "maximum": None}
        changes |= {"pattern": None, "default": None}
    changed = msgspec.structs.replace(column, **changes)
    if changed.type in _WIDE and rng.random() < 0.5:
        members = tuple({schema_generator.value(rng, changed.type) for _ in range(3)})
        changed = msgspec.structs.replace(changed, enum=members)
    try:
        check_column(changed, "")
    except InvalidInput:
        return column
    return changed


def _core_columns(validator: SchemaValidator) -> list[Column]:
    names = ("project_name", "total_amount", "sector", "country_code", "maturity_years", "dscr")
    return [validator.fields[name] for name in (*names, "expected_irr", "cod_date", "status")]


def _write_value(rng: random.Random, column: Column, *, is_careful: bool) -> str:
    if not is_careful and rng.random() < 0.4:
        return rng.choice(_LITERALS)
    pool = [schema_generator.value(rng, column.type) for _ in range(2)]
    if column.type.name is TypeName.STRING:
        pool.append("".join(rng.choices(_CHARACTERS, k=rng.randint(0, 3))))
    pool += [v for v in (column.minimum, column.maximum, column.default) if v is not None]
    pool += (column.enum or ())[:3] * 2
    text = ENCODER.encode(to_json_value(column.name, rng.choice(pool))).decode()
    if column.type.name is TypeName.DECIMAL and rng.random() < 0.3:
        text = text.strip('"') if rng.random() < 0.5 else f'"{text.strip(chr(34))}"'
    return text


def is_exempt(validator: SchemaValidator, tokens: dict[str, Token], error: FieldError) -> bool:
    """Whether an error of the service is one of the rules that JSON Schema does not express."""
    name = validator.canonical_name(error.pointer[1:])
    if name is None:
        return False
    column, token = validator.fields[name], tokens.get(error.pointer[1:])
    if error.code == "too_precise":
        return type(token) is not str or column.type.name is TypeName.TIMESTAMP
    if error.code == "out_of_range" and column.type.name is TypeName.DOUBLE:
        return "e" in str(token)
    if error.code == "out_of_range":
        return type(token) is str and (column.type.name in _TIMES or column.is_amount)
    return error.code in {"unknown_country", "unknown_currency", "unknown_subdivision"}


def as_normalized(body: Json) -> Json:
    """Return a body whose names are trimmed and normalized, as the service reads them."""
    lines = {n: body[n] for n in _LINES if isinstance(body.get(n), str)}
    return body | {n: unicodedata.normalize("NFC", trim(text)) for n, text in lines.items()}


def find_difference(schema: Schema, rng: random.Random, bodies: int = 8) -> str | None:
    """Return the first body that the service and the published schema judge differently."""
    validator = compile_schema(schema)
    for use in (SchemaUse.INPUT, SchemaUse.PATCH):
        published = compile_json_schema(validator, use)
        for _ in range(bodies):
            texts = write_body(rng, validator, partial=use is SchemaUse.PATCH)
            members = (f"{json.dumps(name)}:{text}" for name, text in texts.items())
            difference = _compare(validator, published, "{" + ",".join(members) + "}", use)
            if difference:
                return difference
    return None


def _compare(
    validator: SchemaValidator, published: jsonschema_rs.Validator, body: str, use: SchemaUse
) -> str | None:
    try:
        tokens = parse_object(body.encode())
    except MalformedBody:
        return None
    errors: tuple[FieldError, ...] = ()
    try:
        validator.read(tokens, partial=use is SchemaUse.PATCH)
    except InvalidInput as error:
        errors = tuple(error.errors)
    if errors and all(is_exempt(validator, tokens, error) for error in errors):
        return None
    reasons = [str(e) for e in published.iter_errors(as_normalized(read_exactly(body)))]
    if bool(errors) == bool(reasons):
        return None
    return f"{use}: {body}\nservice: {errors}\nschema: {reasons}\n{validator.schema.governed}"


def main(count: int) -> int:
    """Check that many schemas; return 1 if one differs."""
    for seed in range(count):
        rng = random.Random(seed)
        difference = find_difference(write_schema(rng), rng)
        if difference:
            sys.stdout.write(f"seed {seed}\n{difference}\n")
            return 1
    sys.stdout.write(f"{count} schemas agree\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
