"""Random pairs of schema versions, and bodies that the older or the newer one accepts.

Seeded rather than drawn by Hypothesis: ten thousand pairs have to be cheap. Domains are small, so
that names, values and bounds of two versions meet often.
"""

import random
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any

import msgspec

from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import NumberToken, Token, parse_token
from spawn.domain.projects.codec import to_json_value
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName, Value
from spawn.domain.schemas.column_parser import check_column
from spawn.domain.schemas.core_columns import CORE_BY_NAME
from spawn.domain.schemas.validator import SchemaValidator
from spawn.testing.builders import a_schema

ON = date(2030, 6, 15)
"""The day on which everything is judged and read."""

NAMES = ("alpha", "beta", "gamma", "delta", "cost_amount", "fee_amount", "omega")
TYPES = (
    *(ColumnType(TypeName.STRING, max_length=n) for n in (1, 3, 6, None)),
    ColumnType(TypeName.INTEGER),
    ColumnType(TypeName.BIGINT),
    ColumnType(TypeName.DOUBLE),
    ColumnType(TypeName.BOOLEAN),
    ColumnType(TypeName.DATE),
    ColumnType(TypeName.TIMESTAMP),
    *(
        ColumnType(TypeName.DECIMAL, precision=p, scale=s)
        for p, s in ((2, 0), (3, 1), (4, 1), (4, 2), (12, 2), (24, 4))
    ),
)
PATTERNS = ("[abc]*", "[ab]{1,3}", "a.*", "[a-z]{0,6}")
SUNSETS = (None, ON - timedelta(1), ON, ON + timedelta(1))
MEANINGS = (None, None, "urn:a", "urn:b")
_DESCRIBED = ("sector", "maturity_years", "country_code", "cod_date", "dscr")


def value(rng: random.Random, type_: ColumnType) -> Value:
    """A value of a type, small and often met again."""
    if type_.name is TypeName.STRING:
        return "".join(rng.choices("abc", k=rng.randint(0, min(type_.max_length or 9, 9))))
    if type_.name is TypeName.DECIMAL:
        scale = rng.randint(0, type_.scale or 0)
        whole = (type_.precision or 0) - (type_.scale or 0)
        edge = 10 ** (rng.randint(0, whole) + scale) - 1
        return Decimal(rng.choice([rng.randint(-edge, edge), edge])).scaleb(-scale)
    return _SIMPLE[type_.name](rng)


_SIMPLE: dict[TypeName, Callable[[random.Random], Value]] = {
    TypeName.INTEGER: lambda rng: rng.choice([rng.randint(-9, 9), 2**31 - 1, -(2**31)]),
    TypeName.BIGINT: lambda rng: rng.choice([rng.randint(-9, 9), 2**31, 2**63 - 1]),
    TypeName.DOUBLE: lambda rng: rng.choice([float(rng.randint(-9, 9)), 0.1, 1e300]),
    TypeName.BOOLEAN: lambda rng: rng.random() < 0.5,
    TypeName.DATE: lambda rng: ON + timedelta(rng.randint(-9, 9)),
    TypeName.TIMESTAMP: lambda rng: datetime(2030, 1, rng.randint(1, 9), tzinfo=UTC),
}


def column(rng: random.Random, name: str) -> Column:
    """A governed column with any constraints that its type takes."""
    made = Column(name=name, type=rng.choice(TYPES), required=rng.random() < 0.3)
    for edit in rng.sample(_MEMBERS, rng.randint(0, 3)):
        made = _valid(edit(rng, made), made)
    return made


def schema(rng: random.Random, number: int = 1) -> Schema:
    """A schema with some columns of the small pool of names, and some core columns described."""
    names = rng.sample(NAMES, rng.randint(0, 5))
    governed = [column(rng, name) for name in names]
    described = [
        _described(rng, CORE_BY_NAME[name]) for name in rng.sample(_DESCRIBED, rng.randint(0, 2))
    ]
    return _schema(number, governed, described)


def evolved(rng: random.Random, old: Schema, number: int) -> Schema:
    """The schema after a few edits such as people make, some of them unwise."""
    governed = list(old.governed)
    described = [c for c in old.columns if c.name in CORE_BY_NAME]
    for _ in range(rng.randint(1, 3)):
        rng.choice(_EDITS)(rng, governed)
        if rng.random() < 0.15:
            described = [_described(rng, CORE_BY_NAME[rng.choice(_DESCRIBED)])]
    return _schema(number, governed, described)


def body(rng: random.Random, validator: SchemaValidator) -> dict[str, Token] | None:
    """A body that the schema accepts, most columns given; None if none was found."""
    given: dict[str, Token] = {"project_name": "A", "total_amount": "1.00", "currency_code": "EUR"}
    governed = [column.name for column in validator.schema.governed]
    for name in (*_DESCRIBED, *governed):
        one = validator.fields[name]
        if one.required or rng.random() < 0.7:
            called = rng.choice([name, name, *one.aliases])
            token = _accepted(rng, validator, called, one)
            if token is not None:
                given[called] = token
    for name in rng.sample(NAMES, 2):
        if rng.random() < 0.4:
            own: Token = to_token(f"x_{name}", value(rng, rng.choice(TYPES)))
            given[f"x_{name}"] = own if rng.random() < 0.8 else {"a": NumberToken("1")}
    return given if _reads(validator, given, partial=False) else None


def to_token(name: str, found: Value) -> Token:
    """The JSON of a value of the column so called."""
    return parse_token(msgspec.json.encode(to_json_value(name, found)))


