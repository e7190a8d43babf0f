"""The result of construction funding: sums, rows from period 0, and rows by facility."""

import msgspec

from spawn.domain.finance.facilities.facility_terms import FacilityKind


class ConstructionRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period: uses = cost + fees + interest + reserve = debt draw + equity draw.

    With several facilities the sources are debt draw + grant draw + equity draw + VAT refund, and
    what they pay is uses + VAT + repaid; `interest` is then the interest that is paid, and
    `capitalised` the interest that joins the balance.
    """

    period: int
    cost: float
    upfront_fee: float
    interest: float
    commitment_fee: float
    dsra_funding: float
    uses: float
    debt_draw: float
    equity_draw: float
    opening_balance: float
    closing_balance: float
    undrawn: float
    grant_draw: float = 0.0
    vat: float = 0.0
    vat_refund: float = 0.0
    capitalised: float = 0.0
    repaid: float = 0.0


class FacilityDrawRow(msgspec.Struct, frozen=True, kw_only=True):
    """One period of a facility: closing = opening + draw + capitalised - repaid."""

    period: int
    annual_rate: float
    upfront_fee: float
    interest: float
    commitment_fee: float
    opening_balance: float
    draw: float
    capitalised: float
    repaid: float
    closing_balance: float
    undrawn: float


class FacilityDraws(msgspec.Struct, frozen=True, kw_only=True):
    """The draws of a facility, their sums, and the balance after construction."""

    name: str
    kind: FacilityKind
    commitment: float
    drawn_total: float
    interest_total: float
    fees_total: float
    closing_balance: float
    rows: tuple[FacilityDrawRow, ...]


class ConstructionFunding(msgspec.Struct, frozen=True, kw_only=True):
    """The commitment that also funds its own cost, its sums, and the rows from period 0.

    With several facilities the commitment is that of senior and mezzanine debt, `total_uses` is
    the funded cost without the VAT that is refunded, `idc_total` includes capitalised interest.
    """

    debt_commitment: float
    equity: float
    total_uses: float
    idc_total: float
    fees_total: float
    gearing: float
    rows: tuple[ConstructionRow, ...]
    conventions: dict[str, str]
    warnings: tuple[str, ...] = ()
    facilities: tuple[FacilityDraws, ...] = ()
