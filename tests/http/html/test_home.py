"""The product page shows the current status and escapes all texts."""

import re
from datetime import date, datetime, timedelta
from typing import Any

import msgspec
import pytest
from tests.application.product.conftest import MEASURED, SnapshotFactory, a_report

from spawn.application.health import HealthStatus
from spawn.application.product.snapshot import Broker, Product
from spawn.domain.events.position import Position
from spawn.domain.quality.measures import Measurement
from spawn.domain.schema_version import Column, ColumnType, TypeName
from spawn.entrypoints.http.html.home import LiveStatus, render_home
from spawn.testing.builders import a_schema

HOSTILE = '</script><script>alert("x")</script><img src=//evil.example>'


def live_status(**overrides: Any) -> LiveStatus:
    found = LiveStatus(
        now=MEASURED + timedelta(minutes=5),
        health=HealthStatus.OK,
        checks={"storage": {"status": "ok"}, "schema": {"status": "ok", "waiting": []}},
        position="1.42",
        measurement=Measurement(
            position=Position(1, 42), states=1234, changed_at=MEASURED, tallies=()
        ),
    )
    return msgspec.structs.replace(found, **overrides)


def text(page: str) -> str:
    """Return the visible text, in one line."""
    visible = re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", visible))


def test_page_shows_size_freshness_health_and_position(snapshots: SnapshotFactory) -> None:
    visible_text = text(render_home(snapshots.build(), live_status()))
    assert "Projects 1,234" in visible_text
    assert "Last change 5 minutes ago 2026-03-02 00:00 UTC" in visible_text
    assert "Health Healthy all 2 checks pass" in visible_text
    assert "the journal, now at position 1.42" in visible_text
    assert "Quality has not been measured yet." in visible_text


def test_page_shows_failing_checks_waiting_versions_and_unmet_levels(
    snapshots: SnapshotFactory,
) -> None:
    snapshot = snapshots.build()
    rule = next(rule for rule in snapshot.rules if rule.rule_id == "completeness.project_name")
    snapshot = msgspec.structs.replace(snapshot, report=a_report([rule], 999, 1000))
    waiting = [{"version": 4, "state": "quarantined", "reason": "capacity_mw changes its unit"}]
    checks = {
        "disk": {"status": "degraded"},
        "schema": {"status": "ok", "waiting": waiting},
    }
    page = render_home(snapshot, live_status(health=HealthStatus.DEGRADED, checks=checks))
    visible_text = text(page)
    assert "Degraded disk: see the checks" in visible_text
    assert "Version 4 is quarantined: capacity_mw changes its unit" in visible_text
    assert "0 of 1" in visible_text
    assert "True for 999 of 1,000; 100 % required." in visible_text
    assert "99.9 %" in visible_text
    assert 'href="/v1/governance/schemas/project_schema/candidates"' in page


@pytest.mark.parametrize(("met", "shown"), [(999_999, "99.9 %"), (1_000_000, "100 %")])
def test_share_below_one_is_never_shown_as_100_percent(
    snapshots: SnapshotFactory, met: int, shown: str
) -> None:
    snapshot = snapshots.build()
    rule = next(rule for rule in snapshot.rules if rule.rule_id == "completeness.sector")
    snapshot = msgspec.structs.replace(snapshot, report=a_report([rule], met, 1_000_000))
    row = re.search(r"<code>sector</code>.*?</tr>", render_home(snapshot, live_status()), re.DOTALL)
    assert row is not None
    assert shown in text(row[0])


def test_columns_are_shown_with_type_unit_description_and_sunset(
    snapshots: SnapshotFactory,
) -> None:
    old = Column(
        name="capacity_mw",
        type=ColumnType(TypeName.DECIMAL, precision=12, scale=3),
        description="Installed capacity.",
        unit="MW",
        deprecated=True,
        sunset=date(2027, 1, 31),
    )
    row = re.search(
        r"<code>capacity_mw</code>.*?</tr>",
        render_home(snapshots.build(a_schema([old], version=3)), live_status()),
        re.DOTALL,
    )
    assert row is not None
    visible_text = text(row[0])
    for expected in ("governed", "deprecated", "decimal(12,3)", "MW", "Installed capacity."):
        assert expected in visible_text
    assert "Served until 2027-01-31." in visible_text


def test_texts_from_schemas_and_settings_are_escaped(snapshots: SnapshotFactory) -> None:
    column = Column(name="note", type=ColumnType(TypeName.STRING), description=HOSTILE)
    schema = a_schema([column], description=HOSTILE)
    product = Product(id="iberia", base_url="https://spawn.example", owner=HOSTILE)
    waiting = [{"version": 4, "state": HOSTILE, "reason": HOSTILE}]
    checks = {"schema": {"status": "ok", "waiting": waiting}}
    page = render_home(snapshots.build(schema, product=product), live_status(checks=checks))
    assert "evil.example" in page
    assert "<img" not in page
    assert page.count("<script") == page.count("</script>") == 1


def test_page_names_the_servers_and_subjects_of_each_broker(snapshots: SnapshotFactory) -> None:
    brokers = (
        Broker("nats", ("nats-1.example:4222", "nats-2.example:4222"), "desk.events"),
        Broker("nats", ("nats.partner.example:4222",), "shared"),
    )
    product = Product(id="iberia", base_url="https://spawn.example", brokers=brokers, webhooks=True)
    visible_text = text(render_home(snapshots.build(product=product), live_status()))
    assert "They are also posted to webhooks." in visible_text
    assert "NATS at nats-1.example:4222 , nats-2.example:4222 , under desk.events ." in visible_text
    assert "NATS at nats.partner.example:4222 , under shared ." in visible_text


def test_empty_store_has_no_last_change(snapshots: SnapshotFactory) -> None:
    nothing = Measurement(position=Position(1, 1), states=0, changed_at=None, tallies=())
    visible_text = text(render_home(snapshots.build(), live_status(measurement=nothing)))
    assert "Projects 0" in visible_text
    assert "no changes yet" in visible_text
    assert "the count took too long" in text(
        render_home(snapshots.build(), live_status(measurement=None))
    )


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
def test_age_is_shown_in_its_largest_whole_unit(
    snapshots: SnapshotFactory, age: timedelta, shown: str
) -> None:
    now: datetime = MEASURED + age
    assert f"Last change {shown}" in text(render_home(snapshots.build(), live_status(now=now)))
