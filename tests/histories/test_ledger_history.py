"""Sixteen writers draw on one facility while its service is killed, also in recovery."""

import random
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from tests.histories.ledger_checker import (
    ENTRY_EVENT,
    LedgerAccount,
    LedgerHistory,
    LedgerWrite,
    check_ledger_history,
)
from tests.histories.ledger_clients import LedgerRound
from tests.histories.operations import Outcome
from tests.histories.processes import FaultyService

FAULTS = ("kill in recovery", "stop")


@pytest.mark.real
@pytest.mark.slow
async def test_a_ledger_keeps_its_rules_through_races_and_kills(tmp_path: Path) -> None:
    service = FaultyService(tmp_path, "bundled://")
    randomness = random.Random(1)
    try:
        await service.start()
        round_ = LedgerRound(service.http, seed=1)
        await round_.create()
        tasks = round_.start()
        for fault in FAULTS:
            await round_.wait_for_responses(80)
            await service.inject(fault, randomness)
        await round_.wait_for_responses(80)
        round_.has_ended = True
        for task in tasks:
            await task
        await service.inject("kill", randomness)
        history = await round_.read_history()
    finally:
        await service.close()
    assert round_.surprises + service.surprises == []
    assert check_ledger_history(history) == []
    codes = {write.code for write in history.writes if write.outcome is Outcome.REJECTED}
    assert {"invalid_input", "conflict"} <= codes
    assert round_.toggles > 2
    assert len(history.account.entries) > 20


def an_entry(number: int, amount: str, **members: Any) -> dict[str, Any]:
    kind = "reversal" if members.get("reverses") else "draw"
    key = f"w-{number}"
    return {
        "number": number,
        "kind": kind,
        "amount": amount,
        "external_key": key,
        "reverses": None,
        **members,
    }


def a_history(*entries: dict[str, Any], **changes: Any) -> LedgerHistory:
    """Return a history of entries, each of a writer that knows it, after the milestone was met."""
    met = {"project_id": "p", "milestones": [{"met_on": "2020-01-31"}]}
    events = [{"type": "spawn.project.amended.v1", "data": {"after": met}}]
    events += [{"type": ENTRY_EVENT, "data": {"after": entry}} for entry in entries]
    writes = [
        LedgerWrite(
            key=entry["external_key"],
            amount=Decimal(entry["amount"]),
            reverses=entry["reverses"],
            outcome=Outcome.DONE,
            numbers=[entry["number"]],
        )
        for entry in entries
    ]
    drawn = sum((Decimal(entry["amount"]) for entry in entries), Decimal(0))
    account = LedgerAccount(
        changes.get("shown", list(entries)),
        changes.get("version", len(entries)),
        changes.get("balance", drawn),
        changes.get("events", events),
    )
    return LedgerHistory(Decimal(100), "p", changes.get("writes", writes), account)


def test_a_right_history_has_no_violation() -> None:
    entries = [an_entry(1, "60"), an_entry(2, "-60", reverses=1), an_entry(3, "100")]
    assert check_ledger_history(a_history(*entries)) == []


OPEN = {"project_id": "p", "milestones": [{}]}
REOPENED = [
    {"type": "spawn.project.amended.v1", "data": {"after": OPEN}},
    {"type": ENTRY_EVENT, "data": {"after": an_entry(1, "60")}},
]


@pytest.mark.parametrize(
    ("history", "sentence"),
    [
        (a_history(an_entry(1, "60"), an_entry(2, "41")), "brings what is drawn to 101"),
        (a_history(an_entry(1, "60"), shown=[], balance=Decimal(0)), "w-1 is lost"),
        (a_history(an_entry(2, "60"), version=1), "are numbered [2]"),
        (a_history(an_entry(1, "60"), version=2), "counts 2 entries and has 1"),
        (a_history(an_entry(1, "60"), writes=[]), "nobody wrote ['w-1']"),
        (a_history(an_entry(1, "60"), balance=Decimal(59)), "the entries make 60"),
        (a_history(an_entry(1, "60"), events=REOPENED), "while the milestone was open"),
        (
            a_history(
                an_entry(1, "6"), an_entry(2, "-6", reverses=1), an_entry(3, "-6", reverses=1)
            ),
            "entry 1 was reversed twice",
        ),
        (
            a_history(an_entry(1, "60"), an_entry(2, "1", external_key="w-1")),
            "w-1 was recorded 2 times",
        ),
        (
            a_history(
                an_entry(1, "60"),
                writes=[LedgerWrite(key="w-1", outcome=Outcome.REJECTED, amount=Decimal(60))],
            ),
            "the rejected write w-1",
        ),
    ],
)
def test_each_violation_is_found(history: LedgerHistory, sentence: str) -> None:
    assert any(sentence in found for found in check_ledger_history(history))
