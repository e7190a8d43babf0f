"""JSON codec of every aggregate state: the flat documents in the journal and in events.

This module alone defines the kinds and their encodings. A project's document is the wire format
of its fields without version and times; other kinds are their struct's JSON.

Decimals keep their digits: shares and amounts are strings, ratios and other governed decimals are
JSON numbers with exactly the same digits. Decoding returns a state equal to the encoded one.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from spawn.domain.change import EncodedState
from spawn.domain.errors import StorageDamaged
from spawn.domain.events.dead_letter import DeadLetter
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.domain.imports.import_state import ImportState, QuarantineChunk, UploadProgress
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.jobs import Job
from spawn.domain.lineage.run import Run
from spawn.domain.projects.project import CORE_FIELDS, ExternalRefReservation, Project
from spawn.domain.quality.report import QualityReport, ServiceLevelStatus
from spawn.domain.schema_version import AMOUNT_SUFFIX, Schema, TypeName, Value
from spawn.domain.schemas.schema_status import SchemaStatus

KINDS: dict[str, type[msgspec.Struct]] = {
    "project": Project,
    "dead_letter": DeadLetter,
    "external_ref": ExternalRefReservation,
    "import_mapping": ImportMapping,
    "import": ImportState,
    "job": Job,
    "lineage_run": Run,
    "quality_report": QualityReport,
    "quality_rule": ServiceLevelStatus,
    "quarantine": QuarantineChunk,
    "schema": SchemaStatus,
    "simulation": SimulationRun,
    "upload": UploadProgress,
}
"""The type of state of each kind of aggregate."""

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


def encode_state(kind: str, state: msgspec.Struct, schema: Schema) -> bytes:
    """Encode a state under a schema as a document.

    Raises:
        TypeError: the state is not of the kind's type.
    """
    if isinstance(state, EncodedState):
        return state.document
    if isinstance(state, Project):
        fields = render_project(state, schema)
        for name, value in state.hidden_attributes.items():
            fields.setdefault(name, to_json_value(name, value))
        return _ENCODER.encode(fields)
    if not isinstance(state, KINDS[kind]):
        raise TypeError(f"a state of kind {kind} is not a {type(state).__name__}")
    return _ENCODER.encode(state)


def decode_state(kind: str, document: bytes, schema: Schema) -> msgspec.Struct:
    """Decode a document that `encode_state` wrote under this schema.

    The value of a retired column becomes a hidden attribute. So does a member that is not in the
    schema at all, as the text, boolean, integer or decimal of its JSON.

    Raises:
        StorageDamaged: the document was not written by `encode_state`.
        KeyError: the kind is not one of `KINDS`.
    """
    try:
        if kind == "project":
            return _get_codec(schema).decode(document)
        state: msgspec.Struct = _get_decoder(kind).decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageDamaged(f"a stored {kind} cannot be read: {error}") from error
    return state


def render_project(project: Project, schema: Schema | None = None) -> dict[str, Any]:
    """Return the project's wire fields by name in document order, for a msgspec JSON encoder.

    Hidden attributes are left out: a document keeps them, a response does not include them.

    Absent core fields are None; so are the absent governed columns of a `schema`, if any.
    """
    ratio, dscr = project.expected_irr, project.dscr
    fields: dict[str, Any] = {
        "project_id": project.project_id,
        "project_name": project.project_name,
        # At its currency's scale, so str() never writes an exponent.
        "total_amount": str(project.total_amount),
        "currency_code": project.currency_code,
        "status": project.status,
        "status_reason": project.status_reason,
        "status_effective_on": project.status_effective_on,
        "suspended_from": project.suspended_from,
        "description": project.description,
        "sector": project.sector,
        "country_code": project.country_code,
        "maturity_years": project.maturity_years,
        "expected_irr": None if ratio is None else to_json_number(ratio),
        "dscr": None if dscr is None else to_json_number(dscr),
        "financial_close_date": project.financial_close_date,
        "cod_date": project.cod_date,
        "end_date": project.end_date,
        "spv": project.spv,
        "sponsors": project.sponsors,
        "milestones": project.milestones,
        "external_ref": project.external_ref,
    }
    if schema is not None:
        fields |= _get_codec(schema).absent
    for name, value in project.attributes.items():
        fields[name] = to_json_value(name, value)
    if project.extensions:
        fields.update(project.extensions)
    return fields


class _Codec:
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
            for field in msgspec.structs.fields(Project)
            if field.name in CORE_FIELDS
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
        # Explicit, like `render_project`: a mapping in between would double the cost.
        return Project(
            project_id=fields.project_id,
            project_name=fields.project_name,
            total_amount=fields.total_amount,
            currency_code=fields.currency_code,
            status=fields.status,
            status_reason=fields.status_reason,
            status_effective_on=fields.status_effective_on,
            suspended_from=fields.suspended_from,
            description=fields.description,
            sector=fields.sector,
            country_code=fields.country_code,
            maturity_years=fields.maturity_years,
            expected_irr=fields.expected_irr,
            dscr=fields.dscr,
            financial_close_date=fields.financial_close_date,
            cod_date=fields.cod_date,
            end_date=fields.end_date,
            spv=fields.spv,
            sponsors=fields.sponsors,
            milestones=fields.milestones,
            external_ref=fields.external_ref,
            attributes=attributes,
            extensions=extensions,
            hidden_attributes=hidden | unknown,
        )


def _drop_absent(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    pairs = zip(names, values, strict=True)
    return {name: value for name, value in pairs if value is not None}


def _get_codec(schema: Schema) -> _Codec:
    # By identity: a schema is frozen and few are alive, while hashing one would cost more than
    # the document. The codec refers to its schema, so that its id is not reused.
    codec = _codec_cache.get(id(schema))
    if codec is None:
        if len(_codec_cache) >= _MAX_CODECS:
            _codec_cache.clear()
        codec = _codec_cache[id(schema)] = _Codec(schema)
    return codec


def _get_decoder(kind: str) -> msgspec.json.Decoder[Any]:
    decoder = _decoder_cache.get(kind)
    if decoder is None:
        decoder = _decoder_cache[kind] = msgspec.json.Decoder(KINDS[kind])
    return decoder


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


_CORE = frozenset(CORE_FIELDS)
_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PLAIN_VALUES = msgspec.json.Decoder(float_hook=Decimal)
_codec_cache: dict[int, _Codec] = {}
_decoder_cache: dict[str, msgspec.json.Decoder[Any]] = {}
