"""ACTUS contracts as stored facilities: their terms, and the facts that their events record."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

from tests.http.analysis.actus_contracts import Calculate, Contract, Json

from spawn.domain.facilities.facility import (
    FacilityKind,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.ledger import EntryFacts, EntryKind
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms
from spawn.domain.json_tokens import parse_object
from spawn.domain.struct_reader import compile_reader

TRANSFERS = frozenset({"PRD", "TD"})
_RATE_DECIMALS = Decimal("1E-12")
_read_dates = compile_reader(PaymentDateTerms)


def is_transferred(contract: Contract) -> bool:
    """Whether the contract is bought or terminated at a price, which is no fact of a ledger."""
    return any(result["eventType"] in TRANSFERS for result in contract.results)


class StoredContract:
    """A contract with the term sheet of its facility, and the facts of its ledger."""

    def __init__(self, contract: Contract, calculate: Calculate) -> None:
        self._contract = contract
        self._request: Json = contract.request(calculate)
        self._start = contract.start
        self._resets: list[Json] = self._request.get("rate_resets") or []

    @property
    def term_sheet(self) -> FacilityTermSheet:
        request = self._request
        dates = request.get("payment_dates")
        rate = Decimal(str(request["annual_rates"]))
        return FacilityTermSheet(
            name=self._contract.name,
            kind=FacilityKind.SENIOR,
            currency_code=self._contract.terms["currency"],
            commitment=Decimal(str(request["principal"])),
            availability_start=self._start,
            availability_end=self._start,
            lenders=(LenderShare(lender="Bank", share=Decimal(100)),),
            rate=RateBasis(curve="index") if self._resets else RateBasis(fixed_rate=rate),
            day_count=request["day_count"],
            payment_dates=None if dates is None else read_payment_dates(dates),
            dates=_days(request.get("dates")),
            repayment=FacilityRepayment(
                profile=request["profile"],
                payment=_decimal(request.get("payment")),
                instalment=_decimal(request.get("instalment")),
                allow_negative_amortisation=request.get("allow_negative_amortisation", False),
                principal_dates=_days(request.get("principal_dates")),
                capitalise_until=_day(request.get("capitalise_until")),
                interest_base=request.get("interest_base"),
                interest_base_amount=_decimal(request.get("interest_base_amount")),
                interest_base_dates=_days(request.get("interest_base_dates")),
                reset_effect=request.get("reset_effect"),
            ),
        )

    @property
    def facts(self) -> list[EntryFacts]:
        """The fixings of the rate, and the draw or the opening position of a running loan."""
        accrued = _decimal(self._request.get("accrued_interest"))
        draw = EntryFacts(
            kind=EntryKind.DRAW if accrued is None else EntryKind.OPENING,
            value_date=self._start,
            amount=Decimal(str(self._request["principal"])),
            accrued_interest=accrued,
        )
        if not self._resets:
            return [draw]
        rates = [(self._start, self._request["annual_rates"])]
        rates += [(date.fromisoformat(r["date"]), r["annual_rate"]) for r in self._resets]
        fixings = [
            EntryFacts(
                kind=EntryKind.RATE_FIXING,
                value_date=day,
                rate=Decimal(str(rate)).quantize(_RATE_DECIMALS),
            )
            for day, rate in rates
        ]
        return [*fixings, draw]


def read_payment_dates(terms: Json) -> PaymentDateTerms:
    dates: PaymentDateTerms = _read_dates(parse_object(json.dumps(terms).encode()), "")
    return dates


def _decimal(value: Any) -> Decimal | None:
    return None if value is None else Decimal(str(value))


def _day(text: str | None) -> date | None:
    return None if text is None else date.fromisoformat(text)


def _days(texts: list[str] | None) -> tuple[date, ...] | None:
    return None if texts is None else tuple(map(date.fromisoformat, texts))
