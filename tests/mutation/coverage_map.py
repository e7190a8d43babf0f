"""Pytest plugin that records which tests run which lines, and how long each test takes.

`TEST_COVERAGE_MAP` names the file to write. Lines that run at import belong to no test.
"""

import os
import time
from collections.abc import Generator
from pathlib import Path
from typing import Final

import msgspec
import pytest
from coverage import Coverage

ROOT: Final = Path(__file__).parents[2]
VARIABLE: Final = "TEST_COVERAGE_MAP"


class CoverageMap(msgspec.Struct):
    """Tests by module and line, as indexes; `sources` tells whether lines are still the same."""

    tests: list[str] = []
    durations_s: list[float] = []
    lines: dict[str, dict[int, list[int]]] = {}
    sources: dict[str, str] = {}

    def tests_of_line(self, path: str, line: int) -> set[int]:
        """Return the tests that run a line."""
        return set(self.lines.get(path, {}).get(line, ()))

    def tests_of_module(self, path: str) -> set[int]:
        """Return the tests that run any line of a module."""
        return {test for tests in self.lines.get(path, {}).values() for test in tests}


def read_map(path: Path) -> CoverageMap:
    """Read a map from its file."""
    return msgspec.json.decode(path.read_bytes(), type=CoverageMap)


class _Recorder:
    """The running measurement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._durations_s: dict[str, float] = {}
        self._failed: set[str] = set()
        self._coverage = Coverage(data_file=None, source=[str(ROOT / "src")], config_file=False)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        started_s = time.perf_counter()
        self._coverage.switch_context(item.nodeid)
        result = yield
        self._durations_s[item.nodeid] = round(time.perf_counter() - started_s, 4)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(report.nodeid)

    def pytest_sessionfinish(self) -> None:
        self._coverage.stop()
        passed = {test: s for test, s in self._durations_s.items() if test not in self._failed}
        indexes = {test: index for index, test in enumerate(passed)}
        found = CoverageMap(tests=list(passed), durations_s=list(passed.values()))
        data = self._coverage.get_data()
        for file in data.measured_files():
            path = str(Path(file).relative_to(ROOT))
            found.sources[path] = Path(file).read_text()
            found.lines[path] = {
                line: [indexes[test] for test in tests if test in indexes]
                for line, tests in data.contexts_by_lineno(file).items()
            }
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_bytes(msgspec.json.encode(found))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record, before any module of the package is imported."""
    config.pluginmanager.register(_Recorder(Path(os.environ[VARIABLE])))
