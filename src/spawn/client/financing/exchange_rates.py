"""Sets of exchange rates, and conversions, as typed values."""

from collections.abc import Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Final, Required, TypedDict

from spawn.client import calls
from spawn.client.financing.financing_records import ClientRecord, Day, DecimalText
from spawn.client.financing.portfolios import FxUseRecord

FX_RATE_SETS: Final = "/v1/ops/fx-rate-sets"
FX_CONVERSION: Final = "/v1/ops/fx-conversion"


class CorrectionDocument(TypedDict):
    """The newest revision of a set, and the reason why it is corrected."""

    revision: int
    reason: str


class FxRateSetDocument(TypedDict, total=False):
    """Rates of a source on a day: units of a currency for one of the base."""

    on: Required[Day]
    source: Required[str]
    base_currency: Required[str]
    rates: Required[Mapping[str, DecimalText]]
    correction: CorrectionDocument | None


class FxRateSetRecord(ClientRecord, frozen=True, kw_only=True):
    """A revision of the rates of a source on a day; `reason` is that of a correction."""

    set_id: str
    on: date
    source: str
    revision: int
    base_currency: str
    rates: dict[str, Decimal]
    reason: str | None
    recorded_at: datetime


class FxConversionRecord(ClientRecord, frozen=True, kw_only=True):
    """A converted amount with its rate."""

    amount: Decimal
    currency_code: str
    converted_amount: Decimal
    converted_currency: str
    rate: Decimal
    on: date
    fx: FxUseRecord


def rate_set_path(set_id: str) -> str:
    """Return the path of a set."""
    return f"{FX_RATE_SETS}/{calls.quote_segment(set_id)}"
