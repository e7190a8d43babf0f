"""What every test shares: where it is, how hypothesis searches, and which tests begin."""

import gc
import os
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, settings

from spawn.testing.intensity import is_thorough, rounds

# Every HTTP client would load the certificates of all authorities, for 60 ms of CPU. Tests make
# hundreds of clients, all to the loopback interface, and this directory has no certificates.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(Path(__file__).parent)

# What a collection of tests makes stays until the end. Walking through it again and again, as the
# garbage collector would at each full pass, takes 8 % of the time of a run.
gc.disable()

# Every test, and every process that one starts, is far from UTC: a local time that passes for UTC
# is nine hours wrong and so fails the test that reads it.
os.environ["TZ"] = "Asia/Tokyo"
time.tzset()

# No deadline for one example: a busy machine is not a broken law. In CI the search is the same in
# each run, so that a red run can be repeated, and shorter than those of the night, which look
# elsewhere each time; on a person's machine each run looks elsewhere. The
# quick one is for `make test-core`, which a person runs at every turn, and the random one for
# `make test-properties`, which prints the seed that repeats it. In a mutation run only a change may
# fail a test, not a busy machine that is slow to draw examples.
settings.register_profile("person", deadline=None)
settings.register_profile("quick", deadline=None, max_examples=10)
settings.register_profile("random", deadline=None, print_blob=True)
settings.register_profile(
    "mutation",
    deadline=None,
    derandomize=True,
    database=None,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "ci", deadline=None, derandomize=True, print_blob=True, max_examples=rounds(40, 100)
)
settings.load_profile("ci" if os.environ.get("CI") else "person")


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Take two processes a core: tests wait for disks and peers half of the time."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_finish() -> None:
    gc.enable()
    gc.freeze()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with slow tests and processes: in a parallel run a slow last one would run alone."""
    for marker in ("real", "slow"):
        items.sort(key=lambda item: item.get_closest_marker(marker) is None)


def _release(appender: Any) -> None:
    """End a journal as a kill would, but for the lock of its files."""
    appender._mark.release()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown() -> Iterator[None]:
    """End what a test left open; nobody reads these stores again.

    To project, prove and checkpoint what a store has is three quarters of its close, 40 ms of CPU
    for each of a thousand tests. A test that closes its store does all of it, and so does a
    thorough run. The key of a command stays in its process, which here is that of all tests.
    """
    os.environ.pop("SPAWN_KEY_FILE", None)
    module = sys.modules.get("spawn.adapters.duckdb.journal.appender")
    with pytest.MonkeyPatch.context() as patch:
        if module is not None and not is_thorough():
            patch.setattr(module.JournalAppender, "close", _release)
        yield
