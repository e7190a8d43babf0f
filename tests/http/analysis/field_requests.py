"""Requests in which every field has an effect, beside those of `calculator_requests`."""

from tests.http.analysis.calculator_requests import BOUGHT_LOAN, LOAN, REQUESTS, Json

from spawn.entrypoints.http.analysis.wire import EXAMPLES, SIMULATION_EXAMPLE

TAXED_LOAN: Json = {
    "cfads": [13, 13, 13, 13],
    "annual_rates": 0.06,
    "target_dscr": 1.3,
    "dates": BOUGHT_LOAN["dates"],
}
SIMULATION: Json = {**SIMULATION_EXAMPLE, "scenarios": 60}
BUSINESS_DAYS: Json = {"day_count": "BUS/252", "calendar": {"base": "weekends"}}


def term_loan(**payment_dates: object) -> Json:
    """Return a loan on payment dates."""
    return {
        "principal": 100,
        "annual_rates": 0.06,
        "profile": "straight_line",
        "day_count": "ACT/365F",
        "payment_dates": {"start": "2026-01-20", "end": "2028-02-10", **payment_dates},
    }


def shock_every_driver(**shock: object) -> Json:
    """Return a simulation that shocks every driver alike."""
    one = {**shock, "loadings": {"global": 0.3, "sector": 0.3, "country": 0.3}}
    return {**SIMULATION, "shocks": dict.fromkeys(("cfads", "capex", "delay", "rates"), one)}


BASES: list[tuple[str, Json]] = [
    *REQUESTS,
    (
        "cash-flow",
        {
            "period_count": 4,
            "revenues": [{"name": "power", "volume": 3, "price": 5, "contract_periods": 3}],
            "availability_payments": [{"name": "service", "amount_pa": 3}],
            "operating_costs": [{"name": "staff", "amount": 2}],
        },
    ),
    (
        "cash-flow",
        {
            "accruals": [0.5, 0.5, 0.5],
            "indices": [
                {"name": "CPI", "level_per_period": [101, 104, 107], "base_level": 100},
            ],
            "revenues": [
                {"name": "heat", "volume_pa": 5, "price": 8},
                {"name": "power", "volume_pa": 9, "price": 4, "index": "CPI"},
            ],
            "operating_costs": [{"name": "balancing", "unit_cost": 0.3, "volume_of": "power"}],
        },
    ),
    ("day-count", EXAMPLES["day-count"]),
    (
        "day-count",
        {
            "day_count": "ACT/ACT ICMA",
            "frequency": 2,
            "periods": [
                {
                    "start": "2027-11-15",
                    "end": "2028-05-01",
                    "reference_start": "2027-11-01",
                    "reference_end": "2028-05-01",
                }
            ],
        },
    ),
    (
        "day-count",
        {
            "day_count": "ACT/365L",
            "frequency": 2,
            "periods": [{"start": "2027-11-15", "end": "2028-02-15"}],
        },
    ),
    (
        "day-count",
        {
            "day_count": "30E/360 ISDA",
            "periods": [{"start": "2027-08-31", "end": "2028-02-29", "maturity": "2030-01-01"}],
        },
    ),
    ("day-count", {**BUSINESS_DAYS, "periods": [{"start": "2027-11-01", "end": "2028-04-28"}]}),
    ("schedule", {"payment_dates": EXAMPLES["schedule"]["payment_dates"]}),
    ("schedule", term_loan(frequency="quarterly", roll_day=31)),
    ("schedule", term_loan(interval_months=3, roll_day=15, back_stub="short")),
    ("schedule", term_loan(interval_days=91)),
    (
        "schedule",
        term_loan(
            frequency="quarterly",
            first_regular_date="2026-05-15",
            last_regular_date="2027-11-15",
            rule="following",
            calendar={"base": "weekends"},
        ),
    ),
    ("schedule", {**LOAN, **BUSINESS_DAYS, "accruals": None, "dates": BOUGHT_LOAN["dates"][:4]}),
    ("schedule", {**LOAN, "profile": "annuity", "grace_periods": 1, "grace": "interest_only"}),
    (
        "schedule",
        {
            **BOUGHT_LOAN,
            "interest_base": "fixed",
            "interest_base_amount": 80,
            "interest_base_dates": ["2026-07-15"],
        },
    ),
    (
        "debt-sizing",
        {
            "cfads": [2.5, 20, 20, 20],
            "facilities": [
                {
                    "name": "calm first year",
                    "target_dscr": 1.3,
                    "principal_floor": 1,
                    "rate": {"base_rate": 0.04},
                }
            ],
        },
    ),
    (
        "debt-sizing",
        {
            "cfads": [13, 13, 13, 13],
            "annual_rates": 0.06,
            "target_dscr": 1.3,
            "dates": BOUGHT_LOAN["dates"],
            **BUSINESS_DAYS,
        },
    ),
    (
        "debt-sizing",
        {
            **TAXED_LOAN,
            "tax": {
                "rate": 0.3,
                "interest_limit_share": 0.01,
                "carries_interest_forward": True,
                "assets": [{"name": "plant", "cost": 60, "life_years": 5, "first_period": 1}],
            },
        },
    ),
    (
        "debt-sizing",
        {
            **TAXED_LOAN,
            "tax": {
                "rate": 0.3,
                "interest_limit_share": 0.01,
                "interest_allowance": 0.4,
                "assets": [
                    {
                        "name": "plant",
                        "cost": 60,
                        "method": "table",
                        "shares_by_year": [0.3, 0.4, 0.3],
                        "start_date": "2025-04-15",
                    }
                ],
            },
        },
    ),
    (
        "debt-sizing",
        {
            **TAXED_LOAN,
            "dates": ["2026-01-15", "2027-01-15", "2028-01-15", "2029-01-15", "2030-01-15"],
            "tax": {
                "rate": 0.3,
                "assets": [
                    {
                        "name": "plant",
                        "cost": 20,
                        "method": "declining_balance",
                        "life_years": 4,
                        "declining_rate": 0.4,
                    }
                ],
            },
        },
    ),
    (
        "waterfall",
        {
            "cfads": [14.0, 5.0, 22.0, 9.0],
            "tranches": [{"opening_balance": 12, "principal": [4, 4, 4, 0], "annual_rates": 0.05}],
            "dates": BOUGHT_LOAN["dates"],
            "day_count": "ACT/365F",
            "reserves": [{"target": 2, "opening_balance": 1}],
            "sweep_share": 0.1,
            "sweep_if_dscr_below": 3.9,
            "lockup_below": 1.2,
            "lockup_ratios": [1.1, 1.25, 1.4, 1.0],
        },
    ),
    (
        "covenants",
        {
            "lockup_below": 1.15,
            "default_below": 1.12,
            "ratios": [1.05, 1.1, 1.14, 1.13, 1.1],
            "waivers": [{"first": 2, "last": 2}],
        },
    ),
    ("returns", {"cash_flows": [-9, 4, -3, 9], "finance_rate": 0.1, "reinvest_rate": 0.12}),
    ("simulation", SIMULATION),
    ("simulation", shock_every_driver(distribution="uniform", low=0.01, high=0.4)),
    ("simulation", shock_every_driver(distribution="normal", mean=0.01, standard_deviation=0.1)),
    ("simulation", shock_every_driver(distribution="lognormal", median=0.9, sigma=0.1)),
    ("simulation", shock_every_driver(distribution="triangular", low=0, mode=0.2, high=0.4)),
]
