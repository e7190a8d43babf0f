"""The flat JSON document of each kind of aggregate: what the journal keeps and events carry.

One place knows which kinds exist and how each is written and read. A project's document is the
wire shape of its fields without version and times; other kinds are their struct's JSON.

Decimals keep their digits: shares and whatever is called an amount are strings, ratios and other
governed decimals JSON numbers with exactly the digits they have. What is decoded equals what was
encoded.
"""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from spawn.domain.change import Encoded
from spawn.domain.errors import StorageDamaged
from spawn.domain.events.dead_letter import DeadLetter
from spawn.domain.finance.simulation.simulation_run import SimulationRun
from spawn.domain.imports.import_state import Import, Quarantine, Upload
from spawn.domain.imports.mapping import ImportMapping
from spawn.domain.jobs import Job
from spawn.domain.lineage.run import Run
from spawn.domain.projects.project import FIELDS, Project, Reservation
from spawn.domain.quality.rules import Report, Standing
from spawn.domain.schemas.model import AMOUNT_SUFFIX, Schema, TypeName, Value
from spawn.domain.schemas.schema_status import SchemaStanding

KINDS: dict[str, type[msgspec.Struct]] = {
    "project": Project,
    "dead_letter": DeadLetter,
    "external_ref": Reservation,
    "import_mapping": ImportMapping,
    "import": Import,
    "job": Job,
    "lineage_run": Run,
    "quality_report": Report,
    "quality_rule": Standing,
    "quarantine": Quarantine,
    "schema": SchemaStanding,
    "simulation": SimulationRun,
    "upload": Upload,
}
"""Kind of aggregate → type of its state."""

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


def encode(kind: str, state: msgspec.Struct, schema: Schema) -> bytes:
    """The document of a state under a schema.

    Raises:
        TypeError: the state is not of the kind's type.
    """
    if isinstance(state, Encoded):
        return state.document
    if isinstance(state, Project):
        fields = render(state, schema)
        for name, value in state.hidden_attributes.items():
            fields.setdefault(name, plain(name, value))
        return _ENCODER.encode(fields)
    if not isinstance(state, KINDS[kind]):
        raise TypeError(f"a state of kind {kind} is not a {type(state).__name__}")
    return _ENCODER.encode(state)


def decode(kind: str, document: bytes, schema: Schema) -> msgspec.Struct:
    """The state that `encode` wrote under this schema.

    What a retired column holds is a hidden attribute. So is a member that the schema does not know
    at all, as the text, boolean, integer or decimal that its JSON states.

    Raises:
        StorageDamaged: the document is not one that `encode` writes.
        KeyError: the kind is not one of `KINDS`.
    """
    try:
        if kind == "project":
            return _codec(schema).decode(document)
        state: msgspec.Struct = _decoder(kind).decode(document)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise StorageDamaged(f"a stored {kind} cannot be read: {error}") from error
    return state


def render(project: Project, schema: Schema | None = None) -> dict[str, Any]:
    """The project's wire fields by name in document order, for a msgspec JSON encoder.

    Hidden attributes are not among them: a document keeps them, an answer does not show them.

    Absent core fields are None; so are, if a schema is given, its absent governed columns.
    """
    ratio, dscr = project.expected_irr, project.dscr
    fields: dict[str, Any] = {
        "project_id": project.project_id,
        "project_name": project.project_name,
        # Already at its currency's scale, at which str() never resorts to an exponent.
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
        "expected_irr": None if ratio is None else number(ratio),
        "dscr": None if dscr is None else number(dscr),
        "financial_close_date": project.financial_close_date,
        "cod_date": project.cod_date,
        "end_date": project.end_date,
        "spv": project.spv,
        "sponsors": project.sponsors,
        "milestones": project.milestones,
        "external_ref": project.external_ref,
    }
    if schema is not None:
        fields |= _codec(schema).absent
    for name, value in project.attributes.items():
        fields[name] = plain(name, value)
    if project.extensions:
        fields.update(project.extensions)
    return fields


