"""Projects, facilities and portfolios on record, for the tests of this folder."""

import json
from datetime import date
from decimal import Decimal
from typing import Any

from spawn.application.dependencies import Dependencies
from spawn.application.facilities.facility_commands import FinanceContext, create_facility
from spawn.application.portfolios.holding_commands import HoldingInput, add_holding
from spawn.application.portfolios.portfolio_commands import create_portfolio
from spawn.application.projects.commands import create_project
from spawn.domain.facilities.facility import (
    FacilityKind,
    FacilityRepayment,
    FacilityTermSheet,
    LenderShare,
    RateBasis,
)
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms
from spawn.domain.json_tokens import parse_object
from spawn.domain.principal import LOCAL_PRINCIPAL

DEBT: dict[str, Any] = {
    "rate": RateBasis(fixed_rate=Decimal("0.045")),
    "payment_dates": PaymentDateTerms(
        start=date(2026, 3, 31), end=date(2036, 3, 31), interval_months=6
    ),
    "repayment": FacilityRepayment(profile="straight_line"),
}


async def a_project(dependencies: Dependencies, **attributes: Any) -> str:
    """Create a project and return its id."""
    fields = {
        "project_name": "Sierra Wind",
        "total_amount": "125000000.00",
        "currency_code": "EUR",
        "country_code": "ESP",
        "sector": "wind",
        **attributes,
    }
    validator = await dependencies.validator()
    today = dependencies.clock.now().date()
    project_input = validator.read(
        parse_object(json.dumps(fields).encode()), partial=False, on_date=today
    )
    result = await create_project(dependencies, LOCAL_PRINCIPAL, attributes=project_input)
    assert result.aggregate is not None
    return result.aggregate.id


async def a_facility(dependencies: Dependencies, project_id: str, **terms: Any) -> str:
    """Create a facility of a project and return its id."""
    kind = terms.get("kind", FacilityKind.SENIOR)
    fields = {
        "name": "Term loan",
        "kind": kind,
        "currency_code": "EUR",
        "commitment": Decimal("90000000.00"),
        "availability_start": date(2026, 3, 31),
        "availability_end": date(2027, 12, 31),
        "lenders": (LenderShare(lender="First Bank", share=Decimal(100)),),
        **(DEBT if kind.is_debt else {}),
        **terms,
    }
    result = await create_facility(
        dependencies, LOCAL_PRINCIPAL, project_id, FacilityTermSheet(**fields), FinanceContext()
    )
    assert result.aggregate is not None
    return result.aggregate.id


async def a_portfolio(dependencies: Dependencies, **terms: Any) -> str:
    """Create a portfolio and return its id."""
    fields = {"name": "Debt", "currency_code": "EUR", **terms}
    result = await create_portfolio(dependencies, LOCAL_PRINCIPAL, fields, FinanceContext())
    assert result.aggregate is not None
    return result.aggregate.id


async def a_holding(dependencies: Dependencies, portfolio_id: str, **terms: Any) -> str:
    """Add a holding to a portfolio and return its id."""
    holding_input = HoldingInput(**{"since": date(2026, 3, 31), **terms})
    result = await add_holding(
        dependencies, LOCAL_PRINCIPAL, portfolio_id, holding_input, FinanceContext()
    )
    assert result.aggregate is not None
    return result.aggregate.id
