"""Mutation run: change the source in one place at a time, and see whether a fast test fails.

    python -m tests.mutation [--base REF | PATH ...] [--sample N] [--seed N] [--tests PATH ...]

Without paths, the lines that differ from a base are changed. The library mutmut was not taken: its
third version leaves alone whatever is outside of functions, and that is where limits are.
"""

import argparse
import ast
import os
import random
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from multiprocessing.connection import wait
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
from tests.mutation.coverage_map import ROOT, VARIABLE, CoverageMap, read_map
from tests.mutation.mutants import Mutant, build_mutant, list_mutants
from tests.mutation.trial import Trial, import_third_parties

BUILD: Final = ROOT / "build" / "mutation"
MAP: Final = BUILD / "coverage.json"
REPORT: Final = BUILD / "report.jsonl"
EQUIVALENT: Final = Path(__file__).with_name("equivalent.txt")
FIRST_TESTS: Final = 12
"""Tests of the first trial of a mutant: the nearest and quickest; most mutants end there."""

MAX_TESTS: Final = 150
"""Tests of one mutant: what the nearest do not notice, no distant one is meant to notice."""

FAST: Final = "not slow and not real"
JUDGES_OF_EVERY_MODULE: Final = frozenset(
    {
        "tests/house/test_frozen_structs.py",
        "tests/house/test_recorded_enumerations.py",
        "tests/http/access/test_declared_row_scopes.py",
        "tests/http/test_openapi_surface.py",
        "tests/limits/test_limits.py",
    }
)
"""Files of tests that judge what the import of any module defines."""


class Result(msgspec.Struct):
    """Outcome of one mutant: killed, timeout, survived, untested or equivalent."""

    key: str
    line: int
    outcome: str
    tests: int


class Choice(NamedTuple):
    """A mutant and the tests that may kill it, the nearest and quickest first."""

    mutant: Mutant
    tests: list[str]
    durations_s: list[float]

    def limit_s(self, begin: int, end: int) -> float:
        """Return the time in which some of the tests end, unless they hang."""
        return 60 + 5 * sum(self.durations_s[begin:end])


def main() -> int:
    """Run the mutants that the arguments choose; return 1 if any of them survived."""
    options = _read_arguments()
    mutants = _choose_mutants(options)
    print(f"{len(mutants)} mutants; repeat with --sample {options.sample} --seed {options.seed}")
    if options.list or not mutants:
        print(*(f"{mutant.path}:{mutant.line}: {mutant.key()}" for mutant in mutants), sep="\n")
        return 0
    if options.remap or not MAP.exists():
        _record_map(options.tests)
    known = _read_report() if options.resume else {}
    REPORT.parent.mkdir(parents=True, exist_ok=True)
    results = list(MutationRun(mutants, known, options.workers))
    _print_summary(results)
    return int(any(result.outcome in {"survived", "untested"} for result in results))


def _read_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutation", description=__doc__)
    parser.add_argument("paths", nargs="*", help="modules or folders to change")
    parser.add_argument("--base", default="main", help="change the lines that differ from it")
    parser.add_argument("--sample", type=int, default=100, help="number of mutants, 0 for all")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--workers", type=int, default=1, help="mutants that are tried at once")
    parser.add_argument("--tests", nargs="+", default=[], help="tests to map, instead of all")
    parser.add_argument("--remap", action="store_true", help="record the coverage map again")
    parser.add_argument("--resume", action="store_true", help="skip the mutants of the last report")
    parser.add_argument("--list", action="store_true", help="list the mutants and run none")
    return parser.parse_args()


# -- choice of mutants ----------------------------------------------------------------------


def _choose_mutants(options: argparse.Namespace) -> list[Mutant]:
    """Return the sample, in the order of the source."""
    changed = (
        None if options.paths else changed_lines(_git("diff", "-U0", options.base, "--", "src"))
    )
    paths = _list_modules(options.paths) if changed is None else changed
    mutants = [
        mutant
        for path in paths
        for mutant in list_mutants(path, (ROOT / path).read_text())
        if changed is None or mutant.line in changed[path]
    ]
    if 0 < options.sample < len(mutants):
        mutants = random.Random(options.seed).sample(mutants, options.sample)
    return sorted(mutants)


def _list_modules(paths: Iterable[str]) -> list[str]:
    files = {
        file
        for path in paths
        for file in [*(ROOT / path).rglob("*.py"), ROOT / path]
        if file.is_file()
    }
    return sorted(str(file.relative_to(ROOT)) for file in files)