def _accepted(rng: random.Random, validator: SchemaValidator, called: str, one: Column) -> Token:
    """A value that the column accepts under this name, or None."""
    pool: list[Value] = [value(rng, one.type) for _ in range(3)]
    if one.enum:
        pool.insert(0, rng.choice(one.enum))
    pool += [v for v in (one.minimum, one.maximum, one.default) if v is not None]
    pool += ["ESP", "abc", "a", ""]
    for candidate in pool:
        token = to_token(one.name, candidate)
        if _reads(validator, {called: token}, partial=True):
            return token
    return None


def _reads(validator: SchemaValidator, tokens: dict[str, Token], *, partial: bool) -> bool:
    try:
        validator.read(tokens, partial=partial)
    except InvalidInput:
        return False
    return True


def _schema(number: int, governed: list[Column], described: list[Column]) -> Schema:
    """A schema without the aliases that clash, as reading a document would reject them."""
    taken = {*CORE_BY_NAME, *(c.name for c in governed)}
    columns: list[Column] = []
    for each in (*described, *governed):
        aliases = tuple(a for a in each.aliases if a not in taken)
        taken.update(aliases)
        columns.append(msgspec.structs.replace(each, aliases=aliases))
    governed_columns = tuple(c for c in columns if c.name not in CORE_BY_NAME)
    return a_schema(columns, version=number, governed=governed_columns)


def _valid(changed: Column, otherwise: Column) -> Column:
    try:
        check_column(changed, "")
    except InvalidInput:
        return otherwise
    return changed


def _described(rng: random.Random, core: Column) -> Column:
    members: dict[str, list[dict[str, Any]]] = {
        "sector": [{"required": True}, {"enum": ("abc", "a")}, {"pattern": "[abc]*"}],
        "maturity_years": [
            {"maximum": Decimal(8)},
            {"minimum": Decimal(2), "required": True},
        ],
        "country_code": [{"enum": ("ESP", "PRT")}, {"required": True}],
        "cod_date": [{"aliases": (rng.choice(NAMES),)}, {"deprecated": True}],
        "dscr": [{"minimum": Decimal(-5)}, {"unit": "x"}, {"aliases": (rng.choice(NAMES),)}],
    }
    return msgspec.structs.replace(core, **rng.choice(members[core.name]))


_Edit = Callable[[random.Random, Column], Column]


def _with(**members: Callable[[random.Random, Column], Any]) -> _Edit:
    def edit(rng: random.Random, before: Column) -> Column:
        said = {name: make(rng, before) for name, make in members.items()}
        return msgspec.structs.replace(before, **said)

    return edit


def _bound(rng: random.Random, before: Column) -> Value | None:
    return rng.choice([None, value(rng, before.type), value(rng, before.type)])


def _enum(rng: random.Random, before: Column) -> tuple[Value, ...] | None:
    if before.enum is not None and rng.random() < 0.7:
        fewer = before.enum[: rng.randint(1, len(before.enum))]
        more = tuple(dict.fromkeys([*before.enum, value(rng, before.type)]))
        return rng.choice([fewer, more, before.enum[::-1], None])
    return tuple(dict.fromkeys(value(rng, before.type) for _ in range(3)))


def _aliases(rng: random.Random, before: Column) -> tuple[str, ...]:
    others = [name for name in NAMES if name != before.name]
    return rng.choice([(), (rng.choice(others),), (*before.aliases, rng.choice(others))])


def _retyped(rng: random.Random, before: Column) -> Column:
    """Another type, more often than not with other parameters only."""
    akin = [type_ for type_ in TYPES if type_.name is before.type.name]
    return Column(
        name=before.name,
        type=rng.choice(rng.choice([akin, akin, TYPES])),
        required=before.required,
        pattern=before.pattern,
        aliases=before.aliases,
    )


_MEMBERS: list[_Edit] = [
    _with(required=lambda rng, _: rng.random() < 0.5),
    _with(default=_bound),
    _with(default=_bound, required=lambda *_: True),
    _with(enum=_enum),
    _with(minimum=_bound),
    _with(maximum=_bound),
    _with(pattern=lambda rng, _: rng.choice([None, *PATTERNS])),
    _with(aliases=_aliases),
    _with(deprecated=lambda rng, _: rng.random() < 0.7, sunset=lambda rng, _: rng.choice(SUNSETS)),
]
_RARE: list[_Edit] = [
    _with(semantic=lambda rng, _: rng.choice(MEANINGS)),
    _with(unit=lambda rng, _: rng.choice(MEANINGS)),
    _with(description=lambda rng, _: rng.choice(["", "Said."])),
    _retyped,
    _retyped,
]


def _add(rng: random.Random, governed: list[Column]) -> None:
    free = [name for name in NAMES if name not in {c.name for c in governed}]
    if free:
        governed.insert(rng.randint(0, len(governed)), column(rng, rng.choice(free)))


def _remove(rng: random.Random, governed: list[Column]) -> None:
    if governed:
        governed.pop(rng.randrange(len(governed)))


def _rename(rng: random.Random, governed: list[Column]) -> None:
    free = [name for name in NAMES if name not in {c.name for c in governed}]
    if not governed or not free:
        return
    at = rng.randrange(len(governed))
    before = governed[at]
    aliases = rng.choice([(before.name, *before.aliases), (before.name,), before.aliases])
    renamed = msgspec.structs.replace(before, name=rng.choice(free), aliases=aliases)
    governed[at] = _valid(renamed, before)


def _alter(rng: random.Random, governed: list[Column]) -> None:
    if governed:
        at = rng.randrange(len(governed))
        edit = rng.choice([*_MEMBERS, *_RARE])
        governed[at] = _valid(edit(rng, governed[at]), governed[at])


def _reorder(rng: random.Random, governed: list[Column]) -> None:
    rng.shuffle(governed)


_EDITS = (_add, _add, _remove, _rename, _rename, _reorder, *(_alter,) * 8)
