"""Wire structs of the exposure and the concentration of a portfolio."""

from decimal import Decimal
from fractions import Fraction
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.portfolios.exposure_reports import ExposureReport
from spawn.domain.money import get_exponent
from spawn.domain.portfolios.exposure import (
    ExposureAmounts,
    ExposureGroup,
    KeyConcentration,
    LimitStatus,
)
from spawn.domain.portfolios.portfolio import ExposureKey
from spawn.entrypoints.http.portfolios.fx_wire import AmountText, CurrencyCode, FxUseView
from spawn.entrypoints.http.portfolios.wire import LimitView
from spawn.entrypoints.http.wire import Count, Day, Instant, ResourceId, Version, WireStruct

_SHARE_DECIMALS: Final = 4
_INDEX_DECIMALS: Final = 2
PercentText = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]+(\.[0-9]+)?$",
        description="Share of the portfolio in per cent, rounded to four decimals.",
        examples=["12.5000"],
    ),
]
GroupValue = Annotated[
    str | None, Meta(description="Value of the key; null where the project has none.")
]


def format_units(units: int, currency_code: str) -> str:
    """Return the wire text of minor units of a currency."""
    exponent = get_exponent(currency_code)
    return f"{Decimal(units).scaleb(-exponent):f}"


def format_ratio(ratio: Fraction, decimals: int) -> str:
    """Return a ratio rounded half-even to some decimals."""
    return f"{Decimal(round(ratio * 10**decimals)).scaleb(-decimals):f}"


def _format_share(amounts: ExposureAmounts, total: ExposureAmounts) -> str:
    ratio = Fraction(amounts.total, total.total) if total.total else Fraction(0)
    return format_ratio(ratio * 100, _SHARE_DECIMALS)


class ExposureAmountsView(WireStruct, frozen=True, kw_only=True):
    """Amounts that are outstanding, that can still be drawn, and both together."""

    outstanding: AmountText
    undrawn: AmountText
    exposure: AmountText

    @classmethod
    def of_amounts(cls, amounts: ExposureAmounts, currency_code: str) -> Self:
        """Return the wire form of amounts."""
        return cls(
            outstanding=format_units(amounts.outstanding, currency_code),
            undrawn=format_units(amounts.undrawn, currency_code),
            exposure=format_units(amounts.total, currency_code),
        )


class ExposureGroupView(WireStruct, frozen=True, kw_only=True):
    """A group: `keys` has the values of the first `level` keys; its parts follow it."""

    level: Version
    keys: dict[str, GroupValue]
    outstanding: AmountText
    undrawn: AmountText
    exposure: AmountText
    share: PercentText


class KeyGroupView(WireStruct, frozen=True, kw_only=True):
    """A group of one key."""

    value: GroupValue
    exposure: AmountText
    share: PercentText

    @classmethod
    def of_group(cls, group: ExposureGroup, total: ExposureAmounts, currency_code: str) -> Self:
        """Return the wire form of a group of one key."""
        return cls(
            value=group.values[0],
            exposure=format_units(group.amounts.total, currency_code),
            share=_format_share(group.amounts, total),
        )


class LimitStatusView(WireStruct, frozen=True, kw_only=True):
    """A limit with the largest group under it; `headroom` is below zero in a breach.

    `breaches` has every group above the limit. Limits are compared exactly, before any rounding.
    """

    limit: LimitView
    is_breached: bool
    largest: KeyGroupView | None
    headroom: AmountText | None
    breaches: tuple[KeyGroupView, ...]

    @classmethod
    def of_status(cls, status: LimitStatus, total: ExposureAmounts, currency_code: str) -> Self:
        """Return the wire form of a limit's status; the headroom is rounded down."""
        largest, headroom = None, None
        if status.largest is not None:
            largest = KeyGroupView.of_group(status.largest, total, currency_code)
            units = (status.maximum - status.largest.amounts.total).__floor__()
            headroom = format_units(units, currency_code)
        return cls(
            limit=LimitView.of(status.limit),
            is_breached=bool(status.breaches),
            largest=largest,
            headroom=headroom,
            breaches=tuple(
                KeyGroupView.of_group(one, total, currency_code) for one in status.breaches
            ),
        )


