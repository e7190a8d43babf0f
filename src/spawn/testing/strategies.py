"""Hypothesis strategies for any valid domain values.

Strategies that draw nothing themselves are built once: building one costs more than a draw.

Hypothesis is a dependency of tests alone: nothing that a service runs imports this module.
"""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from functools import cache
from itertools import pairwise
from typing import Any

import msgspec
from hypothesis import strategies as st

from spawn.domain.iso.countries import COUNTRIES
from spawn.domain.money import CURRENCIES, DECIMAL_CONTEXT
from spawn.domain.projects.codes import CODE_FIELDS
from spawn.domain.projects.extensions import MAX_BYTES
from spawn.domain.projects.lifecycle import SUSPENDABLE
from spawn.domain.projects.project import (
    ExternalRef,
    Milestone,
    MilestoneKind,
    Project,
    ProjectStatus,
    Sponsor,
    Spv,
    is_open,
)
from spawn.domain.schema_version import Column, ColumnType, Schema, TypeName, Value
from spawn.domain.text import trim

CODES = sorted(code for code, currency in CURRENCIES.items() if currency.exponent is not None)
"""Currency codes in which amounts can be stated."""


@cache
def lines(max_size: int = 40) -> st.SearchStrategy[str]:
    """Return trimmed lines of text in any script, without control characters."""
    characters = st.characters(exclude_categories=("Cc", "Cs"))
    return st.text(characters, min_size=1, max_size=max_size).map(trim).filter(bool)


@cache
def prose(max_size: int = 60) -> st.SearchStrategy[str]:
    """Return any text without U+0000 and lone surrogates."""
    characters = st.characters(exclude_categories=["Cs"], exclude_characters="\x00")
    return st.text(characters, max_size=max_size)


@cache
def amounts(currency_code: str, *, signed: bool = False) -> st.SearchStrategy[Decimal]:
    """Return amounts at the scale of a currency, up to the largest."""
    exponent = CURRENCIES[currency_code].exponent or 0
    max_units = 10 ** (18 + exponent) - 1
    units = st.integers(-max_units if signed else 0, max_units)
    return units.map(lambda count: Decimal(count).scaleb(-exponent))


