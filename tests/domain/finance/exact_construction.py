"""Construction with several facilities in fractions, written from its rules, not from the engine.

It posts every movement to a ledger, reads balances as sums of postings, and iterates the funded
cost until it does not move. Amounts are rounded to 32 decimals, so that fractions stay short, and
the ledger counts in units of the last one: sums of whole numbers are quick.
"""

from collections import defaultdict
from collections.abc import Iterator
from fractions import Fraction
from typing import Any

ZERO = Fraction(0)
GRID = 10**32


def shorten(value: Fraction) -> Fraction:
    return Fraction(round(value * GRID), GRID)


class Ledger:
    """Postings by account and period."""

    def __init__(self) -> None:
        self._units: dict[tuple[str, str], dict[int, int]] = defaultdict(dict)

    def post(self, name: str, kind: str, period: int, amount: Fraction) -> None:
        account = self._units[name, kind]
        account[period] = account.get(period, 0) + round(amount * GRID)

    def posted(self, name: str, kind: str, period: int) -> Fraction:
        return Fraction(self._units[name, kind].get(period, 0), GRID)

    def total(self, name: str, kind: str, before: int | None = None) -> Fraction:
        account = self._units[name, kind]
        units = sum(a for t, a in account.items() if before is None or t < before)
        return Fraction(units, GRID)

    def owed(self, name: str, before: int | None = None) -> Fraction:
        return (
            self.total(name, "draw", before)
            + self.total(name, "capitalised", before)
            - self.total(name, "repaid", before)
        )


def fund(case: dict[str, Any]) -> tuple[Fraction, Ledger]:
    """Return the funded cost and the ledger of a case."""
    guesses = Guesses(sum(case["costs"], ZERO))
    for total in guesses:
        ledger = simulate(case, total)
        uses = ledger.total("project", "uses")
        if abs(uses - total) < Fraction(1, 10**20):
            return uses, ledger
        guesses.improve(uses)
    raise AssertionError("the iteration does not converge")


class Guesses:
    """Guesses of a fixed point by plain iteration, every third one extrapolated from two steps.

    Funded cost is linear in its guess between the corners where a limit begins to bind, so that a
    step beyond the last corner ends there; plain steps come closer at any corner.
    """

    def __init__(self, first: Fraction) -> None:
        self._steps = [first]

    def __iter__(self) -> Iterator[Fraction]:
        for _ in range(400):
            yield self._steps[-1]

    def improve(self, value: Fraction) -> None:
        """Take what the last guess led to."""
        if len(self._steps) < 3:
            self._steps.append(value)
        if len(self._steps) == 3:
            first, second, third = self._steps
            bend = (third - second) - (second - first)
            self._steps = [shorten(third - (third - second) ** 2 / bend) if bend else third]


def size_of(facility: dict[str, Any], total: Fraction, equity: Fraction) -> Fraction:
    if facility.get("amount") is not None:
        return Fraction(facility["amount"])
    return shorten(
        Fraction(facility["share"]) * (equity if facility["kind"] == "bridge" else total)
    )


def simulate(case: dict[str, Any], total: Fraction) -> Ledger:
    """Post construction at a guess of the funded cost."""
    ledger, costs = Ledger(), case["costs"]
    last = len(costs) - 1
    regular = [f for f in case["facilities"] if f["kind"] not in {"bridge", "vat"}]
    sizes = {f["name"]: size_of(f, total, ZERO) for f in regular}
    equity = max(total - sum(sizes.values(), ZERO), ZERO)
    for facility in case["facilities"]:
        if facility["kind"] == "bridge":
            sizes[facility["name"]] = size_of(facility, total, equity)
        if facility["kind"] == "vat":
            delay = facility["delay"]
            sizes[facility["name"]] = facility["vat"] * max(
                sum(costs[max(t - delay + 1, 0) : t + 1], ZERO) for t in range(last + 1)
            )
    debt = sum((sizes[f["name"]] for f in regular if f["kind"] == "debt"), ZERO)
    for t, cost in enumerate(costs):
        uses = cost + (case["reserve"] + case["reserve_share"] * debt if t == last else ZERO)
        for facility in case["facilities"]:
            uses += charge(ledger, facility, sizes[facility["name"]], t)
        ledger.post("project", "uses", t, uses)
        for facility in case["facilities"]:
            if facility["kind"] == "vat":
                ledger.post(facility["name"], "draw", t, facility["vat"] * cost)
                if t >= facility["delay"]:
                    refund = facility["vat"] * costs[t - facility["delay"]]
                    ledger.post(facility["name"], "repaid", t, refund)
        pay(ledger, case, sizes, equity, t, shorten(uses))
    return ledger


def charge(ledger: Ledger, facility: dict[str, Any], size: Fraction, t: int) -> Fraction:
    """Return what a facility costs in cash in a period, and post what it capitalises."""
    name = facility["name"]
    if t == 0:
        return Fraction(facility["upfront"] * size)
    interest = facility["rate"][t - 1] * ledger.owed(name, t)
    undrawn = size - ledger.total(name, "draw", t)
    if facility["kind"] == "vat":
        undrawn = size - ledger.owed(name, t)
    fee = facility["fee"] * undrawn if t <= facility["until"] else ZERO
    ledger.post(name, "interest", t, interest)
    if facility["pik"]:
        ledger.post(name, "capitalised", t, interest)
        return Fraction(fee)
    return Fraction(fee + interest)


def pay(
    ledger: Ledger,
    case: dict[str, Any],
    sizes: dict[str, Fraction],
    equity: Fraction,
    t: int,
    need: Fraction,
) -> None:
    """Draw what is needed by order, within one order in proportion to what is undrawn."""
    bridge = next((f for f in case["facilities"] if f["kind"] == "bridge"), None)
    regular = [f for f in case["facilities"] if f["kind"] not in {"bridge", "vat"}]
    own = ledger.total("equity", "part")
    part = ZERO
    for order in sorted({f["order"] for f in regular} | {case["equity_order"]}):
        room = {
            f["name"]: max(sizes[f["name"]] - ledger.total(f["name"], "draw"), ZERO)
            for f in regular
            if f["order"] == order and f["from"] <= t <= f["until"]
        }
        if order == case["equity_order"]:
            room["equity"] = max(equity - own, ZERO)
        space = sum(room.values(), ZERO)
        amount = min(need, space)
        for name, own_room in room.items():
            if space and name == "equity":
                part += amount * own_room / space
            elif space:
                ledger.post(name, "draw", t, amount * own_room / space)
        need -= amount
    part += need
    ledger.post("equity", "part", t, part)
    if bridge is not None and t == len(case["costs"]) - 1:
        back = ledger.owed(bridge["name"], t)
        ledger.post(bridge["name"], "repaid", t, back)
        part += back
    elif bridge is not None and bridge["from"] <= t <= bridge["until"]:
        undrawn = sizes[bridge["name"]] - ledger.total(bridge["name"], "draw")
        draw = min(shorten(part), undrawn)
        ledger.post(bridge["name"], "draw", t, draw)
        part -= draw
    ledger.post("equity", "cash", t, part)
