"""ACTUS contracts as requests of the schedule calculator, and their published events.

The mapping is that of the ACTUS dictionary: cycles are intervals with a short (`L1`) or long (`L0`)
stub at the end, `SC` conventions accrue between adjusted dates and `CS` between unadjusted ones.
Contracts begin at their status date where it is after the initial exchange. An instant at the last
second of a day is the start of the next.
"""

import json
import math
import re
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

Json = dict[str, Any]
Calculate = Callable[[Json], Json]

_DAY_COUNTS = {"A365": "ACT/365F", "A360": "ACT/360", "AA": "ACT/ACT ISDA", "30E360": "30E/360"}
_RULES = {
    "F": "following",
    "MF": "modified_following",
    "P": "preceding",
    "MP": "modified_preceding",
}
_INTERVALS = {"D": ("interval_days", 1), "W": ("interval_days", 7)}
_INTERVALS |= {"M": ("interval_months", 1), "Y": ("interval_months", 12)}
_KINDS = {
    "IED": "draw",
    "PR": "principal",
    "MD": "principal",
    "IP": "interest",
    "PRD": "take_over",
    "TD": "termination",
}
_PROFILES = {"PAM": "bullet", "LAM": "straight_line", "NAM": "annuity", "ANN": "annuity"}
_ENDLESS_YEARS = 15
_MISPRINTS = {"lam18": "its published interest runs on the balance, its terms fix the base"}