@cache
def decimals(precision: int, scale: int) -> st.SearchStrategy[Decimal]:
    """Return decimals that fit a precision and scale, with any number of decimals."""
    digits = st.integers(0, 10**precision - 1)
    # In the domain's context: the default one would round what has more than 28 digits.
    positive = st.tuples(digits, st.integers(0, scale)).map(
        lambda pair: DECIMAL_CONTEXT.scaleb(Decimal(pair[0] // 10 ** pair[1]), pair[1] - scale)
    )
    return positive | positive.map(DECIMAL_CONTEXT.minus)


@cache
def instants() -> st.SearchStrategy[datetime]:
    """Return aware instants in UTC and other offsets."""
    offsets = st.integers(-14 * 60, 14 * 60).map(lambda count: timezone(timedelta(minutes=count)))
    return st.datetimes(
        min_value=datetime(1, 1, 2),  # noqa: DTZ001 - hypothesis wants naive bounds
        max_value=datetime(9999, 12, 30),  # noqa: DTZ001 - as above
        timezones=st.just(UTC) | offsets,
    )


@cache
def json_values() -> st.SearchStrategy[Any]:
    """Return small JSON values without U+0000."""
    leaves = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | prose(10)
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(prose(5), inner, max_size=3),
        max_leaves=6,
    )


@cache
def extensions() -> st.SearchStrategy[dict[str, msgspec.Raw]]:
    """Return extension fields by name, none of them null."""
    names = st.from_regex(r"x_[A-Za-z0-9_]{1,10}", fullmatch=True)
    raw = json_values().filter(lambda value: value is not None).map(msgspec.json.encode)
    return st.dictionaries(
        names, raw.filter(lambda body: len(body) <= MAX_BYTES).map(msgspec.Raw), max_size=3
    )


@st.composite
def columns(draw: st.DrawFn, name: str) -> Column:
    """Draw a column of any type, with parameters where the type has them."""
    kind = draw(st.sampled_from(TypeName))
    if kind is TypeName.DECIMAL:
        precision = draw(st.integers(1, 38))
        scale = draw(st.integers(0, precision))
        return Column(name=name, type=ColumnType(kind, precision=precision, scale=scale))
    if kind is TypeName.STRING:
        return Column(name=name, type=ColumnType(kind, max_length=draw(st.integers(1, 60))))
    return Column(name=name, type=ColumnType(kind))


@st.composite
def schemas(draw: st.DrawFn, max_columns: int = 6) -> Schema:
    """Draw a schema with governed columns only."""
    names = draw(
        st.lists(
            # The prefix keeps clear of structural names and of extensions.
            st.from_regex(r"g_[a-z][a-z0-9_]{0,12}", fullmatch=True),
            unique=True,
            max_size=max_columns,
        )
    )
    governed = tuple(draw(columns(name)) for name in names)
    return Schema(
        id="project_schema", version=1, name="Generated", columns=governed, governed=governed
    )


@cache
def values(column_type: ColumnType) -> st.SearchStrategy[Value]:
    """Return values of a column type, extremes included."""
    simple: dict[TypeName, st.SearchStrategy[Any]] = {
        TypeName.INTEGER: st.integers(-(2**31), 2**31 - 1),
        TypeName.BIGINT: st.integers(-(2**63), 2**63 - 1),
        TypeName.DOUBLE: st.floats(allow_nan=False, allow_infinity=False),
        TypeName.BOOLEAN: st.booleans(),
        TypeName.DATE: st.dates(),
        TypeName.TIMESTAMP: instants(),
    }
    if column_type.name is TypeName.STRING:
        return prose(column_type.max_length or 60)
    if column_type.name is TypeName.DECIMAL:
        return decimals(column_type.precision or 38, column_type.scale or 0)
    return simple[column_type.name]


@st.composite
def sponsorships(draw: st.DrawFn) -> tuple[Sponsor, ...]:
    """Draw no sponsors, or up to five whose shares add up to 100."""
    names = draw(st.lists(lines(), unique_by=str.casefold, max_size=5))
    if not names:
        return ()
    hundred_percent = 100 * 10**8
    inner = st.integers(1, hundred_percent - 1)
    cuts = draw(st.lists(inner, unique=True, min_size=len(names) - 1, max_size=len(names) - 1))
    edges = [0, *sorted(cuts), hundred_percent]
    shares = [high - low for low, high in pairwise(edges)]
    return tuple(
        Sponsor(name=name, share=Decimal(share).scaleb(-8))
        for name, share in zip(names, shares, strict=True)
    )


@st.composite
def milestones(draw: st.DrawFn, milestone_id: str) -> Milestone:
    """Draw a milestone or condition: open, met or waived."""
    day = draw(st.dates())
    met_on, waived_on = draw(st.sampled_from([(None, None), (day, None), (None, day)]))
    return Milestone(
        milestone_id=milestone_id,
        title=draw(lines()),
        kind=draw(st.sampled_from(MilestoneKind)),
        due_date=draw(st.none() | st.dates()),
        met_on=met_on,
        waived_on=waived_on,
        draw_stop=draw(st.booleans()),
        evidence=draw(st.none() | prose()),
    )


@st.composite
def projects(draw: st.DrawFn, schema: Schema) -> Project:
    """Draw a project in any status, with governed values that fit the schema."""
    code = draw(st.sampled_from(CODES))
    status = draw(st.sampled_from(ProjectStatus))
    suspended = status is ProjectStatus.SUSPENDED
    project_milestones = [
        draw(milestones(key)) for key in draw(st.lists(lines(), unique=True, max_size=3))
    ]
    if status is ProjectStatus.FINANCIAL_CLOSE:
        project_milestones = [
            m for m in project_milestones if m.kind is MilestoneKind.MILESTONE or not is_open(m)
        ]
    governed = {column.name: draw(st.none() | values(column.type)) for column in schema.governed}
    return Project(
        project_id=str(draw(st.uuids())),
        project_name=draw(lines(60)),
        total_amount=draw(amounts(code) | st.none()),
        currency_code=code,
        status=status,
        status_reason=draw(st.none() | prose()),
        status_effective_on=draw(st.none() | st.dates()),
        suspended_from=draw(st.sampled_from(sorted(SUSPENDABLE))) if suspended else None,
        sponsors=draw(sponsorships()),
        milestones=tuple(project_milestones),
        attributes={name: value for name, value in governed.items() if value is not None},
        extensions=draw(extensions()),
        **draw(_optional_fields()),
    )


@cache
def _references() -> st.SearchStrategy[ExternalRef]:
    return st.builds(ExternalRef, source=lines(20), id=lines())


@cache
def _vehicles() -> st.SearchStrategy[Spv]:
    return st.builds(Spv, name=lines(), country_code=st.none() | _COUNTRIES)


_COUNTRIES = st.sampled_from(sorted(COUNTRIES))
_MATURITIES = st.integers(50, 9900).map(lambda digits: Decimal(digits).scaleb(-2))
_RATES = st.integers(-(10**10), 10**12).map(lambda digits: Decimal(digits).scaleb(-10))


@st.composite
def _optional_codes(draw: st.DrawFn) -> dict[str, str | None]:
    """Return codes that agree with each other, each of them possibly absent."""
    codes: dict[str, str | None] = {}
    for field in CODE_FIELDS.values():
        if field.name != "currency_code":
            parent = codes[field.within] if field.within else None
            choices = _codes_within(field.name, parent)
            codes[field.name] = draw(st.none() | st.sampled_from(choices) if choices else st.none())
    return codes


@cache
def _codes_within(name: str, parent: str | None) -> tuple[str, ...]:
    """Return a field's codes that agree with the value of the field they are within."""
    field = CODE_FIELDS[name]
    find_parent = field.find_parent
    if find_parent is None:
        return field.codes
    return tuple(code for code in field.codes if find_parent(code) == parent)


@st.composite
def _optional_fields(draw: st.DrawFn) -> dict[str, Any]:
    days: list[date] = sorted(draw(st.lists(st.dates(), min_size=3, max_size=3)))
    close, operation, end = (draw(st.none() | st.just(day)) for day in days)
    return {
        "description": draw(st.none() | prose()),
        "sector": draw(st.none() | prose(20)),
        **draw(_optional_codes()),
        "maturity_years": draw(st.none() | _MATURITIES),
        "expected_irr": draw(st.none() | _RATES),
        "dscr": draw(st.none() | decimals(18, 8)),
        "financial_close_date": close,
        "cod_date": operation,
        "end_date": end,
        "spv": draw(st.none() | _vehicles()),
        "external_ref": draw(st.none() | _references()),
    }