class PortfolioExposureView(WireStruct, frozen=True, kw_only=True):
    """The exposure of a portfolio on a day, as recorded at an instant.

    Groups of a level add up exactly to the group above them, and those of the first level to the
    total. `fx` is the set of rates, null if no exposure is in another currency. `limits` are in
    the portfolio's own currency, `limits_currency`.
    """

    portfolio_id: ResourceId
    name: str
    on: Day
    as_of: Instant
    currency_code: CurrencyCode
    by: tuple[ExposureKey, ...]
    holdings: Count
    total: ExposureAmountsView
    fx: FxUseView | None
    groups: tuple[ExposureGroupView, ...]
    limits_currency: CurrencyCode
    limits: tuple[LimitStatusView, ...]

    @classmethod
    def of_report(cls, report: ExposureReport, keys: tuple[ExposureKey, ...]) -> Self:
        """Return the wire form of a report."""
        view, code, total = report.snapshot, report.currency_code, report.exposure.total
        portfolio = view.portfolio.state
        return cls(
            portfolio_id=portfolio.portfolio_id,
            name=portfolio.name,
            on=view.on,
            as_of=view.as_of,
            currency_code=code,
            by=keys,
            holdings=len({one.holding_id for one in report.exposure.positions}),
            total=ExposureAmountsView.of_amounts(total, code),
            fx=None if report.fx is None else FxUseView.of_use(report.fx),
            groups=tuple(_view_group(one, keys, report) for one in report.groups),
            limits_currency=portfolio.currency_code,
            limits=tuple(
                LimitStatusView.of_status(one, report.limits_total, portfolio.currency_code)
                for one in report.limits
            ),
        )


def _view_group(
    group: ExposureGroup, keys: tuple[ExposureKey, ...], report: ExposureReport
) -> ExposureGroupView:
    code = report.currency_code
    return ExposureGroupView(
        level=len(group.values),
        keys={str(key): value for key, value in zip(keys, group.values, strict=False)},
        outstanding=format_units(group.amounts.outstanding, code),
        undrawn=format_units(group.amounts.undrawn, code),
        exposure=format_units(group.amounts.total, code),
        share=_format_share(group.amounts, report.exposure.total),
    )


class KeyConcentrationView(WireStruct, frozen=True, kw_only=True):
    """The concentration by one key: the Herfindahl-Hirschman index and the largest groups."""

    by: ExposureKey
    groups: Count
    hhi: Annotated[
        str,
        Meta(
            pattern=r"^[0-9]+\.[0-9]{2}$",
            description="Sum of the squared shares in per cent, from 0 to 10000.",
            examples=["5200.00"],
        ),
    ]
    largest: tuple[KeyGroupView, ...]
    largest_share: PercentText

    @classmethod
    def of_concentration(
        cls, concentration: KeyConcentration, total: ExposureAmounts, currency_code: str
    ) -> Self:
        """Return the wire form of the concentration by a key."""
        amounts = sum((one.amounts for one in concentration.largest), ExposureAmounts())
        return cls(
            by=concentration.key,
            groups=concentration.groups,
            hhi=format_ratio(concentration.hhi, _INDEX_DECIMALS),
            largest=tuple(
                KeyGroupView.of_group(one, total, currency_code) for one in concentration.largest
            ),
            largest_share=_format_share(amounts, total),
        )


class PortfolioConcentrationView(WireStruct, frozen=True, kw_only=True):
    """The concentration of a portfolio on a day, as recorded at an instant."""

    portfolio_id: ResourceId
    name: str
    on: Day
    as_of: Instant
    currency_code: CurrencyCode
    total: ExposureAmountsView
    fx: FxUseView | None
    concentration: tuple[KeyConcentrationView, ...]

    @classmethod
    def of_report(cls, report: ExposureReport) -> Self:
        """Return the wire form of a report."""
        view, code, total = report.snapshot, report.currency_code, report.exposure.total
        return cls(
            portfolio_id=view.portfolio.id,
            name=view.portfolio.state.name,
            on=view.on,
            as_of=view.as_of,
            currency_code=code,
            total=ExposureAmountsView.of_amounts(total, code),
            fx=None if report.fx is None else FxUseView.of_use(report.fx),
            concentration=tuple(
                KeyConcentrationView.of_concentration(one, total, code)
                for one in report.concentration
            ),
        )