class Contract:
    """One contract of the test files."""

    def __init__(self, name: str, content: Json) -> None:
        self.name = name
        self.terms: Json = content["terms"]
        self.results: list[Json] = content["results"]
        self._observed: Json = content.get("dataObserved") or {}
        self.sign = -1.0 if self.terms["contractRole"] == "RPL" else 1.0

    def day(self, name: str) -> date | None:
        text = self.terms.get(name)
        return parse_instant(text) if text else None

    def number(self, name: str, default: float | None = None) -> float | None:
        value = self.terms.get(name)
        return default if value is None else float(value)

    @property
    def start(self) -> date:
        exchange, status = self.day("initialExchangeDate"), self.day("statusDate")
        assert exchange
        assert status
        return max(exchange, status)

    @property
    def is_running(self) -> bool:
        """Whether the loan was drawn before the contract is observed."""
        return self.start != self.day("initialExchangeDate")

    @property
    def reason_unsupported(self) -> str:
        """The reason why a request cannot say the contract; empty where it can."""
        if self.terms.get("scalingEffect"):
            return "notional and interest are scaled by an index"
        pays_at_draw = self.day("cycleAnchorDateOfInterestPayment") == self.start
        if self.number("accruedInterest") and pays_at_draw:
            return "interest accrued before the draw is paid on the day of the draw"
        transfers = [result for result in self.results if result["eventType"] in {"PRD", "TD"}]
        if self.sign < 0.0 and any(self._accrued_before(result) for result in transfers):
            return "the accrued interest of a liability is deducted from its price, not added"
        if self.name in _MISPRINTS:
            return _MISPRINTS[self.name]
        return ""

    def _accrued_before(self, transfer: Json) -> bool:
        """Whether interest has accrued when the loan changes hands or ends."""
        days = {parse_instant(r["eventDate"]) for r in self.results if r["eventType"] == "IP"}
        return parse_instant(transfer["eventDate"]) not in days and (
            transfer["eventType"] == "TD" or bool(float(transfer["accruedInterest"]))
        )

    def request(self, calculate: Calculate) -> Json:
        """Return the request that says the contract."""
        profile = _PROFILES[self.terms["contractType"]]
        end = self._maturity()
        request: Json = {
            "principal": self.number("notionalPrincipal"),
            "annual_rates": self.number("nominalInterestRate"),
            "day_count": _DAY_COUNTS[self.terms["dayCountConvention"]],
            "profile": profile,
            **self._interest_dates(end, calculate),
        }
        if self.number("accruedInterest"):
            request["accrued_interest"] = self.number("accruedInterest")
        if profile != "bullet":
            request["principal_dates"] = self._cycle_dates("PrincipalRedemption", end, calculate)
            amount = self.number("nextPrincipalRedemptionPayment")
            if amount is not None:
                request["instalment" if profile == "straight_line" else "payment"] = amount
            elif self.day("amortizationDate") and end != self.day("amortizationDate"):
                request["payment"] = self._payment_over_amortisation(request, calculate)
            if self.terms["contractType"] == "NAM":
                request["allow_negative_amortisation"] = True
        self._add_events(request, end, calculate)
        return request

    def _maturity(self) -> date:
        """Return the end of the contract, or one so late that it is repaid before."""
        for name in ("maturityDate", "amortizationDate"):
            if day := self.day(name):
                return day
        if self.terms["contractType"] in {"LAM", "NAM"}:
            # The standard's own rule: the payments that the notional takes, the last at the end.
            anchor = self.day("cycleAnchorDateOfPrincipalRedemption")
            assert anchor
            notional = float(self.terms["notionalPrincipal"])
            amount = float(self.terms["nextPrincipalRedemptionPayment"])
            rate = float(self.terms["nominalInterestRate"])
            interval = _parse_cycle(self.terms["cycleOfPrincipalRedemption"])[1]
            is_negative = self.terms["contractType"] == "NAM"
            interest = notional * rate * interval / 12 if is_negative else 0.0
            months = interval * (math.ceil(notional / (amount - interest)) - 1)
            keeps_month_end = self.terms.get("endOfMonthConvention") == "EOM"
            return _add_months(anchor, months, keeps_month_end=keeps_month_end)
        return self.start.replace(year=self.start.year + _ENDLESS_YEARS)

    def _interest_dates(self, end: date, calculate: Calculate) -> Json:
        """Return the payment dates; an end at the last second of a day moves to the next."""
        if not self._ends_at_midnight:
            return {"payment_dates": self._date_terms("InterestPayment", self.start, end)}
        terms = self._date_terms("InterestPayment", self.start, end - timedelta(1))
        dates = calculate({"payment_dates": terms})["dates"]
        return {"dates": [*dates[:-1], end.isoformat()]}

    @property
    def _ends_at_midnight(self) -> bool:
        texts = (self.terms.get("maturityDate"), self.terms.get("amortizationDate"))
        return any(text is not None and text[11:] == "23:59:59" for text in texts)

    def _date_terms(self, subject: str, start: date, end: date) -> Json:
        name, count, stub = _parse_cycle(self.terms[f"cycleOf{subject}"])
        terms: Json = {"start": start.isoformat(), "end": end.isoformat(), name: count}
        anchor = self.day(f"cycleAnchorDateOf{subject}") or start
        if anchor > start:
            terms |= {"first_regular_date": anchor.isoformat(), "back_stub": stub}
        else:
            terms["stub"] = f"{stub}_back"
        if self.terms.get("endOfMonthConvention") == "EOM" and name == "interval_months":
            terms["end_of_month"] = True
        convention = self.terms.get("businessDayConvention", "NULL")
        if convention not in {"NULL", "NOS"} and self.terms.get("calendar") == "MF":
            terms["rule"] = _RULES[convention[2:]]
            terms["calendar"] = {"base": "weekends"}
            terms["accrual"] = "adjusted" if convention.startswith("SC") else "unadjusted"
        return terms

    def _cycle_dates(self, subject: str, end: date, calculate: Calculate) -> list[str]:
        """Return the dates of a cycle before the end, as the calculator rolls them."""
        anchor = self.day(f"cycleAnchorDateOf{subject}")
        assert anchor
        is_late = self._ends_at_midnight
        terms = self._date_terms(subject, anchor, end - timedelta(1) if is_late else end)
        dates: list[str] = calculate({"payment_dates": terms})["dates"]
        return dates[:-1]

    def _payment_over_amortisation(self, request: Json, calculate: Calculate) -> float:
        """Return the level payment over a term that is longer than the contract's."""
        end = self.day("amortizationDate")
        assert end
        longer = {
            **request,
            "payment_dates": self._date_terms("InterestPayment", self.start, end),
            "principal_dates": self._cycle_dates("PrincipalRedemption", end, calculate),
        }
        payment: float = calculate(longer)["level_payment"]
        return payment

    def _add_events(self, request: Json, end: date, calculate: Calculate) -> None:
        if self.terms.get("marketObjectCodeOfRateReset"):
            request["rate_resets"] = self._resets(end, calculate)
            if self.terms["contractType"] == "ANN" and "payment" in request:
                request["reset_effect"] = "relevel"
        if day := self.day("capitalizationEndDate"):
            request["capitalise_until"] = day.isoformat()
        base = self.terms.get("interestCalculationBase", "NT")
        if base != "NT":
            request["interest_base"] = "fixed"
            request["interest_base_amount"] = self.number("interestCalculationBaseAmount")
        if base == "NTL":
            subject = "InterestCalculationBase"
            request["interest_base_dates"] = self._cycle_dates(subject, end, calculate)
        for name, subject in (("take_over", "Purchase"), ("termination", "Termination")):
            if day := self.day(f"{subject[0].lower()}{subject[1:]}Date"):
                price = self.number(f"priceAt{subject}Date")
                request[name] = {"date": day.isoformat(), "price": price}
        if day := self.day("terminationDate"):
            resets = [each for each in request.pop("rate_resets", []) if each["date"] < str(day)]
            request |= {"rate_resets": resets} if resets else {}
            if not resets:
                request.pop("reset_effect", None)

    def _resets(self, end: date, calculate: Calculate) -> list[Json]:
        code = self.terms["marketObjectCodeOfRateReset"]
        values = {
            parse_instant(entry["timestamp"]): float(entry["value"])
            for entry in self._observed[code]["data"]
        }
        spread, multiplier = self.number("rateSpread", 0.0), self.number("rateMultiplier", 1.0)
        assert spread is not None
        assert multiplier is not None
        fixed = self.number("nextResetRate")
        resets = []
        for text in self._cycle_dates("RateReset", end, calculate):
            day = date.fromisoformat(text)
            if day <= self.start or (fixed is None and day not in values):
                continue  # no rate is observed after the contract has ended
            rate = fixed if fixed is not None else values[day] * multiplier + spread
            fixed = None
            resets.append({"date": text, "annual_rate": rate})
        return resets

    def published(self) -> dict[tuple[date, str], float]:
        """Return the published cash flows to the lender by date and kind, without zeros."""
        flows: dict[tuple[date, str], float] = defaultdict(float)
        for result in self.results:
            kind = _KINDS.get(result["eventType"])
            payoff = self.sign * float(result["payoff"])
            if kind == "draw":
                payoff += self.number("premiumDiscountAtIED", 0.0) or 0.0
            if kind is not None and payoff:
                flows[parse_instant(result["eventDate"]), kind] += payoff
        return dict(flows)

    def published_balances(self) -> dict[date, float]:
        """Return the last published notional of each date."""
        return {
            parse_instant(result["eventDate"]): self.sign * float(result["notionalPrincipal"])
            for result in self.results
        }

    def calculated(self, answer: Json) -> dict[tuple[date, str], float]:
        """Return the cash flows of an answer by date and kind, up to the last published one."""
        last = max(parse_instant(result["eventDate"]) for result in self.results)
        flows: dict[tuple[date, str], float] = defaultdict(float)
        for day, kind, amount in _cash_flows(answer):
            if amount and day <= last and not (kind == "draw" and self.is_running):
                flows[day, kind] += amount
        return dict(flows)