def changed_lines(diff: str) -> dict[str, set[int]]:
    """Return the new or changed lines of each module in a unified diff without context."""
    lines: dict[str, set[int]] = {}
    path = ""
    for line in diff.splitlines():
        if line.startswith("+++ "):
            path = line.removeprefix("+++ b/")
        elif hunk := re.match(r"@@ -\S+ \+(\d+)(?:,(\d+))? @@", line):
            first, count = int(hunk[1]), int(hunk[2] or 1)
            if path.endswith(".py") and count:
                lines.setdefault(path, set()).update(range(first, first + count))
    return lines


def _git(*arguments: str) -> str:
    command = ["git", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout


# -- choice of tests ------------------------------------------------------------------------


def _record_map(paths: list[str]) -> None:
    """Run the fast tests below the paths once and record which lines they run."""
    print("Recording which test runs which line", flush=True)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.mutation.coverage_map"]
    command += ["-n", str(os.cpu_count() or 1), "--dist", "loadgroup"]
    command += ["-m", FAST, "--hypothesis-profile=mutation", *paths]
    environment = {**os.environ, VARIABLE: str(MAP), "PYTHONPATH": f"{ROOT}:{ROOT / 'src'}"}
    subprocess.run(command, check=False, cwd=ROOT, env=environment)


class TestChooser:
    """Chooses the tests of a mutant by the coverage map."""

    __test__ = False

    def __init__(self, coverage: CoverageMap) -> None:
        self._map = coverage
        self._texts = {
            str(p.relative_to(ROOT)): p.read_text() for p in (ROOT / "src").rglob("*.py")
        }

    def choose(self, mutant: Mutant) -> list[int]:
        """Return the tests that may notice a mutant, the nearest and quickest first."""
        path = mutant.path
        tests = set[int]()
        if self._map.sources.get(path) == self._texts[path]:
            for line in {mutant.line, mutant.statement_line}:
                tests |= self._map.tests_of_line(path, line)
            # What runs at import belongs to no test: those of its users and its nearest files.
            tests = tests or self._tests_at_import(mutant)
        tests = tests or self._map.tests_of_module(path)
        ranked = sorted(tests, key=lambda test: self._rank(path, test))
        # Judges of every module are distant from most, and count beyond the nearest tests.
        judges = [t for t in ranked[MAX_TESTS:] if self._is_judge(t)]
        return ranked[:MAX_TESTS] + judges

    def _is_judge(self, test: int) -> bool:
        return _file(self._map.tests[test]) in JUDGES_OF_EVERY_MODULE

    def _tests_at_import(self, mutant: Mutant) -> set[int]:
        """Return the tests of a line that runs at import."""
        files = self._nearest_files(mutant.path) | JUDGES_OF_EVERY_MODULE
        tests = {number for number, test in enumerate(self._map.tests) if _file(test) in files}
        return tests | self._tests_of_users(mutant)

    def _nearest_files(self, path: str) -> set[str]:
        """Return the nearest files of tests among those that run a module."""
        tests = self._map.tests_of_module(path)
        nearest = min((self._rank(path, test)[0] for test in tests), default=0)
        return {_file(self._map.tests[t]) for t in tests if self._rank(path, t)[0] == nearest}

    def _tests_of_users(self, mutant: Mutant) -> set[int]:
        """Return the tests that use the name that a line outside of functions defines."""
        line = self._texts[mutant.path].splitlines()[mutant.statement_line - 1]
        name = re.match(r"\s*(\w+)\s*[:=]", line)
        word = name[1] if name else mutant.scope.rpartition(".")[2]
        if not word:
            return set()
        pattern = re.compile(rf"\b{re.escape(word)}\b")
        return {
            test
            for path, text in self._texts.items()
            for number, line in enumerate(text.splitlines(), 1)
            if pattern.search(line)
            for test in self._map.tests_of_line(path, number)
        }

    def _rank(self, path: str, test: int) -> tuple[int, float]:
        shared = set(Path(path).with_suffix("").parts) & set(_folders(self._map.tests[test]))
        return (-len(shared), self._map.durations_s[test])


def _file(test: str) -> str:
    return test.partition("::")[0]


def _folders(test: str) -> list[str]:
    parts = Path(_file(test)).with_suffix("").parts
    return [*parts[:-1], parts[-1].removeprefix("test_")]


# -- running --------------------------------------------------------------------------------


class MutationRun:
    """A run over some mutants, several at once; iteration yields each result."""

    def __init__(self, mutants: list[Mutant], known: dict[str, Result], workers: int) -> None:
        self._map = read_map(MAP)
        self._chooser = TestChooser(self._map)
        self._equivalent = read_equivalent()
        self._known = known
        self._workers = workers
        self._waiting = list(reversed(mutants))
        self._running: dict[int, tuple[Trial, Choice, int]] = {}
        self._number = len(mutants)
        self._done = 0
        import_third_parties()
        self._check_that_tests_pass(mutants)

    def _check_that_tests_pass(self, mutants: list[Mutant]) -> None:
        """Raise RuntimeError if the tests of the first tested mutant fail without its change."""
        choices = (self._choose_tests(mutant) for mutant in mutants)
        choice = next((choice for choice in choices if choice.tests), None)
        if choice is None:
            return
        mutant = choice.mutant
        tree = ast.parse((ROOT / mutant.path).read_text())
        limit_s = choice.limit_s(0, FIRST_TESTS)
        trial = Trial(mutant.path, tree, choice.tests[:FIRST_TESTS], limit_s)
        while not trial.is_over():
            wait([trial.sentinel], trial.remaining_s())
        if trial.outcome() != "survived":
            raise RuntimeError(f"Tests fail without a change: {choice.tests[:FIRST_TESTS]}")

    def __iter__(self) -> Iterator[Result]:
        while self._waiting or self._running:
            while self._waiting and len(self._running) < self._workers:
                yield from self._begin(self._waiting.pop())
            remaining_s = min((t.remaining_s() for t, _, _ in self._running.values()), default=0)
            wait(self._running, remaining_s)
            for sentinel in list(self._running):
                yield from self._end(sentinel)

    def _begin(self, mutant: Mutant) -> Iterator[Result]:
        """Start the first trial of a mutant, or yield a result that needs none."""
        key = mutant.key()
        choice = self._choose_tests(mutant)
        if key in self._equivalent:
            yield self._finish(choice, "equivalent", 0)
        elif key in self._known:
            yield self._finish(choice, self._known[key].outcome, self._known[key].tests)
        elif not choice.tests:
            yield self._finish(choice, "untested", 0)
        else:
            self._start(choice, 0, FIRST_TESTS)

    def _choose_tests(self, mutant: Mutant) -> Choice:
        tests = self._chooser.choose(mutant)
        durations_s = [self._map.durations_s[test] for test in tests]
        return Choice(mutant, [self._map.tests[test] for test in tests], durations_s)

    def _start(self, choice: Choice, begin: int, end: int) -> None:
        mutant = choice.mutant
        tree = build_mutant((ROOT / mutant.path).read_text(), mutant.number)
        limit_s = choice.limit_s(begin, end)
        trial = Trial(mutant.path, tree, choice.tests[begin:end], limit_s)
        self._running[trial.sentinel] = (trial, choice, end)

    def _end(self, sentinel: int) -> Iterator[Result]:
        """Yield the result of a trial that is over; start the trial of the remaining tests."""
        trial, choice, tried = self._running[sentinel]
        if not trial.is_over():
            return
        del self._running[sentinel]
        outcome = trial.outcome()
        if outcome == "survived" and tried < len(choice.tests):
            self._start(choice, tried, len(choice.tests))
        else:
            yield self._finish(choice, outcome, min(tried, len(choice.tests)))

    def _finish(self, choice: Choice, outcome: str, tests: int) -> Result:
        self._done += 1
        result = Result(choice.mutant.key(), choice.mutant.line, outcome, tests)
        with REPORT.open("ab") as report:
            report.write(msgspec.json.encode(result) + b"\n")
        progress = f"{time.strftime('%H:%M:%S')} {self._done:>4}/{self._number}"
        print(f"{progress} {outcome:10} {result.line}: {result.key}", flush=True)
        return result


# -- reports --------------------------------------------------------------------------------


def read_equivalent() -> frozenset[str]:
    """Return the keys of the mutants that were judged to change nothing."""
    lines = EQUIVALENT.read_text().splitlines()
    return frozenset(line for line in lines if line and not line.startswith("#"))


def _read_report() -> dict[str, Result]:
    if not REPORT.exists():
        return {}
    lines = REPORT.read_bytes().splitlines()
    results = [msgspec.json.decode(line, type=Result) for line in lines]
    return {result.key: result for result in results}


def _print_summary(results: list[Result]) -> None:
    counts = Counter(result.outcome for result in results)
    for result in results:
        if result.outcome in {"survived", "untested"}:
            print(f"{result.outcome:10} {result.line}: {result.key}")
    killed = counts["killed"] + counts["timeout"]
    judged = counts.total() - counts["equivalent"]
    print(dict(counts), f"{killed} of {judged} killed: {killed / max(judged, 1):.1%}")


if __name__ == "__main__":
    sys.exit(main())
