"""A whole deal in fractions, written from its rules: sizes, draws, waterfall, sponsors.

The funded cost is iterated from the costs upwards until it does not move; construction is the
ledger of `exact_construction`. Loans are run forwards, payment by payment.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

from tests.domain.finance.exact_construction import Guesses, Ledger, shorten, simulate

ZERO, ONE = Fraction(0), Fraction(1)


@dataclass
class Loan:
    """A loan run forwards: interest and principal by period, the balloon apart."""

    interest: list[Fraction] = field(default_factory=list)
    principal: list[Fraction] = field(default_factory=list)
    balloon: Fraction = ZERO

    def payment(self, t: int) -> Fraction:
        return self.interest[t] + self.principal[t] if t < len(self.principal) else ZERO


def run_loan(amount: Fraction, facility: dict[str, Any]) -> Loan:
    """Run a loan by its profile; rates are per period of operation."""
    tenor, grace = facility["tenor"], facility["grace"]
    rates = facility["operating_rates"]
    loan = Loan(balloon=amount * facility["balloon_share"])
    if facility["profile"] == "bullet":
        loan.balloon = amount
    payment = level_payment(amount, loan.balloon, rates[grace:tenor])
    balance = amount
    for t in range(tenor):
        interest = shorten(balance * rates[t])
        if t < grace or facility["profile"] == "bullet":
            principal = ZERO
        elif facility["profile"] == "annuity":
            principal = shorten(payment - interest)
        else:
            principal = (amount - loan.balloon) / (tenor - grace)
        loan.interest.append(interest)
        loan.principal.append(principal)
        balance -= principal
    return loan


def level_payment(amount: Fraction, balloon: Fraction, rates: list[Fraction]) -> Fraction:
    factor, value = ONE, ZERO
    for rate in rates:
        factor /= 1 + rate
        value += factor
    return (amount - balloon * factor) / value


def discount(services: list[Fraction], rates: list[Fraction]) -> Fraction:
    factor, value = ONE, ZERO
    for service, rate in zip(services, rates, strict=True):
        factor /= 1 + rate
        value += service * factor
    return value


def sculpt(services: list[Fraction], rates: list[Fraction], debt: Fraction) -> Loan:
    """Run sculpted debt forwards at the service that repays exactly `debt`."""
    scale = debt / discount(services, rates)
    loan, balance = Loan(), debt
    for service, rate in zip(services, rates, strict=True):
        interest = balance * rate
        loan.interest.append(shorten(interest))
        loan.principal.append(shorten(service * scale - interest))
        balance = shorten(balance + interest - service * scale)
    return loan


@dataclass
class ExactDeal:
    """The figures of a deal."""

    total: Fraction
    sizes: dict[str, Fraction]
    ledger: Ledger
    loans: dict[str, Loan]
    reserve: Fraction
    distributions: list[Fraction]
    dscr: list[Fraction | None]
    loan_close: Fraction
    mezz_close: Fraction
    mezz_interest: list[Fraction]


def solve_deal(case: dict[str, Any]) -> ExactDeal:
    """Solve a deal; with a tax by repeating the deal until its interest does not move."""
    if case["tax"] is None:
        return solve_untaxed(case)
    deal, taxed = solve_untaxed(case), case
    for _ in range(100):
        interest = interest_of(taxed, deal)
        taxes = tax_on(case, interest)
        taxed = {**case, "taxes": taxes}
        deal = solve_untaxed(taxed)
        after = interest_of(taxed, deal)
        if max(abs(a - b) for a, b in zip(interest, after, strict=True)) < Fraction(1, 10**13):
            return deal
    raise AssertionError("tax and debt do not converge")


def interest_of(case: dict[str, Any], deal: ExactDeal) -> list[Fraction]:
    """Return the interest that senior debt, mezzanine and VAT facility are paid."""
    loans = list(deal.loans.values())
    vat = vat_balances(case)[2]
    return [
        shorten(paid + junior + sum((x.interest[t] for x in loans if t < len(x.interest)), ZERO))
        for t, (paid, junior) in enumerate(zip(vat, deal.mezz_interest, strict=True))
    ]


def tax_on(case: dict[str, Any], interest: list[Fraction]) -> list[Fraction]:
    """Return the tax by period; losses are carried forward without limit."""
    tax, losses, taxes = case["tax"], ZERO, list[Fraction]()
    for t, cash in enumerate(case["cfads"]):
        depreciation = tax["cost"] / tax["periods"] if t < tax["periods"] else ZERO
        income = cash - depreciation - interest[t]
        use = min(losses, max(income, ZERO))
        losses += max(-income, ZERO) - use
        taxes.append(tax["rate"] * max(income - use, ZERO))
    return taxes


def solve_untaxed(case: dict[str, Any]) -> ExactDeal:
    guesses = Guesses(sum(case["costs"], ZERO))
    for total in guesses:
        sizes, loans, reserve = size(case, total)
        ledger = simulate(construction_of(case, sizes, reserve), total)
        uses = ledger.total("project", "uses")
        if abs(uses - total) < Fraction(1, 10**20):
            return operate(case, total, sizes, ledger, loans, reserve)
        guesses.improve(uses)
    raise AssertionError("the iteration does not converge")


def size(
    case: dict[str, Any], total: Fraction
) -> tuple[dict[str, Fraction], dict[str, Loan], Fraction]:
    """Return the size of each facility, the senior loans and the reserve at a funded cost."""
    sizes: dict[str, Fraction] = {}
    loans: dict[str, Loan] = {}
    for each in case["facilities"]:
        if each.get("target") is None and each["kind"] != "vat":
            is_amount = each["amount"] is not None
            sizes[each["name"]] = each["amount"] if is_amount else shorten(each["share"] * total)
        if each["kind"] == "senior" and each.get("target") is None:
            loans[each["name"]] = run_loan(sizes[each["name"]], each)
    sculpted = next(each for each in case["facilities"] if each.get("target") is not None)
    tenor, rates = sculpted["tenor"], sculpted["operating_rates"][: sculpted["tenor"]]
    cash = net_cfads(case)[:tenor]
    ahead = [
        sum((loans[name].payment(t) for name in list_ahead(case, sculpted)), ZERO)
        for t in range(tenor)
    ]
    services = [
        max(money - paid, ZERO) / sculpted["target"]
        for money, paid in zip(cash, ahead, strict=True)
    ]
    debt = shorten(discount(services, rates))
    others = sum(
        (sizes[e["name"]] for e in case["facilities"] if is_debt(e) and e is not sculpted), ZERO
    )
    given = sum((sizes[e["name"]] for e in case["facilities"] if e["kind"] in GIFTS), ZERO)
    limit = min(shorten(case["max_gearing"] * total), total - given)
    debt = min(debt, max(limit - others, ZERO))
    sizes[sculpted["name"]] = debt
    loans[sculpted["name"]] = sculpt(services, rates, debt)
    return sizes, loans, reserve_after(case, loans, 0)


GIFTS = {"loan", "grant"}


def is_debt(facility: dict[str, Any]) -> bool:
    return facility["kind"] in {"senior", "mezzanine"}


def list_ahead(case: dict[str, Any], sculpted: dict[str, Any]) -> list[str]:
    """Return the senior loans whose service comes before the sculpted one or beside it."""
    return [
        each["name"]
        for each in case["facilities"]
        if each["kind"] == "senior" and each is not sculpted and each["rank"] <= sculpted["rank"]
    ]


def reserve_after(case: dict[str, Any], loans: dict[str, Loan], payment: int) -> Fraction:
    """Return the service of the next months, six months a period, a part of a period pro rata."""
    months, total, t = case["dsra_months"], ZERO, payment
    while months > 0 and t < len(case["cfads"]):
        share = min(Fraction(months, 6), ONE)
        total += share * sum((loan.payment(t) for loan in loans.values()), ZERO)
        months, t = months - 6, t + 1
    return total


def vat_balances(case: dict[str, Any]) -> tuple[Fraction, list[Fraction], list[Fraction]]:
    """Return the VAT outstanding after construction, its refunds and its interest."""
    periods = len(case["cfads"])
    vat = next((each for each in case["facilities"] if each["kind"] == "vat"), None)
    refunds, interest = [ZERO] * periods, [ZERO] * periods
    if vat is None:
        return ZERO, refunds, interest
    costs, delay = case["costs"], vat["delay"]
    for paid, cost in enumerate(costs):
        back = paid + delay - len(costs)
        if back >= 0:
            refunds[back] += vat["vat"] * cost
    balance = opening = sum(refunds, ZERO)
    for t in range(periods):
        interest[t] = balance * vat["operating_rates"][t]
        balance -= refunds[t]
    return opening, refunds, interest


def net_cfads(case: dict[str, Any]) -> list[Fraction]:
    interest = vat_balances(case)[2]
    taxes = case.get("taxes") or [ZERO] * len(interest)
    return [
        cash - paid - tax for cash, paid, tax in zip(case["cfads"], interest, taxes, strict=True)
    ]


_KINDS = {"senior": "debt", "mezzanine": "debt", "loan": "loan", "grant": "grant"}


def construction_of(
    case: dict[str, Any], sizes: dict[str, Fraction], reserve: Fraction
) -> dict[str, Any]:
    """Return the case of construction at given sizes."""
    facilities = [
        {
            **each,
            "kind": _KINDS.get(each["kind"], each["kind"]),
            "amount": each["amount"] if each["kind"] == "bridge" else sizes.get(each["name"]),
        }
        for each in case["facilities"]
    ]
    return {
        "costs": case["costs"],
        "facilities": facilities,
        "equity_order": case["equity_order"],
        "reserve": reserve,
        "reserve_share": ZERO,
    }


def operate(
    case: dict[str, Any],
    total: Fraction,
    sizes: dict[str, Fraction],
    ledger: Ledger,
    loans: dict[str, Loan],
    reserve: Fraction,
) -> ExactDeal:
    """Pay the cash of each period: costs, senior, DSRA, mezzanine, distribution or lock-up."""
    mezz = next((each for each in case["facilities"] if each["kind"] == "mezzanine"), None)
    mezz_balance = ledger.owed(mezz["name"]) if mezz else ZERO
    schedule = run_loan(mezz_balance, mezz) if mezz else Loan()
    junior = Junior(mezz_balance)
    dsra, locked_cash, is_locked = reserve, ZERO, False
    distributions: list[Fraction] = []
    ratios: list[Fraction | None] = []
    for t, cash in enumerate(net_cfads(case)):
        service = sum((loan.payment(t) for loan in loans.values()), ZERO)
        ratios.append(cash / service if service else None)
        pot = cash
        short = service - pot
        if short > 0:  # locked-up cash, then the reserve
            part = min(short, locked_cash)
            locked_cash -= part
            rest = min(short - part, dsra)
            dsra -= rest
            pot += part + rest
        assert pot >= service
        pot -= service
        target = reserve_after(case, loans, t + 1)
        if dsra > target:
            pot, dsra = pot + dsra - target, target
        top_up = min(target - dsra, pot + locked_cash)
        dsra += top_up
        pot, locked_cash = take(pot, locked_cash, top_up)
        if mezz:
            due = schedule.principal[t] if t < len(schedule.principal) else ZERO
            due += schedule.balloon if t == len(schedule.principal) - 1 else ZERO
            paid = junior.pay(mezz["operating_rates"][t], due, pot + locked_cash)
            pot, locked_cash = take(pot, locked_cash, paid)
        ratio = ratios[-1]
        if ratio is not None and case["lockup"] is not None:
            is_locked = ratio < case["lockup"]
        if t + 1 >= max(len(loan.principal) for loan in loans.values()):
            is_locked = False
        if is_locked:
            locked_cash += pot
            distributions.append(ZERO)
        else:
            distributions.append(pot + locked_cash)
            locked_cash = ZERO
    return ExactDeal(
        total,
        sizes,
        ledger,
        loans,
        reserve,
        distributions,
        ratios,
        pay_shareholder_loan(case, ledger, distributions),
        junior.balance,
        junior.interest if mezz else [ZERO] * len(distributions),
    )


def take(pot: Fraction, locked_cash: Fraction, amount: Fraction) -> tuple[Fraction, Fraction]:
    part = min(pot, amount)
    return pot - part, locked_cash - (amount - part)


@dataclass
class Junior:
    """The mezzanine: what is owed, what of it is capitalised, and what of it is overdue."""

    balance: Fraction
    capitalised: Fraction = ZERO
    overdue: Fraction = ZERO
    interest: list[Fraction] = field(default_factory=list)

    def pay(self, rate: Fraction, due: Fraction, cash: Fraction) -> Fraction:
        interest = shorten(self.balance * rate)
        paid = min(interest, cash)
        self.capitalised += interest - paid
        self.balance += interest - paid
        catch_up = min(self.capitalised, cash - paid)
        self.interest.append(paid + catch_up)
        self.capitalised -= catch_up
        self.balance -= catch_up
        claim = min(due + self.overdue, self.balance)
        principal = min(claim, cash - paid - catch_up)
        self.balance -= principal
        self.overdue = claim - principal
        self.capitalised = min(self.capitalised, self.balance)
        return paid + catch_up + principal


def pay_shareholder_loan(
    case: dict[str, Any], ledger: Ledger, distributions: list[Fraction]
) -> Fraction:
    loan = next((each for each in case["facilities"] if each["kind"] == "loan"), None)
    if loan is None:
        return ZERO
    balance = ledger.owed(loan["name"])
    for rate, cash in zip(loan["operating_rates"], distributions, strict=False):
        balance = shorten(max(balance * (1 + rate) - cash, ZERO))
    return balance