class _Codec:
    """What is worked out once for a schema: its governed columns, and how they are read."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.governed = tuple(column.name for column in schema.governed)
        self.retired = tuple(retired.name for retired in schema.retired)
        self.absent: dict[str, Any] = dict.fromkeys(self.governed)
        columns = (*schema.governed, *(retired.column for retired in schema.retired))
        self._known = _CORE.union(self.governed, self.retired)
        # Governed names are data and may be no identifiers: the struct knows them by number.
        places = {f"governed_{index}": column.name for index, column in enumerate(columns)}
        fields: list[Any] = [
            (field.name, field.type, field.default)
            if field.default is not msgspec.NODEFAULT
            else (field.name, field.type)
            for field in msgspec.structs.fields(Project)
            if field.name in FIELDS
        ]
        fields += [
            (place, _TYPES[column.type.name] | None, None)
            for place, column in zip(places, columns, strict=True)
        ]
        shape = msgspec.defstruct(
            "ProjectDocument", fields, rename=places, forbid_unknown_fields=True, kw_only=True
        )
        self._decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(shape)

    def decode(self, document: bytes) -> Project:
        try:
            return self._build(document, {}, {})
        except msgspec.ValidationError:
            # An extension, a member of a column that has gone, or damage: the other way tells.
            return self._decode_open(document)

    def _decode_open(self, document: bytes) -> Project:
        members = _MEMBERS.decode(document)
        extensions: dict[str, msgspec.Raw] = {}
        unknown: dict[str, Any] = {}
        for name in [name for name in members if name not in self._known]:
            raw = members.pop(name)
            if name.startswith("x_"):
                # A copy, lest eight bytes keep the whole document in memory.
                extensions[name] = raw.copy()
            elif (value := _NATURAL.decode(raw)) is not None:
                unknown[name] = value
        return self._build(_ENCODER.encode(members), unknown, extensions)

    def _build(
        self, document: bytes, unknown: dict[str, Any], extensions: dict[str, msgspec.Raw]
    ) -> Project:
        read = self._decoder.decode(document)
        values = msgspec.structs.astuple(read)[len(FIELDS) :]
        served = len(self.governed)
        attributes = _present(self.governed, values[:served])
        hidden = _present(self.retired, values[served:]) if self.retired else {}
        # Spelt out, like `render`: a mapping in between would double the cost.
        return Project(
            project_id=read.project_id,
            project_name=read.project_name,
            total_amount=read.total_amount,
            currency_code=read.currency_code,
            status=read.status,
            status_reason=read.status_reason,
            status_effective_on=read.status_effective_on,
            suspended_from=read.suspended_from,
            description=read.description,
            sector=read.sector,
            country_code=read.country_code,
            maturity_years=read.maturity_years,
            expected_irr=read.expected_irr,
            dscr=read.dscr,
            financial_close_date=read.financial_close_date,
            cod_date=read.cod_date,
            end_date=read.end_date,
            spv=read.spv,
            sponsors=read.sponsors,
            milestones=read.milestones,
            external_ref=read.external_ref,
            attributes=attributes,
            extensions=extensions,
            hidden_attributes=hidden | unknown,
        )


def _present(names: tuple[str, ...], values: tuple[Any, ...]) -> dict[str, Any]:
    given = zip(names, values, strict=True)
    return {name: value for name, value in given if value is not None}


def _codec(schema: Schema) -> _Codec:
    # By identity: a schema is frozen and few are alive, while hashing one would cost more than
    # the document. The codec holds its schema, so that no other can take over the id.
    codec = _codecs.get(id(schema))
    if codec is None:
        if len(_codecs) >= _MAX_CODECS:
            _codecs.clear()
        codec = _codecs[id(schema)] = _Codec(schema)
    return codec


def _decoder(kind: str) -> msgspec.json.Decoder[Any]:
    decoder = _decoders.get(kind)
    if decoder is None:
        decoder = _decoders[kind] = msgspec.json.Decoder(KINDS[kind])
    return decoder


def number(value: Decimal) -> msgspec.Raw:
    """A finite decimal as a JSON number with exactly its digits."""
    return msgspec.Raw(f"{value:f}".encode())


def plain(name: str, value: Value) -> Any:
    """A governed value as a msgspec JSON encoder writes it: an amount as a string, by its name."""
    if isinstance(value, Decimal):
        return f"{value:f}" if name.endswith(AMOUNT_SUFFIX) else number(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC)
    return value


_CORE = frozenset(FIELDS)
_ENCODER = msgspec.json.Encoder()
_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])
_NATURAL = msgspec.json.Decoder(float_hook=Decimal)
_codecs: dict[int, _Codec] = {}
_decoders: dict[str, msgspec.json.Decoder[Any]] = {}
