"""Pytest plugin that records which tests run which lines, and how long each test takes.

`TEST_COVERAGE_MAP` names the file to write. Lines that run at import belong to no test. Each
process of a parallel run writes a part, and the controller merges the parts at the end.
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

    def add(self, part: "CoverageMap") -> None:
        """Add the map of other tests."""
        first = len(self.tests)
        self.tests += part.tests
        self.durations_s += part.durations_s
        self.sources |= part.sources
        for path, lines in part.lines.items():
            tests_of = self.lines.setdefault(path, {})
            for line, tests in lines.items():
                tests_of.setdefault(line, []).extend(first + test for test in tests)


def read_map(path: Path) -> CoverageMap:
    """Read a map from its file."""
    return msgspec.json.decode(path.read_bytes(), type=CoverageMap)


class _Recorder:
    """The running measurement."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._names: dict[str, str] = {}
        self._durations_s: dict[str, float] = {}
        self._failed: set[str] = set()
        self._coverage = Coverage(data_file=None, source=[str(ROOT / "src")], config_file=False)
        self._coverage.start()

    @pytest.hookimpl(wrapper=True)
    def pytest_runtest_protocol(self, item: pytest.Item) -> Generator[None, object, object]:
        started_s = time.perf_counter()
        test = self._names[item.nodeid] = _name_test(item)
        self._coverage.switch_context(test)
        result = yield
        self._durations_s[test] = round(time.perf_counter() - started_s, 4)
        return result

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed:
            self._failed.add(self._names[report.nodeid])

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
        _write_map(self._path, found)


def _name_test(item: pytest.Item) -> str:
    """Return the name of a test without the group that pytest-xdist appends to it."""
    groups = {str(mark.args[0]) for mark in item.iter_markers("xdist_group")}
    return item.nodeid.removesuffix(f"@{'_'.join(sorted(groups))}") if groups else item.nodeid


class _Merger:
    """The controller of a parallel run, which runs no test itself."""

    def __init__(self, path: Path) -> None:
        self._path = path
        for part in self._list_parts():
            part.unlink()

    def _list_parts(self) -> list[Path]:
        return sorted(self._path.parent.glob(f"{self._path.name}.gw*"))

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self) -> None:
        """Merge the parts; each worker has written its own by now."""
        merged = CoverageMap()
        for part in self._list_parts():
            merged.add(read_map(part))
            part.unlink()
        _write_map(self._path, merged)


def _write_map(path: Path, coverage: CoverageMap) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.json.encode(coverage))


def pytest_configure(config: pytest.Config) -> None:
    """Begin to record, before any module of the package is imported."""
    path = Path(os.environ[VARIABLE])
    if worker := os.environ.get("PYTEST_XDIST_WORKER"):
        config.pluginmanager.register(_Recorder(path.with_name(f"{path.name}.{worker}")))
    elif getattr(config.option, "numprocesses", None):
        # After the session of pytest-xdist, which ends when its workers have ended.
        config.pluginmanager.register(_Merger(path))
    else:
        config.pluginmanager.register(_Recorder(path))
