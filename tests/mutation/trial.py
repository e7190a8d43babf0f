"""Trial of one mutant: a forked process imports the changed module and runs chosen tests.

The parent has imported every third-party package, and nothing of ours. A fork costs half a second
where a new interpreter costs three.
"""

import ast
import contextlib
import gc
import importlib
import importlib.machinery
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from multiprocessing.context import ForkProcess
from pathlib import Path
from types import CodeType
from typing import Any, Final

import pytest

ROOT: Final = Path(__file__).parents[2]
_MEMORY_BYTES: Final = 8 * 1024**3
_BROKEN: Final = 70
"""Exit code of a trial in which pytest itself failed."""

_OPTIONS: Final = (
    *("-q", "-x", "--hypothesis-profile=mutation", "-o", "faulthandler_timeout=0"),
    *("-W", "ignore::pytest.PytestAssertRewriteWarning"),  # the parent has imported the plugins
)
_PLUGINS_LEFT_OUT: Final = ("cacheprovider", "xdist", "schemathesis", "faker", "anyio")


def import_third_parties() -> None:
    """Import all modules that the service and its tests need, except our own."""
    code = (
        "import sys, spawn.entrypoints.cli, spawn.entrypoints.http.server, "
        "spawn.testing.storage_contract.properties; print(*sys.modules)"
    )
    command = [sys.executable, "-c", code]
    output = subprocess.run(command, check=True, capture_output=True, text=True, cwd=ROOT).stdout
    for name in output.split():
        if not name.startswith(("spawn", "__main__")):
            with contextlib.suppress(ImportError):
                importlib.import_module(name)
    gc.freeze()


class Trial:
    """A running trial; `outcome` is known once the process has ended."""

    def __init__(self, path: str, tree: ast.Module, tests: Sequence[str], limit_s: float) -> None:
        self._deadline_s = time.monotonic() + limit_s
        self._process = ForkProcess(target=_run, args=(path, tree, tests))
        self._process.start()
        self.sentinel = self._process.sentinel

    def remaining_s(self) -> float:
        """Return the time until the deadline."""
        return max(0.0, self._deadline_s - time.monotonic())

    def is_over(self) -> bool:
        """Whether the process has ended; end it if its deadline has passed."""
        if self._process.is_alive() and self.remaining_s() == 0.0:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid or 0, signal.SIGKILL)
            self._process.join()
        return not self._process.is_alive()

    def outcome(self) -> str:
        """Return `survived`, `killed` or `timeout`."""
        code = self._process.exitcode
        if code == _BROKEN:
            raise RuntimeError("The tests could not be started; run pytest to see why.")
        if code == -signal.SIGKILL:
            return "timeout"
        # A change may break an import, too: then no test is collected, which is another code.
        return "survived" if code == pytest.ExitCode.OK else "killed"


def _run(path: str, tree: ast.Module, tests: Sequence[str]) -> None:
    """Run the tests with the changed module, in this process, and leave with pytest's code."""
    os.setpgid(0, 0)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_BYTES, _MEMORY_BYTES))
    null_device = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null_device, descriptor)
    _replace_module(str(ROOT / path), tree)
    files = dict.fromkeys(test.partition("::")[0] for test in tests)
    arguments = [*_OPTIONS, *(part for name in _PLUGINS_LEFT_OUT for part in ("-p", f"no:{name}"))]
    code: int = _BROKEN
    try:
        code = pytest.main([*arguments, *files], plugins=[_Selection(tests)])
    finally:
        os._exit(code)


def _replace_module(file: str, tree: ast.Module) -> None:
    """Make the import of a file give the changed code."""
    original = importlib.machinery.SourceFileLoader.get_code
    changed = compile(tree, file, "exec", dont_inherit=True)

    def get_code(self: Any, fullname: str) -> CodeType | None:
        return changed if self.path == file else original(self, fullname)

    importlib.machinery.SourceFileLoader.get_code = get_code  # type: ignore[method-assign]


class _Selection:
    """Pytest plugin that runs only some tests, in the given order."""

    def __init__(self, tests: Sequence[str]) -> None:
        self._ranks = {test: rank for rank, test in enumerate(tests)}

    @pytest.hookimpl(trylast=True)
    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        chosen = [item for item in items if item.nodeid in self._ranks]
        items[:] = sorted(chosen, key=lambda item: self._ranks[item.nodeid])
