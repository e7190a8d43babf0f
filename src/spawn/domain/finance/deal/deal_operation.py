"""Operation of a deal: the waterfall on its debt, VAT refunds, and the shareholder loans."""

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.deal.deal_case import DealInputs
from spawn.domain.finance.deal.deal_funding import DealFunding
from spawn.domain.finance.facilities.debt_stack import Repayment
from spawn.domain.finance.waterfall.cash_waterfall import run_waterfall
from spawn.domain.finance.waterfall.waterfall_case import SeniorTranche, WaterfallCase
from spawn.domain.finance.waterfall.waterfall_result import WaterfallResult


class VatOperation(NamedTuple):
    """The VAT facility after construction, by period: refunds repay it, CFADS pay its interest."""

    refunds: list[float]
    interest: list[float]
    balances: list[float]


class LoanOperation(NamedTuple):
    """A loan in operation as paid; balances run from the start to the end."""

    interest: list[float]
    capitalised: list[float]
    repaid: list[float]
    balances: list[float]


def run_vat(inputs: DealInputs) -> VatOperation:
    """Return refunds, interest and balances of the VAT facility in operation."""
    periods, draws = inputs.operating_periods, inputs.draws
    refunds, interest = [0.0] * periods, [0.0] * periods
    if draws.vat is None:
        return VatOperation(refunds, interest, [0.0] * (periods + 1))
    source = draws.sources[draws.vat]
    last = inputs.construction_periods
    for t in range(min(source.refund_periods, periods)):
        earlier = last + 1 + t - source.refund_periods
        refunds[t] = source.vat_rate * draws.costs[earlier] if earlier >= 0 else 0.0
    balances = list(accumulate(reversed(refunds), initial=0.0))
    balances.reverse()
    rates = inputs.annual_rates[draws.vat][last:]
    for t, tau in enumerate(inputs.operation.accrual_fractions):
        interest[t] = balances[t] * rates[t] * tau
    return VatOperation(refunds, interest, balances)


def run_deal_waterfall(
    inputs: DealInputs, funding: DealFunding, cfads: Sequence[float], mezzanine: Repayment | None
) -> WaterfallResult:
    """Run the waterfall on the senior tranches and the mezzanine of a deal.

    Raises:
        InvalidInput: terms of lock-up or sweep outside their limits.
    """
    case, periods = inputs.case, inputs.operating_periods
    tranches = tuple(
        _build_tranche(inputs, index, funding.sizing.repayments[index])
        for index in range(len(inputs.stack_facilities))
        if index != inputs.mezzanine
    )
    rates: tuple[float, ...] | None = None
    if inputs.mezzanine is not None:
        rates = tuple(inputs.stack.period_rates[inputs.mezzanine])
    has_sweep = case.sweep_share is not None
    waterfall = WaterfallCase(
        cfads=tuple(cfads),
        tranches=tranches,
        dsra_months=case.dsra_months,
        dsra_open=funding.plan.reserve if case.dsra_months else None,
        dsra_income_rate=case.dsra_income_rate,
        mezz_open=mezzanine.balances[0] if mezzanine else None,
        mezz_rate=rates if mezzanine else None,
        mezz_principal=_pad(mezzanine.principal, periods) if mezzanine else None,
        sweep_share=case.sweep_share,
        sweep_if_dscr_below=case.sweep_if_dscr_below,
        sweep_order=case.sweep_order if has_sweep else None,
        lockup_below=case.lockup_below,
        lockup_release_at_or_above=case.lockup_release_at_or_above,
        lockup_periods_back=case.lockup_periods_back,
        lockup_periods_ahead=case.lockup_periods_ahead,
    )
    try:
        return run_waterfall(waterfall, inputs.operation, inputs.construction_periods)
    except InvalidInput as error:
        raise type(error)([_rename_field(entry) for entry in error.errors]) from error


def _rename_field(error: FieldError) -> FieldError:
    """Return an error of the waterfall with a pointer into the case of the deal."""
    for prefix in ("/tranches", "/mezz_"):
        if error.pointer.startswith(prefix):
            return FieldError("/facilities", error.code, error.detail)
    return error


def _build_tranche(inputs: DealInputs, index: int, repayment: Repayment) -> SeniorTranche:
    """Return a tranche with its scheduled principal; a refinancing repays its balloon."""
    facility, periods = inputs.stack_facilities[index], inputs.operating_periods
    principal = list(repayment.principal)
    principal[-1] -= repayment.balloon
    scheduled = [max(amount, 0.0) for amount in principal]  # below zero by rounding alone
    has_balloon = repayment.balloon > 0.0
    return SeniorTranche(
        opening_balance=sum(scheduled),
        principal=_pad(scheduled, periods),
        annual_rates=tuple(inputs.stack.annual_rates[index]),
        rank=facility.rank,
        name=facility.name,
        balloon=repayment.balloon,
        balloon_period=len(repayment.payments) if has_balloon else None,
    )


def _pad(values: Sequence[float], periods: int) -> tuple[float, ...]:
    return (*values, *(0.0,) * (periods - len(values)))


def run_shareholder_loans(
    inputs: DealInputs, funding: DealFunding, distributions: Sequence[float]
) -> dict[int, LoanOperation]:
    """Pay the shareholder loans by the distributions, in the order of the case.

    Interest comes first; what is not paid joins the balance.
    """
    cash = list(distributions)
    loans: dict[int, LoanOperation] = {}
    for place, facility in enumerate(inputs.case.facilities):
        if facility.kind != "shareholder_loan":
            continue
        rates = inputs.annual_rates[place][inputs.construction_periods :]
        loan = LoanOperation([], [], [], [funding.periods[-1].closing[place]])
        for t, tau in enumerate(inputs.operation.accrual_fractions):
            balance = loan.balances[t]
            interest = balance * rates[t] * tau
            paid_interest = min(interest, cash[t])
            repaid = min(balance + interest - paid_interest, cash[t] - paid_interest)
            cash[t] -= paid_interest + repaid
            loan.interest.append(interest)
            loan.capitalised.append(interest - paid_interest)
            loan.repaid.append(repaid)
            loan.balances.append(balance + interest - paid_interest - repaid)
        loans[place] = loan
    return loans
