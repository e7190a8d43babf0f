"""Wire structs of portfolios and their holdings."""

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Annotated, Any, Final, Self

from msgspec import Meta

from spawn.application.portfolios.holding_commands import HoldingInput
from spawn.domain.change import StoredAggregate
from spawn.domain.json_tokens import parse_object
from spawn.domain.portfolios.fx_rate_set import MAX_AGE_DAYS
from spawn.domain.portfolios.holding import ExposureKind, Holding
from spawn.domain.portfolios.portfolio import (
    MAX_FX_AGE_DAYS,
    MAX_PORTFOLIO_NAME,
    ExposureKey,
    ExposureLimit,
    Portfolio,
)
from spawn.domain.struct_reader import (
    TokenReader,
    compile_reader,
    read_date,
    read_members,
    read_string,
)
from spawn.entrypoints.http.portfolios.fx_wire import CurrencyCode, FxSource
from spawn.entrypoints.http.wire import Day, Instant, ResourceId, Version, WireStruct

ShareText = Annotated[
    str,
    Meta(
        pattern=r"^((0|[1-9][0-9]{0,2})(\.[0-9]{1,12})?|[1-9][0-9]{0,11}/[1-9][0-9]{0,11})$",
        description="A share in per cent, such as 33.5, or a ratio of the whole, such as 1/3.",
        examples=["33.5"],
    ),
]
_Name = Annotated[
    str,
    Meta(min_length=1, max_length=MAX_PORTFOLIO_NAME, examples=["Infrastructure debt"]),
]
_Age = Annotated[int, Meta(ge=0, le=MAX_FX_AGE_DAYS)]


class LimitView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The most exposure of a group, as an amount or as a share of the portfolio in per cent.

    Without a `value` every group of the key has the limit.
    """

    by: ExposureKey
    value: str | None = None
    max_amount: Decimal | None = None
    max_share: Decimal | None = None


class PortfolioRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A portfolio to create; without `fx_source` it can hold one currency only."""

    name: _Name
    currency_code: CurrencyCode
    fx_source: FxSource | None = None
    max_fx_age_days: _Age = MAX_AGE_DAYS
    limits: tuple[LimitView, ...] = ()


class PortfolioPatchView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Terms of a portfolio to replace; `limits` are replaced as a whole."""

    name: _Name | None = None
    currency_code: CurrencyCode | None = None
    fx_source: FxSource | None = None
    max_fx_age_days: _Age | None = None
    limits: tuple[LimitView, ...] | None = None


class HoldingRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A share of a facility, or (`project_id`) of the equity of a project, from a day on.

    `until` is the first day on which it is no longer held.
    """

    facility_id: ResourceId | None = None
    project_id: ResourceId | None = None
    share: ShareText
    since: Day
    until: Day | None = None


class HoldingPatchView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The share or the days of a holding to replace; null removes `until`."""

    share: ShareText | None = None
    since: Day | None = None
    until: Day | None = None


_read_limits: Final = compile_reader(tuple[LimitView, ...], null_is_absent=True)


def _read_domain_limits(token: Any, pointer: str) -> tuple[ExposureLimit, ...]:
    return tuple(
        ExposureLimit(
            by=limit.by, value=limit.value, max_amount=limit.max_amount, max_share=limit.max_share
        )
        for limit in _read_limits(token, pointer)
    )


def _or_null(read: TokenReader) -> TokenReader:
    return lambda token, pointer: None if token is None else read(token, pointer)


_read_integer: Final = compile_reader(int)
_PORTFOLIO_TERMS: Final[Mapping[str, TokenReader]] = {
    "name": read_string,
    "currency_code": read_string,
    "fx_source": _or_null(read_string),
    "max_fx_age_days": _read_integer,
    "limits": _read_domain_limits,
}
_HOLDING_TERMS: Final[Mapping[str, TokenReader]] = {
    "share": read_string,
    "since": read_date,
    "until": _or_null(read_date),
}
_EXPOSURE_TERMS: Final[Mapping[str, TokenReader]] = {
    "facility_id": _or_null(read_string),
    "project_id": _or_null(read_string),
    **_HOLDING_TERMS,
}


def read_portfolio_terms(document: bytes, *, partial: bool = False) -> dict[str, Any]:
    """Read the terms of a portfolio, all that are required or some to replace.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    required = () if partial else ("name", "currency_code")
    token = parse_object(document)
    return read_members(token, "", _PORTFOLIO_TERMS, required=required, null_is_absent=False)


def read_holding(document: bytes) -> HoldingInput:
    """Read a holding to add.

    Raises:
        MalformedBody, InvalidInput: the document is not one.
    """
    members = read_members(
        parse_object(document),
        "",
        _EXPOSURE_TERMS,
        required=("share", "since"),
        null_is_absent=False,
    )
    return HoldingInput(**members)


def read_holding_patch(document: bytes) -> dict[str, Any]:
    """Read terms of a holding to replace.

    Raises:
        MalformedBody, InvalidInput: the document does not state them.
    """
    return read_members(parse_object(document), "", _HOLDING_TERMS, null_is_absent=False)


class PortfolioView(WireStruct, frozen=True, kw_only=True):
    """A portfolio, its currency, the source of its exchange rates and its limits."""

    portfolio_id: ResourceId
    name: str
    currency_code: CurrencyCode
    fx_source: str | None
    max_fx_age_days: _Age
    limits: tuple[LimitView, ...]
    version: Version
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of_aggregate(cls, aggregate: StoredAggregate[Portfolio]) -> Self:
        """Return the wire form of a portfolio."""
        return cls.of(aggregate.state, aggregate)


class HoldingView(WireStruct, frozen=True, kw_only=True):
    """A share of an exposure in a portfolio."""

    holding_id: ResourceId
    portfolio_id: ResourceId
    exposure_kind: ExposureKind
    exposure_id: ResourceId
    project_id: ResourceId
    share: ShareText
    since: date
    until: date | None
    is_active: bool
    version: Version
    created_at: Instant
    updated_at: Instant

    @classmethod
    def of_aggregate(cls, aggregate: StoredAggregate[Holding]) -> Self:
        """Return the wire form of a holding."""
        return cls.of(aggregate.state, aggregate)
