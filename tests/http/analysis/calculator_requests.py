"""Requests of every calculator, together with every field that one accepts."""

from typing import Any

from spawn.entrypoints.http.analysis.wire import EXAMPLES

Json = dict[str, Any]

LOAN: Json = {"principal": 90.0, "annual_rates": [0.05, 0.06, 0.07], "accruals": [0.5, 0.5, 0.25]}
SCULPTED: Json = {
    "cfads": [100, 120, 90, 110],
    "annual_rates": [0.05, 0.06, 0.04, 0.05],
    "target_dscr": [1.2, 1.3, 1.4, 1.5],
    "accruals": [0.5, 0.5, 0.5, 0.25],
    "months_per_period": 6,
    "balloon": 20,
    "grace_periods": 1,
    "uses": {"capex": 300, "closing_cost": 1, "upfront_fee_share": 0.02, "dsra_months": 6},
    "max_gearing": 0.6,
    "allow_negative_amortisation": True,
    "reserve_interest_rate": 0.01,
    "project_cash_flow": [100, 120, 90, 110, 50],
    "tax_cash_flow": [0, -1, -1, -1, -1, -1],
}
FACILITIES: Json = {
    "construction_cost": [50, 60, 70],
    "cost_at_close": 8,
    "months_per_period": 6,
    "dsra_share_of_debt": 0.05,
    "equity_draw_order": 2,
    "facilities": [
        {
            "name": "grant",
            "kind": "grant",
            "commitment": 12,
            "draw_order": 1,
            "available_until": 1,
        },
        {
            "name": "shareholder loan",
            "kind": "shareholder_loan",
            "share": 0.08,
            "rate": {"base_rate": 0.09},
            "draw_order": 2,
        },
        {
            "name": "VAT",
            "kind": "vat",
            "vat_rate": 0.2,
            "refund_periods": 1,
            "rate": {"base_rate": 0.03},
        },
        {
            "name": "bridge",
            "kind": "equity_bridge",
            "share": 0.5,
            "rate": {"base_rate": 0.04, "margin": 0.01},
        },
        {
            "name": "senior",
            "commitment": 90,
            "rate": {
                "base_rate": [0.02, 0.03, 0.035],
                "margin": 0.02,
                "margin_steps": [{"from_period": 2, "margin": 0.025}],
                "floor": 0.025,
                "hedged_share": 0.75,
                "swap_rate": 0.03,
            },
            "commitment_fee": 0.008,
            "upfront_fee": 0.02,
            "draw_order": 2,
            "available_from": 0,
            "available_until": 3,
        },
    ],
}
COVERAGE: Json = {
    "debt": 100,
    "cfads": [70, 70, 30],
    "interest": [5, 2.5],
    "principal": [50, 50],
    "period_rates": [0.05, 0.05],
    "times_years": [0.5, 1],
    "funded_cost": 150,
}
WINDOWS: Json = {
    "debt": 100,
    "cfads": [30, 70, 40, 70],
    "interest": [5, 4, 3, 2],
    "principal": [25, 25, 25, 25],
    "period_rates": 0.03,
    "months_per_period": 6,
    "look_back_months": 12,
}
SIX_MONTHS = ["2026-01-15", "2026-07-15", "2027-01-15", "2027-07-15"]
DATES = ["2026-01-15", "2026-04-15", "2026-07-15", "2026-10-15", "2027-01-15"]
EVENT_LOAN: Json = {
    "principal": 100,
    "annual_rates": 0.06,
    "profile": "straight_line",
    "dates": DATES,
    "day_count": "ACT/365F",
    "accrued_interest": 1,
    "rate_resets": [{"date": "2026-05-20", "annual_rate": 0.07}],
    "draws": [{"date": "2026-03-01", "amount": 20}],
    "prepayments": [{"date": "2026-08-01", "amount": 10, "effect": "relevel"}],
}
BOUGHT_LOAN: Json = {
    "principal": 100,
    "annual_rates": 0.06,
    "profile": "straight_line",
    "instalment": 20,
    "dates": DATES,
    "principal_dates": ["2026-07-15", "2026-10-15"],
    "capitalise_until": "2026-02-20",
    "take_over": {"date": "2026-05-01", "price": 99},
    "termination": {"date": "2026-12-01", "price": 60},
}
STUB_SIZING: Json = {
    "cfads": [3, 13, 13, 13],
    "annual_rates": 0.06,
    "target_dscr": 1.3,
    "dates": ["2026-11-15", "2026-12-31", "2027-06-30", "2027-12-31", "2028-06-30"],
    "day_count": "ACT/ACT ICMA",
    "uses": {"capex": 40, "upfront_fee_share": 0.02, "dsra_months": 6},
    "project_cash_flow": [3, 13, 13, 13, 13],
}
TAX: Json = {
    "rate": 0.25,
    "assets": [
        {"name": "building", "cost": 90, "life_years": 10, "residual_value": 9},
        {
            "name": "plant",
            "cost": 100,
            "method": "declining_balance",
            "life_years": 4,
            "residual_value": 5,
            "declining_rate": 0.5,
            "first_period": 1,
        },
    ],
    "other_deductions": 1,
    "opening_losses": 20,
    "loss_use_share": 0.75,
    "loss_expiry_years": 2,
    "interest_limit_share": 0.2,
    "interest_allowance": 1,
    "assessment": "year",
    "lag_periods": 1,
}
CONCESSION: Json = {
    "period_count": 3,
    "months_per_period": 6,
    "indices": [
        {"name": "wages", "level_per_period": [101, 104, 107], "base_level": 100},
        {"name": "CPI", "annual_rate": 0.03, "base_years": 1, "step": "year"},
    ],
    "revenues": [
        {"name": "heat", "volume": 5, "price": 8, "degradation_pa": 0.01},
        {
            "name": "power",
            "volume": 10,
            "price": 9,
            "index": "CPI",
            "indexed_share": 0.7,
            "contract_periods": 2,
            "merchant_price": 8,
            "merchant_index": "CPI",
            "merchant_indexed_share": 0.9,
        },
    ],
    "availability_payments": [
        {
            "name": "service",
            "amount": 60,
            "index": "wages",
            "indexed_share": 0.8,
            "deduction_share": 0.02,
            "deduction_amount": 0.4,
            "deduction_cap": 0.5,
        }
    ],
    "operating_costs": [
        {"name": "lease", "revenue_share": 0.02},
        {"name": "balancing", "unit_cost": 0.3, "volume_of": "power", "index": "CPI"},
        {"name": "staff", "amount_pa": 12, "index": "wages", "indexed_share": 0.9},
    ],
    "capital_costs": [
        {"name": "repair", "amounts": [0, 5, 0], "index": "CPI", "indexed_share": 0.5}
    ],
    "working_capital": {"receivable_days": 60, "payable_days": 20},
    "concession_periods": 3,
}
INDEX_HISTORY: Json = {
    "dates": ["2025-12-31", "2026-12-31", "2027-12-31", "2028-12-31"],
    "indices": [
        {
            "name": "CPI",
            "levels": [
                {"date": "2024-01-01", "level": 97},
                {"date": "2025-01-01", "level": 100},
                {"date": "2026-01-01", "level": 102},
            ],
            "annual_rate": 0.02,
            "lag_months": 3,
            "base_date": "2025-10-01",
        }
    ],
    "revenues": [{"name": "power", "volume": 10, "price": 9, "index": "CPI"}],
    "operating_costs": [{"name": "balancing", "unit_cost": 0.3, "volume_of": "power"}],
    "concession_end": "2028-06-30",
}
TAXED: Json = {
    "cfads": [60, 70, 50, 65, 70, 75],
    "tenor_periods": 4,
    "annual_rates": 0.06,
    "months_per_period": 6,
    "sizing_scenarios": [
        {"name": "P50", "target_dscr": 1.4},
        {
            "name": "P90",
            "target_dscr": 1.2,
            "cfads": [50, 66, 42, 52, 60, 66],
            "ebitda": [52, 66, 42, 52, 60, 66],
        },
    ],
    "uses": {"capex": 190},
    "tax": TAX,
    "ebitda": [62, 71, 52, 66, 70, 75],
}
LIMITED: Json = {
    "cfads": [30, 30, 28, 27, 26, 25],
    "tenor_periods": 5,
    "annual_rates": 0.06,
    "target_dscr": 1.3,
    "tax": {"rate": 0.2, "assets": [{"name": "plant", "cost": 60, "life_years": 6}]},
}
SENIOR: Json = {"name": "term", "target_dscr": 1.3, "rate": {"base_rate": 0.05}, "rank": 1}
SEVERAL: Json = {
    "cfads": [30, 31, 32, 33],
    "dates": DATES,
    "day_count": "ACT/365F",
    "uses": {"capex": 150, "dsra_months": 6},
    "max_gearing": 0.7,
    "reserve_interest_rate": 0.01,
    "facilities": [
        {**SENIOR, "upfront_fee": 0.02, "principal_floor": 0.1},
        {"name": "line", "share": 0.05, "rate": {"base_rate": 0.04}, "profile": "straight_line"},
        {"name": "custom", "commitment": 8, "rate": {"base_rate": 0.04}, "profile": "custom"}
        | {"custom_shares": [0.25, 0.25, 0.25, 0.25], "rank": 2, "kind": "mezzanine"},
        {
            "name": "running",
            "commitment": 20,
            "profile": "annuity",
            "rate": {"base_rate": 0.06},
            "accrued_interest": 0.5,
            "rate_resets": [{"date": "2026-05-20", "annual_rate": 0.07}],
            "reset_effect": "relevel",
            "prepayments": [{"date": "2026-08-01", "amount": 5, "effect": "relevel"}],
            "termination": {"date": "2026-12-01", "price": 3},
        },
    ],
}
GRACE_LOAN: Json = {
    "name": "grace",
    "commitment": 30,
    "rate": FACILITIES["facilities"][-1]["rate"] | {"base_rate": [0.02, 0.03, 0.035, 0.03]},
    "grace_periods": 1,
    "grace": "interest_only",
}
JOINED: Json = {
    "construction_cost": [60, 70],
    "cost_at_close": 5,
    "cfads": [40, 41, 42, 43, 44, 45],
    "dates": [f"{2026 + n // 2}-{1 + 6 * (n % 2):02d}-15" for n in range(9)],
    "day_count": "ACT/360",
    "equity_draw_order": 2,
    "dsra_months": 6,
    "dsra_income_rate": 0.01,
    "lockup_below": 1.1,
    "lockup_release_at_or_above": 1.2,
    "lockup_periods_back": 2,
    "lockup_periods_ahead": 1,
    "sweep_share": 0.2,
    "sweep_if_dscr_below": 1.5,
    "sweep_order": "pro_rata",
    "sponsors": [{"name": "Developer", "share": 0.5}, {"name": "Fund", "share": 0.5}],
    "facilities": [
        {**SENIOR, "draw_order": 2, "commitment_fee": 0.01, "upfront_fee": 0.02},
        {
            "name": "mezzanine",
            "kind": "mezzanine",
            "share": 0.05,
            "rate": {"base_rate": 0.09},
            "draw_order": 2,
            "tenor_periods": 4,
            "capitalises_interest": True,
        },
        {"name": "VAT", "kind": "vat", "vat_rate": 0.2, "refund_periods": 1}
        | {"rate": {"base_rate": 0.03}},
        {"name": "loan", "kind": "shareholder_loan", "share": 0.08, "rate": {"base_rate": 0.09}},
        {
            "name": "bank",
            "commitment": 15,
            "profile": "annuity",
            "balloon_share": 0.1,
            "grace_periods": 1,
            "draw_order": 1,
            "available_from": 0,
            "available_until": 2,
            "rate": {
                "base_rate": 0.02,
                "margin": 0.02,
                "margin_steps": [{"from_period": 2, "margin": 0.025}],
                "floor": 0.025,
                "hedged_share": 0.75,
                "swap_rate": 0.03,
            },
        },
    ],
}
TERM, MEZZANINE, VAT, SPONSOR_LOAN, BANK = JOINED["facilities"]
CUSTOM: Json = {
    "tenor_periods": 4,
    "custom_shares": [0.25, 0.25, 0.25, 0.25],
    "balloon_share": 0,
    "grace_periods": 0,
}
LINE: Json = {
    "name": "line",
    "commitment": 20,
    "profile": "straight_line",
    "instalment": 5,
    "tenor_periods": 4,
    "rate": {"base_rate": 0.04},
}
BUILT_UP: Json = {
    "construction_cost": [100, 150],
    "months_per_period": 6,
    "max_gearing": 0.75,
    "cash_flow": {name: value for name, value in CONCESSION.items() if name != "months_per_period"},
    "facilities": [{**SENIOR, "principal_floor": 1, "tenor_periods": 3}],
}
REQUESTS: list[tuple[str, Json]] = [
    *((name, example) for name, example in EXAMPLES.items() if name != "day-count"),
    ("returns", {"cash_flows": [-100, 230, -132, 5], "periods_per_year": 4, "discount_rate": 0.1}),
    ("returns", {"cash_flows": [-9, 4, 7], "finance_rate": 0.1, "reinvest_rate": 0.12}),
    ("schedule", {**LOAN, "profile": "balloon", "balloon_share": 0.3}),
    ("schedule", {**LOAN, "grace_periods": 1, "grace": "capitalised", "balloon": 10}),
    ("schedule", {**LOAN, "profile": "custom", "custom_shares": [0.2, 0.3, 0.5]}),
    ("schedule", {**LOAN, "profile": "sculpted", "cfads": [1, 2, 3], "currency_code": "EUR"}),
    ("debt-sizing", SCULPTED),
    ("debt-sizing", {**SCULPTED, "cap_basis": "pre_estimate", "pre_estimated_cost": 310}),
    (
        "debt-sizing",
        {
            "cfads": [100, 120, 90],
            "annual_rates": 0.05,
            "repayment": "annuity",
            "share_of_cost": 0.6,
            "uses": {"capex": 300, "upfront_fee_share": 0.02, "dsra_months": 6},
        },
    ),
    ("cash-flow", CONCESSION),
    ("cash-flow", INDEX_HISTORY),
    ("cash-flow", {**INDEX_HISTORY, "tax": TAX, "interest": [9, 5, 2]}),
    ("covenants", {"lockup_below": 1.15, "metric": "LLCR", "coverage": COVERAGE}),
    ("covenants", {"lockup_below": 1.15, "default_below": 1.05, "coverage": COVERAGE}),
    (
        "construction-funding",
        {
            "construction_cost": [50, 60, 70],
            "gearing": 0.7,
            "rate_per_period": [0.01, 0.02, 0.03],
            "dsra_share_of_debt": 0.05,
            "cost_at_close": 10,
            "funding": "equity_first",
        },
    ),
    (
        "construction-funding",
        {"construction_cost": [50, 60, 70], "debt_commitment": 110, "rate_per_period": 0.03},
    ),
    ("construction-funding", FACILITIES),
    (
        "construction-funding",
        {**FACILITIES, "months_per_period": None, "dates": SIX_MONTHS, "day_count": "ACT/360"},
    ),
    (
        "construction-funding",
        {**FACILITIES, "dsra_share_of_debt": 0, "facilities": FACILITIES["facilities"][2:3]},
    ),
    (
        "construction-funding",
        {**FACILITIES, "dsra_share_of_debt": 0, "facilities": FACILITIES["facilities"][1:2]},
    ),
    ("debt-sizing", SEVERAL),
    (
        "debt-sizing",
        {"cfads": [30, 31, 32, 33], "months_per_period": 6, "facilities": [SENIOR, GRACE_LOAN]},
    ),
    (
        "debt-sizing",
        {
            **SEVERAL,
            "facilities": [
                {**GRACE_LOAN, "name": "balloon", "profile": "balloon", "balloon_share": 0.2},
                {**GRACE_LOAN, "grace_periods": 0, "grace": None, "payment": 8},
                {**SENIOR, "balloon": 1, "grace_periods": 1},
            ],
        },
    ),
    (
        "debt-sizing",
        {
            **SEVERAL,
            "facilities": [LINE],
        },
    ),
    ("deal", JOINED),
    ("deal", {**JOINED, "facilities": [BANK, MEZZANINE, VAT, SPONSOR_LOAN, TERM]}),
    ("deal", {**JOINED, "facilities": [TERM, MEZZANINE]}),
    ("deal", {**JOINED, "facilities": [TERM, VAT]}),
    ("deal", {**JOINED, "facilities": [TERM, {**BANK, "payment": 4, "balloon_share": 0}]}),
    ("deal", {**JOINED, "facilities": [TERM, {**BANK, "profile": "custom", **CUSTOM}]}),
    ("deal", {**JOINED, "facilities": [TERM, LINE]}),
    ("deal", BUILT_UP),
    ("deal", {**JOINED, "facilities": [TERM, MEZZANINE, VAT], "tax": TAX, "ebitda": [50] * 6}),
    ("debt-sizing", {**SEVERAL, "facilities": [SENIOR, LINE]}),
    ("debt-sizing", {**SEVERAL, "facilities": [{**SENIOR, "principal_floor": 0.1}]}),
    ("debt-sizing", {**SEVERAL, "facilities": SEVERAL["facilities"][:3]}),
    ("debt-sizing", {**SEVERAL, "facilities": SEVERAL["facilities"][:2]}),
    ("waterfall", {**EXAMPLES["waterfall"], "sweep_share": 0.5, "sweep_if_dscr_below": 1.5}),
    (
        "waterfall",
        {
            "cfads": [12.0, -3.0, 11.0],
            "tranches": [
                {"opening_balance": 9, "principal": [3, 3, 3], "annual_rates": 0.05},
                {"opening_balance": 6, "principal": [2, 2, 2], "interest": [1, 1, 1], "rank": 2},
            ],
            "accruals": [0.5, 0.5, 0.5],
            "dsra_months": 6,
            "dsra_form": "letter_of_credit",
            "dsra_fee_rate": 0.01,
            "reserves": [{"target": 1, "uses": [1, 0, 1], "income_rate": 0.02}],
            "mezz_open": 5,
            "mezz_rate": 0.04,
            "mezz_principal": [1, 1, 1],
            "sweep_share": 0.5,
            "sweep_to_balance": [9, 5, 1],
            "sweep_order": "pro_rata",
            "lockup_below": 1.1,
            "lockup_periods_back": 2,
            "lockup_periods_ahead": 1,
        },
    ),
    (
        "waterfall",
        {
            "cfads": [12.0, 8.0, 11.0],
            "tranches": [
                {"opening_balance": 9, "principal": [3, 3, 3], "annual_rates": 0.05}
                | {"balloon": 4, "balloon_period": 3},
            ],
            "accruals": [0.5, 0.5, 0.5],
        },
    ),
    ("returns", {**EXAMPLES["returns"], "day_count": "30E/360", "base_date": "2026-06-30"}),
    (
        "returns",
        {
            "cash_flows": [-100, 60, 70],
            "discount_curve": [{"years": 1, "rate": 0.04}, {"years": 3, "rate": 0.06}],
            "residual_value": 10,
            "nearest_to": 0.1,
            "costs": [100, 5, 5],
            "energy": [0, 50, 50],
        },
    ),
    ("schedule", {**EVENT_LOAN}),
    ("schedule", {**EVENT_LOAN, "profile": "annuity", "reset_effect": "relevel"}),
    ("schedule", {**BOUGHT_LOAN}),
    ("schedule", {**BOUGHT_LOAN, "profile": "annuity", "payment": 30, "instalment": None}),
    ("covenants", {"lockup_below": 1.15, "coverage": WINDOWS}),
    ("debt-sizing", {**STUB_SIZING}),
    ("debt-sizing", TAXED),
    ("debt-sizing", {**LIMITED, "max_average_life_years": 2.2}),
    ("debt-sizing", {**LIMITED, "min_llcr": 1.5}),
    ("debt-sizing", {**LIMITED, "target_dscr": [1.3, 1.3, 1.2, 1.1, 1.1], "min_llcr": 1.25}),
    ("debt-sizing", {**LIMITED, "min_plcr": 2.0, "balloon": 5}),
    ("debt-sizing", {**STUB_SIZING, "cfads": [3, -1, 13, 13], "allow_negative_amortisation": True}),
]
