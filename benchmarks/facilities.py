"""Benchmark of facilities: the fold of a ledger, its balance and its entries over HTTP, in one run.

    python -m benchmarks.facilities [--seconds 6]

The balance is compared with Litestar's bare hello, a durable entry with a durable project on the
same service; both at 64 connections. The load generator is wrk, one thread. The load of the machine
is printed with the figures.
"""

import argparse
import json
import os
import tempfile
import time
from datetime import date, timedelta
from decimal import Decimal
from functools import partial
from pathlib import Path

from benchmarks.http import create_spawn_server
from benchmarks.load import Server, create_hello_server, run_wrk
from spawn.domain.facilities.facility import (
    Facility,
    FacilityKind,
    FacilityRepayment,
    LenderShare,
    RateBasis,
)
from spawn.domain.facilities.ledger import EntryKind, LedgerEntry
from spawn.domain.facilities.ledger_fold import fold
from spawn.domain.finance.time_base.payment_dates import PaymentDateTerms, PaymentFrequency

START, END = date(2026, 3, 31), date(2056, 3, 31)
ENTRIES = 600
CONNECTIONS = 64
FOLDS = 200
TERMS = {
    "name": "Term loan",
    "kind": "senior",
    "currency_code": "EUR",
    "commitment": "1000000.00",
    "availability_start": "2026-03-31",
    "availability_end": "2027-12-31",
    "lenders": [{"lender": "Bank", "share": "100"}],
    "rate": {"fixed_rate": "0.04"},
    "payment_dates": {"start": "2026-03-31", "end": "2043-03-31", "frequency": "semi_annual"},
    "repayment": {"profile": "annuity"},
}


def build_facility(day_count: str) -> Facility:
    """Return a loan of 30 years with half-yearly payments on a curve."""
    return Facility(
        facility_id="f",
        project_id="p",
        name="Term loan",
        kind=FacilityKind.SENIOR,
        currency_code="EUR",
        commitment=Decimal(10_000_000),
        availability_start=START,
        availability_end=date(2055, 12, 31),
        lenders=(LenderShare(lender="Bank", share=Decimal(100)),),
        rate=RateBasis(curve="index", margin=Decimal("0.02")),
        day_count=day_count,
        payment_dates=PaymentDateTerms(
            start=START, end=END, frequency=PaymentFrequency.SEMI_ANNUAL
        ),
        repayment=FacilityRepayment(profile="straight_line"),
        maturity_date=END,
    )


def build_entries() -> list[LedgerEntry]:
    """Return draws, payments, fixings and fees on days of their own."""
    kinds = (EntryKind.DRAW, EntryKind.PAYMENT, EntryKind.RATE_FIXING, EntryKind.FEE)
    return [
        LedgerEntry(
            entry_id=f"f.{number}",
            facility_id="f",
            project_id="p",
            number=number,
            currency_code="EUR",
            kind=EntryKind.DRAW if number < 20 else kinds[number % 4],
            value_date=START + timedelta(days=18 * number),
            amount=Decimal("1000.00"),
            rate=Decimal("0.025"),
        )
        for number in range(1, ENTRIES + 1)
    ]


def measure_folds() -> None:
    """Print the processor time of a fold by day count."""
    entries = build_entries()
    for day_count in ("ACT/360", "ACT/ACT ICMA", "30E/360"):
        facility = build_facility(day_count)
        fold(facility, entries, END)
        times = []
        for _ in range(FOLDS):
            started = time.thread_time()
            fold(facility, entries, END)
            times.append(time.thread_time() - started)
        times.sort()
        print(
            f"fold of {ENTRIES} entries, {day_count}: best {times[0] * 1e3:.2f} ms,"
            f" median {times[FOLDS // 2] * 1e3:.2f} ms of processor time"
        )


def create_facilities(server: Server, count: int) -> list[str]:
    """Create facilities, each with a draw, and return their paths."""
    json_type = {"content_type": "application/json"}
    project = {"project_name": "Load", "total_amount": "1", "currency_code": "EUR"}
    _, headers, _ = server.request(
        "POST", "/v1/ops/projects", json.dumps(project).encode(), **json_type
    )
    paths = []
    for number in range(count):
        terms = json.dumps({**TERMS, "name": f"Loan {number}"}).encode()
        address = f"{headers['location']}/facilities"
        _, created, _ = server.request("POST", address, terms, **json_type)
        paths.append(created["location"])
        draw = b'{"kind":"draw","value_date":"2026-04-15","amount":"500000.00"}'
        keys = {"if_match": "*", "idempotency_key": f"draw-{number}"}
        server.request("POST", f"{paths[-1]}/entries", draw, **json_type, **keys)
    return paths


def measure_http(folder: Path, seconds: float) -> None:
    """Print the rates of balances and entries, and their ratios to hello and to projects."""
    spawn = create_spawn_server(folder)
    load = partial(run_wrk, connections=CONNECTIONS, seconds=seconds)
    with create_hello_server() as hello, spawn:
        paths = create_facilities(spawn, CONNECTIONS)
        balances, ledgers = folder / "balances", folder / "ledgers"
        balances.write_text("".join(f"{path}/balance?on=2027-01-01\n" for path in paths))
        ledgers.write_text("".join(f"{path}/entries\n" for path in paths))
        baseline = folder / "hello"
        baseline.write_text("/hello\n")
        before = load(hello, "paths.lua", str(baseline))
        balance = load(spawn, "paths.lua", str(balances))
        after = load(hello, "paths.lua", str(baseline))
        mean = (before.per_s + after.per_s) / 2
        print(f"hello: {before.per_s:.0f} and {after.per_s:.0f} requests/s")
        print(f"balance: {balance.per_s:.0f}/s, {balance.per_s / mean:.2f} of hello")
        first = load(spawn, "post.lua")
        entry = load(spawn, "entries.lua", str(ledgers))
        second = load(spawn, "post.lua")
        mean = (first.per_s + second.per_s) / 2
        print(f"project POST: {first.per_s:.0f} and {second.per_s:.0f}/s, durable")
        ratio = entry.per_s / mean
        print(f"entry POST: {entry.per_s:.0f}/s, {ratio:.2f} of it, {entry.errors} errors")


def main() -> None:
    """Run every measurement."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=6.0)
    seconds: float = parser.parse_args().seconds
    print(f"load of the machine: {os.getloadavg()[0]:.1f} on {os.cpu_count()} processors")
    measure_folds()
    with tempfile.TemporaryDirectory() as folder:
        measure_http(Path(folder), seconds)
    print(f"load of the machine: {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