def _cash_flows(answer: Json) -> Iterator[tuple[date, str, float]]:
    """Yield the events of an answer; a loan without any has its draw and its rows."""
    for event in answer["events"] or ():
        yield date.fromisoformat(event["date"]), event["kind"], event["cash_flow"]
    if answer["events"] is None:
        rows = answer["rows"]
        yield date.fromisoformat(rows[0]["start"]), "draw", -rows[0]["opening_balance"]
        for row in rows:
            yield date.fromisoformat(row["end"]), "interest", row["interest"]
            yield date.fromisoformat(row["end"]), "principal", row["principal"]


def _parse_cycle(text: str) -> tuple[str, int, str]:
    match = re.fullmatch(r"P(\d+)([DWMY])L([01])", text)
    assert match, text
    name, factor = _INTERVALS[match[2]]
    return name, int(match[1]) * factor, "short" if match[3] == "1" else "long"


def _add_months(day: date, months: int, *, keeps_month_end: bool) -> date:
    index = day.year * 12 + day.month - 1 + months
    first = date(index // 12, index % 12 + 1, 1)
    last = (first + timedelta(31)).replace(day=1) - timedelta(1)
    is_month_end = (day + timedelta(1)).month != day.month
    if keeps_month_end and is_month_end:
        return last
    return first.replace(day=min(day.day, last.day))


def parse_instant(text: str) -> date:
    """Return the date of an instant; the last second of a day belongs to the next."""
    day = date.fromisoformat(text[:10])
    return day + timedelta(1) if text[11:] == "23:59:59" else day


def read_contracts(folder: Path) -> list[Contract]:
    """Read the contracts of the four loan types."""
    contracts: list[Contract] = []
    for kind in ("pam", "lam", "nam", "ann"):
        content = json.loads((folder / f"actus-tests-{kind}.json").read_text(encoding="utf-8"))
        contracts += [Contract(name, contract) for name, contract in content.items()]
    return contracts
