"""A clock that is set for real: ahead it dates no change, and back it passes no instant."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
import tenacity
from tests.product.service import Service

COMPILER = shutil.which("cc")
PROJECTS = "/v1/ops/projects"
BODY = {"project_name": "Timely", "total_amount": "1"}

pytestmark = [
    pytest.mark.real,
    pytest.mark.slow,
    pytest.mark.skipif(COMPILER is None, reason="needs a C compiler"),
]

LIBRARY = r"""
#define _GNU_SOURCE
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* The clock of the machine, an hour ahead while the file AHEAD exists. */
int clock_gettime(clockid_t clock, struct timespec *result) {
    int code = (int)syscall(SYS_clock_gettime, clock, result);
    const char *path = getenv("AHEAD");
    if (code == 0 && clock == CLOCK_REALTIME && path && access(path, F_OK) == 0)
        result->tv_sec += 3600;
    return code;
}
"""


@pytest.fixture
def library(tmp_path: Path) -> Path:
    """Compile the library that moves the clock of a process."""
    source = tmp_path / "clock.c"
    source.write_text(LIBRARY)
    library = tmp_path / "clock.so"
    assert COMPILER is not None
    subprocess.run([COMPILER, "-shared", "-fPIC", "-o", library, source], check=True)
    return library


def test_a_clock_that_is_set_ahead_dates_no_change(
    service_in: Callable[..., Service], tmp_path: Path, library: Path
) -> None:
    ahead = tmp_path / "ahead"
    service = service_in(LD_PRELOAD=str(library), AHEAD=str(ahead))
    service.start()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        first = client.post(PROJECTS, json=BODY)
        assert first.status_code == 201
        ahead.touch()
        assert client.post(PROJECTS, json=BODY).status_code == 503
        assert client.get(first.headers["Location"]).status_code == 200
        ready = client.get("/monitoring/ready")
        assert (ready.status_code, ready.json()["status"]) == (200, "degraded")
        assert ready.json()["checks"]["clock"]["status"] == "degraded"
        ahead.unlink()
        second = client.post(PROJECTS, json=BODY)
        assert second.status_code == 201
    first_at, second_at = (
        datetime.fromisoformat(response.json()["updated_at"]) for response in (first, second)
    )
    assert second_at - first_at < timedelta(minutes=30)


def test_a_killed_service_whose_clock_is_behind_then_passes_no_instant_of_a_reader(
    service_in: Callable[..., Service], tmp_path: Path, library: Path
) -> None:
    ahead = tmp_path / "ahead"
    service = service_in(LD_PRELOAD=str(library), AHEAD=str(ahead))
    ahead.touch()
    service.start()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        first = client.post(PROJECTS, json=BODY)
        created_at = datetime.fromisoformat(first.json()["updated_at"])
        as_of = {"as_of": (created_at + timedelta(seconds=1)).isoformat()}
        address = first.headers["Location"]
        for attempt in tenacity.Retrying(
            retry=tenacity.retry_if_exception_type(AssertionError),
            wait=tenacity.wait_fixed(0.05),
            stop=tenacity.stop_after_delay(60),
            reraise=True,
        ):
            with attempt:  # the instant is yet to come at first
                then = client.get(address, params=as_of)
                assert then.status_code == 200
    service.kill()
    ahead.unlink()
    service.start()
    with httpx.Client(base_url=service.url, timeout=30) as client:
        renamed = client.patch(address, json={"project_name": "New"}, headers={"If-Match": "*"})
        renamed_at = datetime.fromisoformat(renamed.json()["updated_at"])
        assert renamed_at > created_at + timedelta(seconds=1)
        assert client.get(address, params=as_of).json() == then.json()
