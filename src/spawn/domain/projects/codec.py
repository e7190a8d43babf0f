"""JSON codec of projects: the flat documents in the journal and in events.

A document is the wire format of the fields, without version and times. Decimals keep their digits:
shares and amounts are strings, ratios and other governed decimals are JSON numbers with exactly the
same digits. Decoding returns a project equal to the encoded one.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from spawn.domain.errors import StorageDamaged
from spawn.domain.projects.project import CORE_FIELDS, Project
from spawn.domain.schema_version import AMOUNT_SUFFIX, Schema, TypeName, Value

_TYPES: dict[TypeName, Any] = {
    TypeName.STRING: str,
    TypeName.INTEGER: int,
    TypeName.BIGINT: int,
    TypeName.DECIMAL: Decimal,
    TypeName.DOUBLE: float,
    TypeName.BOOLEAN: bool,
    TypeName.DATE: date,
    TypeName.TIMESTAMP: Annotated[datetime, msgspec.Meta(tz=True)],
}
_MAX_CODECS = 64


def encode_project(project: Project, schema: Schema) -> bytes:
    """Encode a project under a schema as a document."""
    fields = render_project(project, schema)
    for name, value in project.hidden_attributes.items():
        fields.setdefault(name, to_json_value(name, value))
    return _ENCODER.encode(fields)


def decode_project(document: bytes, schema: Schema) -> Project:
    """Decode a document that `encode_project` wrote under this schema.

    The value of a retired column becomes a hidden attribute. So does a member that is not in the
    schema at all, as the text, boolean, integer or decimal of its JSON.

    Raises:
        StorageDamaged: the document was not written by `encode_project`.
    """
    try:
        return _get_codec(schema).decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageDamaged(f"a stored project cannot be read: {error}") from error


def render_project(project: Project, schema: Schema | None = None) -> dict[str, Any]:
    """Return the project's wire fields by name in document order, for a msgspec JSON encoder.

    Hidden attributes are left out: a document keeps them, a response does not include them.

    Absent core fields are None; so are the absent governed columns of a `schema`, if any.
    """
    fields = _render_core(project)
    if schema is not None:
        fields |= _get_codec(schema).absent
    for name, value in project.attributes.items():
        fields[name] = to_json_value(name, value)
    if project.extensions:
        fields.update(project.extensions)
    return fields


def to_json_number(value: Decimal) -> msgspec.Raw:
    """Return a finite decimal as a JSON number with exactly its digits."""
    return msgspec.Raw(f"{value:f}".encode())


def to_json_value(name: str, value: Value) -> Any:
    """Return a governed value for a msgspec JSON encoder; amounts, by name, become strings."""
    if isinstance(value, Decimal):
        return f"{value:f}" if name.endswith(AMOUNT_SUFFIX) else to_json_number(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


class _ProjectCodec:
    """The governed columns of a schema and their decoder, computed once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.governed = tuple(column.name for column in schema.governed)
        self.retired = tuple(retired.name for retired in schema.retired)
        self.absent: dict[str, Any] = dict.fromkeys(self.governed)
        columns = (*schema.governed, *(retired.column for retired in schema.retired))
        self._field_names = _CORE.union(self.governed, self.retired)
        # Governed names are data and may not be identifiers, so the struct numbers them.
        attribute_names = {f"governed_{index}": column.name for index, column in enumerate(columns)}
        fields: list[Any] = [
            (field.name, field.type, field.default)
            if field.default is not msgspec.NODEFAULT
            else (field.name, field.type)
            for field in _CORE_STRUCT_FIELDS
        ]
        fields += [
            (attribute, _TYPES[column.type.name] | None, None)
            for attribute, column in zip(attribute_names, columns, strict=True)
        ]
        document_type = msgspec.defstruct(
            "ProjectDocument",
            fields,
            rename=attribute_names,
            forbid_unknown_fields=True,
            kw_only=True,
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(document_type)

    def decode(self, document: bytes) -> Project:
        try:
            return self._build(document, {}, {})
        except msgspec.ValidationError:
            # An extension, a member of a removed column, or damage: the slow path decides.
            return self._decode_open(document)

    def _decode_open(self, document: bytes) -> Project:
        members = _MEMBERS.decode(document)
        extensions: dict[str, msgspec.Raw] = {}
        unknown: dict[str, Any] = {}
        for name in [name for name in members if name not in self._field_names]:
            raw = members.pop(name)
            if name.startswith("x_"):
                # A copy, because a slice of eight bytes would keep the whole document in memory.
                extensions[name] = raw.copy()
            elif (value := _PLAIN_VALUES.decode(raw)) is not None:
                unknown[name] = value
        return self._build(_ENCODER.encode(members), unknown, extensions)

    def _build(
        self, document: bytes, unknown: dict[str, Any], extensions: dict[str, msgspec.Raw]
    ) -> Project:
        fields = self._decoder.decode(document)
        values = msgspec.structs.astuple(fields)[len(CORE_FIELDS) :]
        count = len(self.governed)
        attributes = _drop_absent(self.governed, values[:count])
        hidden = _drop_absent(self.retired, values[count:]) if self.retired else {}
        return _build_project(fields, attributes, extensions, hidden | unknown)


def _drop_absent(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    pairs = zip(names, values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def _get_codec(schema: Schema) -> _ProjectCodec:
    # By identity: a schema is frozen and few are alive, while hashing one would cost more than
    # the document. The codec refers to its schema, so that its id is not reused.
    codec = _codec_cache.get(id(schema))
    if codec is None:
        if len(_codec_cache) >= _MAX_CODECS:
            _codec_cache.clear()
        codec = _codec_cache[id(schema)] = _ProjectCodec(schema)
    return codec


_CORE = frozenset(CORE_FIELDS)
_CORE_STRUCT_FIELDS = tuple(f for f in msgspec.structs.fields(Project) if f.name in _CORE)
_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLAIN_VALUES = msgspec.json.Decoder(float_hook=Decimal)
_codec_cache: dict[int, _ProjectCodec] = {}


_ProjectBuilder = Callable[
    [Any, Mapping[str, Value], Mapping[str, msgspec.Raw], Mapping[str, Value]], Project
]
"""Function of the decoded fields, the attributes, the extensions and the hidden attributes."""


def _compile_builder() -> _ProjectBuilder:
    """Return the constructor call that names every core field.

    Written out, as dataclasses do: a mapping in between costs 1.4 of 3.9 µs.
    """
    core = ", ".join(f"{name}=fields.{name}" for name in CORE_FIELDS)
    mappings = "attributes=attributes, extensions=extensions, hidden_attributes=hidden"
    parameters = "fields, attributes, extensions, hidden"
    builder: _ProjectBuilder = _compile(f"lambda {parameters}: Project({core}, {mappings})")
    return builder


def _compile_renderer() -> Callable[[Project], dict[str, Any]]:
    """Return the function from a project to its core fields for a JSON encoder."""
    members = ", ".join(
        f"{field.name!r}: {_render_expression(field)}" for field in _CORE_STRUCT_FIELDS
    )
    renderer: Callable[[Project], dict[str, Any]] = _compile(f"lambda project: {{{members}}}")
    return renderer


def _render_expression(field: msgspec.structs.FieldInfo) -> str:
    name = f"project.{field.name}"
    if field.type not in {Decimal, Decimal | None}:
        return name
    # An amount has its currency's scale, so str() never writes an exponent.
    text = f"str({name})" if field.name.endswith(AMOUNT_SUFFIX) else f"to_json_number({name})"
    return text if field.type is Decimal else f"(None if {name} is None else {text})"


def _compile(source: str) -> Any:
    names = {"Project": Project, "to_json_number": to_json_number}
    return eval(source, names)  # noqa: S307 -- made of the names of our own fields alone


_build_project = _compile_builder()
_render_core = _compile_renderer()
