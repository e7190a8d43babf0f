"""A clock that is set ahead for real dates no change."""

import shutil
import subprocess
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import httpx
import pytest
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
