"""Rules and Alertmanager's configuration: valid, tested, and each alert with its runbook."""

import re
import subprocess
from pathlib import Path
from typing import Any

import msgspec
import pytest
from stack_config import RUNBOOKS_URL
from tests.infra.monitoring.servers import MONITORING, RULES, find_program, list_alerts

ROOT = Path(__file__).parents[3]
UNIT_TESTS = tuple(rules.with_suffix(".test.yml") for rules in RULES)
ALERTS = list_alerts()
NAMES = {alert["alert"] for alert in ALERTS}


def run_tool(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=MONITORING)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_promtool_accepts_the_rules() -> None:
    checked = run_tool(find_program("promtool"), "check", "rules", *map(str, RULES))
    assert checked.count("SUCCESS") == len(RULES)


@pytest.mark.parametrize("file", UNIT_TESTS, ids=lambda file: file.name)
def test_the_unit_tests_of_the_rules_pass(file: Path) -> None:
    assert "SUCCESS" in run_tool(find_program("promtool"), "test", "rules", str(file))


def test_a_wrong_threshold_fails_the_unit_tests(tmp_path: Path) -> None:
    text = (
        RULES[1]
        .read_text()
        .replace("spawn_storage_stall_seconds > 15", "spawn_storage_stall_seconds > 45")
    )
    (tmp_path / RULES[1].name).write_text(text)
    (tmp_path / UNIT_TESTS[1].name).write_text(UNIT_TESTS[1].read_text())
    command = [find_program("promtool"), "test", "rules", str(tmp_path / UNIT_TESTS[1].name)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "SpawnWriterStalled" in done.stderr + done.stdout


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: str(alert["alert"]))
def test_each_alert_has_a_severity_a_summary_a_runbook_and_a_unit_test(
    alert: dict[str, Any],
) -> None:
    assert alert["labels"]["severity"] in {"critical", "warning", "none"}
    assert alert["annotations"]["summary"].endswith(".")
    # A link that a person follows from a page, and not a path.
    folder, _, name = alert["annotations"]["runbook_url"].rpartition("/")
    assert folder == RUNBOOKS_URL
    runbook = (ROOT / "docs" / "runbooks" / name).with_suffix(".md")
    assert name.endswith(".html")
    assert f"`{alert['alert']}`" in runbook.read_text()
    assert any(f'"{alert["alert"]}"' in file.read_text() for file in UNIT_TESTS)


def test_every_runbook_is_linked_by_an_alert() -> None:
    pages = {page.name for page in (ROOT / "docs" / "runbooks").glob("*.md")} - {"index.md"}
    linked = {Path(alert["annotations"]["runbook_url"]).stem for alert in ALERTS}
    assert {page.removesuffix(".md") for page in pages} == linked


def test_amtool_accepts_the_configuration() -> None:
    run_tool(find_program("amtool"), "check-config", "alertmanager.yml")


@pytest.mark.parametrize(
    ("alert", "severity", "receiver"),
    [
        ("SpawnDown", "critical", "page"),
        ("SpawnDeadLetters", "warning", "ticket"),
        ("SpawnWatchdog", "none", "heartbeat"),
    ],
)
def test_alerts_are_routed_by_severity(alert: str, severity: str, receiver: str) -> None:
    labels = (f"alertname={alert}", f"severity={severity}")
    file = "--config.file=alertmanager.yml"
    routed = run_tool(find_program("amtool"), "config", "routes", "test", file, *labels)
    assert routed.split() == [receiver]


def test_inhibitions_name_alerts_that_exist() -> None:
    config = msgspec.yaml.decode((MONITORING / "alertmanager.yml").read_bytes())
    for rule in config["inhibit_rules"]:
        for matcher in (*rule["source_matchers"], *rule["target_matchers"]):
            match = re.fullmatch(r'alertname (=|!=|=~) "?([^"]+)"?', matcher)
            assert match is not None, matcher
            operator, value = match.groups()
            pattern = value if operator == "=~" else re.escape(value)
            assert any(re.fullmatch(pattern, name) for name in NAMES), matcher
