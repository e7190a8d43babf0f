"""The page for people: it says how things are, and lets nobody else speak."""

import re
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.entrypoints.documents.conftest import MEASURED, Viewer, report_of

from spawn.application.product.snapshot import Product
from spawn.domain.quality.rules import Measured
from spawn.domain.schemas.model import Column, ColumnType, TypeName
from spawn.entrypoints.http.html.home import Now, home
from spawn.entrypoints.http.monitoring.health import Grade
from spawn.testing.builders import a_schema

HOSTILE = '</script><script>alert("x")</script><img src=//evil.example>'


def now(**overrides: Any) -> Now:
    found = Now(
        at=MEASURED + timedelta(minutes=5),
        grade=Grade.OK,
        checks={"storage": {"status": "ok"}, "schema": {"status": "ok", "waiting": []}},
        position="1.42",
        counted=Measured(position="1.42", projects=1234, changed_at=MEASURED, tallies=()),
    )
    return msgspec.structs.replace(found, **overrides)


def text(page: str) -> str:
    """What a reader sees, in one line."""
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", visible))


def test_page_tells_size_freshness_health_and_position(viewer: Viewer) -> None:
    seen = text(home(viewer.of(), now()))
    assert "Projects 1,234" in seen
    assert "Last change 5 minutes ago 2026-03-02 00:00 UTC" in seen
    assert "Health Healthy all 2 checks pass" in seen
    assert "the journal, which stands at 1.42" in seen
    assert "Nothing has been measured yet." in seen


def test_what_is_wrong_is_said(viewer: Viewer) -> None:
    view = viewer.of()
    rule = next(rule for rule in view.rules if rule.rule_id == "completeness.project_name")
    view = msgspec.structs.replace(view, report=report_of([rule], 999, 1000))
    waiting = [{"version": 4, "state": "quarantined", "reason": "capacity_mw changes its unit"}]
    checks = {
        "disk": {"status": "degraded"},
        "schema": {"status": "ok", "waiting": waiting},
    }
    page = home(view, now(grade=Grade.DEGRADED, checks=checks))
    seen = text(page)
    assert "Degraded disk: see the checks" in seen
    assert "Version 4 is quarantined: capacity_mw changes its unit" in seen
    assert "0 of 1" in seen
    assert "It holds for 999 of 1,000, of 100 % promised." in seen
    assert "99.9 %" in seen
    assert 'href="/v1/governance/schemas/project_schema/candidates"' in page


@pytest.mark.parametrize(("met", "shown"), [(999_999, "99.9 %"), (1_000_000, "100 %")])
def test_a_share_that_is_not_whole_is_never_shown_as_whole(
    viewer: Viewer, met: int, shown: str
) -> None:
    view = viewer.of()
    rule = next(rule for rule in view.rules if rule.rule_id == "completeness.sector")
    view = msgspec.structs.replace(view, report=report_of([rule], met, 1_000_000))
    row = re.search(r"<code>sector</code>.*?</tr>", home(view, now()))
    assert row is not None
    assert shown in text(row[0])


def test_columns_are_shown_with_what_the_schema_says_of_them(viewer: Viewer) -> None:
    old = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        description="Installed capacity.",
        unit="MW",
        deprecated=True,
        sunset=date(2027, 1, 31),
    )
    row = re.search(
        r"<code>capacity_mw</code>.*?</tr>", home(viewer.of(a_schema([old], version=3)), now())
    )
    assert row is not None
    seen = text(row[0])
    for told in ("governed", "deprecated", "decimal(12,3)", "MW", "Installed capacity."):
        assert told in seen
    assert "Served until 2027-01-31." in seen


def test_texts_of_others_cannot_become_markup(viewer: Viewer) -> None:
    column = Column(name="note", type=ColumnType(TypeName.STRING), description=HOSTILE)
    schema = a_schema([column], description=HOSTILE)
    product = Product(id="iberia", base_url="https://spawn.example", owner=HOSTILE)
    waiting = [{"version": 4, "state": HOSTILE, "reason": HOSTILE}]
    checks = {"schema": {"status": "ok", "waiting": waiting}}
    page = home(viewer.of(schema, product=product), now(checks=checks))
    assert "evil.example" in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 1


def test_an_empty_store_has_no_last_change(viewer: Viewer) -> None:
    nothing = Measured(position="1.1", projects=0, changed_at=None, tallies=())
    seen = text(home(viewer.of(), now(counted=nothing)))
    assert "Projects 0" in seen
    assert "none on record yet" in seen
    assert "cannot be counted now" in text(home(viewer.of(), now(counted=None)))


@pytest.mark.parametrize(
    ("age", "shown"),
    [
        (timedelta(), "just now"),
        (timedelta(seconds=1), "1 second ago"),
        (timedelta(minutes=59, seconds=59), "59 minutes ago"),
        (timedelta(hours=25), "1 day ago"),
        (timedelta(days=400), "400 days ago"),
    ],
)
def test_an_age_is_in_its_largest_whole_unit(viewer: Viewer, age: timedelta, shown: str) -> None:
    at: datetime = MEASURED + age
    assert f"Last change {shown}" in text(home(viewer.of(), now(at=at)))
