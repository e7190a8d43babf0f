"""Diagnosis of what a service depends on, with a remedy for each finding."""

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final

import msgspec

from spawn.domain.errors import (
    NotFound,
    RegistryError,
    SpawnError,
    StorageBusy,
    Unavailable,
    describe_cause,
)
from spawn.ports.publishers import EventPublisher
from spawn.ports.schemas import SchemaRegistry

_MEBIBYTE: Final = 1024 * 1024


class CheckStatus(StrEnum):
    """Status of a check; a FAULT stops the service from running."""

    OK = "ok"
    WARNING = "warn"
    FAULT = "FAIL"


class CheckResult(msgspec.Struct, frozen=True):
    """Result of one check; `advice` says what to do, and only a check that passed has none."""

    name: str
    status: CheckStatus
    detail: str
    advice: str = ""

    def __post_init__(self) -> None:
        """Check that a finding names a remedy.

        Raises:
            ValueError: it does not.
        """
        if self.status is not CheckStatus.OK and not self.advice:
            raise ValueError(f"the finding of {self.name} names no remedy")


class ReportedCheck(msgspec.Struct, frozen=True):
    """A check in the health document of a running service."""

    status: str
    detail: str = ""


class ReportedHealth(msgspec.Struct, frozen=True):
    """The health document of a running service."""

    status: str
    checks: dict[str, ReportedCheck] = {}


SERVICE_REMEDIES: Final[Mapping[str, str]] = {
    "storage": "check the disk and the log of the service; if the data are damaged, restore a "
    "backup",
    "disk": "free some space on the disk of the store",
    "clock": "set the clock of the machine right, or restart the service to accept it",
    "feed": "start the consumer or correct its URL in SPAWN_EVENTS_URL; replay or discard the "
    "letters of /v1/events/dead-letters",
    "projection": "wait while rows are compared after an unclean stop; otherwise look in the log "
    "of the service for failed projections, and reduce the load of the disk",
    "schema": "decide on the candidates of /v1/governance/schemas, or correct SPAWN_ONTOLOGY_URL",
    "breaker": "start the ontology server or correct SPAWN_ONTOLOGY_URL",
    "traffic": "look in the access log for the client that sends most, and lower SPAWN_RATE_LIMIT, "
    "or distribute the load",
    "approvals": "restart the service, which carries out or ends the approved commands",
    "background": "look in the log of the service for the failure of the task, and report it",
    "quality": "correct the data that /v1/governance/quality counts as failed",
}
"""Remedies of the checks that a running service reports."""


def judge_disk(folder: Path, free_bytes: int, reserve_bytes: int) -> CheckResult:
    """Return the finding for the free space of the disk that has a folder."""
    free, reserve = free_bytes // _MEBIBYTE, reserve_bytes // _MEBIBYTE
    detail = f"{free} MiB free at {folder}, {reserve} kept in reserve"
    if free_bytes < reserve_bytes:
        advice = "free some space: every write is rejected"
        return CheckResult("disk", CheckStatus.FAULT, detail, advice)
    if free_bytes < 4 * reserve_bytes:
        return CheckResult("disk", CheckStatus.WARNING, detail, "free some space soon")
    return CheckResult("disk", CheckStatus.OK, detail)


def describe_unopened_store(failure: SpawnError | OSError, served_url: str | None) -> CheckResult:
    """Return the finding for a store that cannot be opened.

    Args:
        failure: the error of the attempt.
        served_url: the address at which another process serves the store, if it wrote one.
    """
    if isinstance(failure, OSError):
        advice = "make the file and its .wal and .mark files readable and writable for this user"
        return CheckResult("store", CheckStatus.FAULT, describe_cause(failure), advice)
    if not isinstance(failure, StorageBusy):
        reason = "" if failure.__cause__ is None else f": {describe_cause(failure.__cause__)}"
        detail = type(failure).title + reason
        return CheckResult("store", CheckStatus.FAULT, detail, failure.detail)
    if served_url:
        return CheckResult("store", CheckStatus.OK, f"served at {served_url}")
    advice = "stop the other process, or give the service a file of its own"
    return CheckResult("store", CheckStatus.WARNING, failure.detail, advice)


def judge_health(url: str, health: ReportedHealth) -> list[CheckResult]:
    """Return a finding for the address, and one for each check that the service fails."""
    detail = f"Spawn runs at {url}: {health.status}"
    findings = [
        CheckResult(
            "service",
            CheckStatus.WARNING,
            f"{name} is {check.status}: {check.detail}",
            SERVICE_REMEDIES.get(name, f"see the check at {url}"),
        )
        for name, check in health.checks.items()
        if check.status != "ok"
    ]
    if health.status == "ok" or findings:
        return [CheckResult("address", CheckStatus.OK, detail), *findings]
    return [CheckResult("address", CheckStatus.WARNING, detail, f"see the response of {url}")]


async def check_publisher(publisher: EventPublisher) -> CheckResult:
    """Check that the consumer of events can be reached, without sending any."""
    try:
        return CheckResult("events", CheckStatus.OK, await publisher.probe())
    except Unavailable as failure:
        name = publisher.delivery_options.name
        advice = f"start it or correct its URL; events for {name} wait until then"
        return CheckResult("events", CheckStatus.WARNING, failure.detail, advice)


async def check_registry(registry: SchemaRegistry, schema_id: str) -> CheckResult:
    """Fetch the schema from the registry."""
    try:
        fetched_schema = await registry.refresh(schema_id)
    except NotFound as failure:
        advice = "publish the schema there, or correct SPAWN_SCHEMA_ID"
        return CheckResult("ontology", CheckStatus.WARNING, failure.detail, advice)
    except RegistryError as failure:
        advice = (
            "start it or correct SPAWN_ONTOLOGY_URL; meanwhile the service uses the "
            "last cached schema, or the bundled one"
        )
        return CheckResult("ontology", CheckStatus.WARNING, failure.detail, advice)
    schema = fetched_schema.schema
    detail = f"{schema.id} version {schema.version} ({fetched_schema.provenance.value})"
    return CheckResult("ontology", CheckStatus.OK, detail)
