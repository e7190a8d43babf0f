"""The commands of the guide to facilities run, one after the other, against a service."""

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
from tests.http.conftest import Start, start

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "facilities.md"

__all__ = ["start"]


def list_commands() -> list[str]:
    return re.findall(r"^```sh\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE)


@pytest.mark.real
def test_the_walk_of_the_guide_runs(start: Start, tmp_path: Path) -> None:
    service = start()
    script = "\n".join(["set -eu", *list_commands()])
    script = script.replace("http://127.0.0.1:8000", service.url)
    assert service.url in script
    finished = subprocess.run(
        ["/bin/bash", "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    decoder, documents, text = json.JSONDecoder(), [], finished.stdout
    while text:
        document, end = decoder.raw_decode(text)
        documents.append(document)
        text = text[end:]
    *documents, loans, book, book_again = documents
    *documents, missed, waiver, late, prepayment, last, repaid = documents
    _check_end_of_loan(missed, waiver, late, prepayment, last, repaid)
    counts = [(one["accepted"], one["unchanged"]) for one in (loans, book, book_again)]
    assert counts == [(1, 0), (2, 0), (0, 2)]
    *entries, balance, schedule, statement = documents
    assert [entry["kind"] for entry in entries] == ["rate_fixing", "draw", "payment"]
    # The fees and the interest that are due come first, the rest is principal.
    assert (balance["fees_due"], balance["interest_due"]) == ("0.00", "0.00")
    assert balance["balance"] == statement["closing_balance"] == "12407458.33"
    assert schedule["rows"][0]["opening_balance"] == "12500000.00"
    payment = next(line for line in statement["lines"] if line["kind"] == "payment")
    assert [part["lender"] for part in payment["lenders"]] == [
        "First Infrastructure Bank",
        "Second Infrastructure Bank",
    ]


def _check_end_of_loan(*documents: dict[str, Any]) -> None:
    missed, waiver, late, prepayment, last, repaid = documents
    # 4.165 % on 12,500,000.00 for 15 of 360 days, then on 12,407,458.33 for 167, was missed.
    assert missed["interest_overdue"] == "261416.87"
    assert waiver["amount"] == missed["fees_due"]
    assert late["amount"] == missed["interest_due"] == missed["interest_overdue"]
    assert prepayment["amount"] == "2000000.00"
    # Principal, interest since the late payment, and the commitment fee on 77,500,000.00.
    assert last["amount"] == "17841684.22"
    owed = ("balance", "interest_due", "fees_due", "accrued_interest", "accrued_fee")
    assert [repaid[name] for name in owed] == ["0.00"] * len(owed)
