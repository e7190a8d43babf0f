"""The loan contracts of the ACTUS test suite through the schedule calculator.

Source: https://github.com/actusfrf/actus-tests (CC BY-SA 4.0). The files are read where they lie
and no part of them is committed.
"""

import json
from collections import Counter
from datetime import date

import pytest
from tests.http.analysis.actus_contracts import Contract, Json, read_contracts
from tests.shared_material import find_shared

from spawn.application.analysis.calculation import Deadline, calculate
from spawn.application.analysis.calculation_requests import read_request
from spawn.domain.json_tokens import parse_object
from spawn.entrypoints.http.analysis.responses import encode_json

FOLDER = find_shared("actus")
CONTRACTS = read_contracts(FOLDER) if FOLDER is not None else []
EXPRESSIBLE = [contract for contract in CONTRACTS if not contract.reason_unsupported]
needs_contracts = pytest.mark.skipif(
    FOLDER is None, reason="no ACTUS contracts beside the repository: loans are not compared"
)


def calculate_schedule(request: Json) -> Json:
    read = read_request("schedule", parse_object(json.dumps(request).encode()))
    results = calculate(
        "schedule", read.cases, explain=False, pointers=read.pointers, deadline=Deadline()
    )
    answer: Json = json.loads(encode_json(read.names, results, is_single=True))
    return answer


@needs_contracts
@pytest.mark.parametrize("contract", EXPRESSIBLE, ids=[each.name for each in EXPRESSIBLE])
def test_a_contract_has_its_published_cash_flows_and_balances(contract: Contract) -> None:
    answer = calculate_schedule(contract.request(calculate_schedule))
    published, calculated = contract.published(), contract.calculated(answer)
    assert calculated.keys() == published.keys()
    assert calculated == pytest.approx(published, rel=1e-9, abs=1e-8)
    balances = {date.fromisoformat(e["date"]): e["balance"] for e in answer["events"] or ()}
    for day, balance in contract.published_balances().items():
        if day in balances:
            assert balances[day] == pytest.approx(balance, rel=1e-9, abs=1e-8), day


@needs_contracts
def test_the_others_are_these_with_their_reasons() -> None:
    assert {
        each.name: each.reason_unsupported for each in CONTRACTS if each not in EXPRESSIBLE
    } == {
        "pam14": "interest accrued before the draw is paid on the day of the draw",
        "lam04": "the accrued interest of a liability is deducted from its price, not added",
        "lam18": "its published interest runs on the balance, its terms fix the base",
        "lam21": "the accrued interest of a liability is deducted from its price, not added",
        "lam25": "notional and interest are scaled by an index",
        "lam26": "notional and interest are scaled by an index",
        "nam04": "the accrued interest of a liability is deducted from its price, not added",
    }
    counts = Counter(contract.name[:3] for contract in EXPRESSIBLE)
    assert counts == {"pam": 24, "lam": 26, "nam": 21, "ann": 31}
