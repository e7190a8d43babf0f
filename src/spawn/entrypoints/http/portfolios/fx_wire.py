"""Wire structs of exchange rates."""

from datetime import date
from decimal import Decimal
from typing import Annotated, Final, Self

from msgspec import Meta

from spawn.application.portfolios.fx_rate_sets import Conversion, Correction, FxUse, RateSetInput
from spawn.domain.change import StoredAggregate
from spawn.domain.errors import InvalidInput
from spawn.domain.json_tokens import Token
from spawn.domain.portfolios.fx_rate_set import MAX_RATE_REASON, FxRateSet
from spawn.domain.struct_reader import compile_reader, prose_reader
from spawn.entrypoints.http.wire import Count, Day, Instant, Version, WireStruct

CURRENCY_CODE: Final = {"type": "string", "pattern": "^[A-Z]{3}$"}
CurrencyCode = Annotated[str, Meta(pattern="^[A-Z]{3}$", examples=["EUR"])]
FxSource = Annotated[
    str,
    Meta(
        pattern="^[a-z0-9][a-z0-9_-]{0,39}$",
        description="Name of the source, such as that of a central bank.",
        examples=["ecb"],
    ),
]
AmountText = Annotated[
    str, Meta(pattern=r"^-?(0|[1-9][0-9]{0,17})(\.[0-9]{1,4})?$", examples=["1250000.00"])
]
"""An exact amount, at the scale of its currency."""

RateText = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,9}(\.[0-9]{1,18})?$",
        description="Units of the currency for one unit of the base.",
        examples=["1.0573"],
    ),
]


class CorrectionView(WireStruct, frozen=True, forbid_unknown_fields=True):
    """The revision that a set corrects, and the reason."""

    revision: Annotated[int, Meta(ge=1, le=2**31 - 1)]
    reason: Annotated[str, Meta(min_length=1, max_length=MAX_RATE_REASON)]


class FxRateSetRequestView(WireStruct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rates of a source on a day; `rates` has units of each currency for one of the base."""

    on: date
    source: FxSource
    base_currency: CurrencyCode
    rates: dict[str, Decimal]
    correction: CorrectionView | None = None


_read_request: Final = compile_reader(FxRateSetRequestView, null_is_absent=True)
_read_reason: Final = prose_reader(MAX_RATE_REASON, allows_blank=False)


def read_rate_set_request(token: Token) -> RateSetInput:
    """Read the request of a set of rates.

    Raises:
        InvalidInput: the token is not one.
    """
    view: FxRateSetRequestView = _read_request(token, "")
    correction = view.correction
    if correction is not None:
        if correction.revision < 1:
            raise InvalidInput.at("/correction/revision", "out_of_range", "must be at least 1")
        _read_reason(correction.reason, "/correction/reason")
    return RateSetInput(
        on=view.on,
        source=view.source,
        base_currency=view.base_currency,
        rates=view.rates,
        correction=None
        if correction is None
        else Correction(revision=correction.revision, reason=correction.reason),
    )


class FxRateSetView(WireStruct, frozen=True, kw_only=True):
    """A revision of the rates of a source on a day; `reason` is that of a correction."""

    set_id: Annotated[str, Meta(examples=["2026-11-27.ecb"])]
    on: Day
    source: FxSource
    revision: Version
    base_currency: CurrencyCode
    rates: dict[str, RateText]
    reason: str | None
    recorded_at: Instant

    @classmethod
    def of_aggregate(cls, aggregate: StoredAggregate[FxRateSet]) -> Self:
        """Return the wire form of a stored set."""
        rates = {one.currency_code: f"{one.rate:f}" for one in aggregate.state.rates}
        return cls.of(
            aggregate.state,
            set_id=aggregate.id,
            revision=aggregate.version,
            recorded_at=aggregate.updated_at,
            rates=rates,
        )


class FxUseView(WireStruct, frozen=True, kw_only=True):
    """The set of rates that a result rests on, its age, and the age that is accepted."""

    set_id: Annotated[str, Meta(examples=["2026-11-27.ecb"])]
    on: Day
    source: FxSource
    revision: Version
    base_currency: CurrencyCode
    age_days: Count
    max_age_days: Count

    @classmethod
    def of_use(cls, use: FxUse) -> Self:
        """Return the wire form of the use of a set."""
        aggregate = use.rate_set
        return cls.of(use, aggregate.state, set_id=aggregate.id, revision=aggregate.version)


class FxConversionView(WireStruct, frozen=True, kw_only=True):
    """An amount in another currency; `rate` is rounded to 12 decimals, the amount only once."""

    amount: AmountText
    currency_code: CurrencyCode
    converted_amount: AmountText
    converted_currency: CurrencyCode
    rate: RateText
    on: Day
    fx: FxUseView

    @classmethod
    def of_conversion(cls, conversion: Conversion, on: date) -> Self:
        """Return the wire form of a conversion."""
        money, target, fx = conversion.money, conversion.target, conversion.fx
        rate = fx.rate_set.state.cross_rate(money.currency_code, target.currency_code)
        return cls(
            amount=str(money.amount),
            currency_code=money.currency_code,
            converted_amount=str(target.amount),
            converted_currency=target.currency_code,
            rate=f"{Decimal(round(rate * 10**12)).scaleb(-12):f}",
            on=on,
            fx=FxUseView.of_use(fx),
        )
