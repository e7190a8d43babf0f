"""The core depends on msgspec alone, and on NumPy for vectorised finance."""

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.core

_PROBE = """
import importlib, json, pkgutil, sys
# The interpreter loads some modules at its start (path hooks of editable installs).
before = set(sys.modules)
import spawn.domain
VECTORISED = [
    "spawn.domain.finance.simulation.vectorized",
    "spawn.domain.finance.simulation.monte_carlo",
    "spawn.domain.finance.simulation.debt_cover",
]
names = [m.name for m in pkgutil.walk_packages(spawn.domain.__path__, "spawn.domain.")]
for name in names:
    if name not in VECTORISED:
        importlib.import_module(name)
alone = set(sys.modules) - before
for name in VECTORISED:
    importlib.import_module(name)
with_batch = set(sys.modules) - before - alone
def packages(modules):
    roots = {module.partition(".")[0] for module in modules}
    return sorted(root for root in roots if root not in sys.stdlib_module_names)
def layers_of(modules):
    return sorted(m for m in modules if m.split(".")[:1] == ["spawn"] and m.count(".") == 1)
print(json.dumps([packages(alone), packages(with_batch), layers_of(alone), len(names)]))
"""


def test_the_core_imports_nothing_but_msgspec() -> None:
    command = [sys.executable, "-W", "error", "-c", _PROBE]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    alone, with_batch, layers, count = json.loads(run.stdout)
    # msgspec itself imports typing_extensions if it is installed.
    assert set(alone) - {"typing_extensions"} == {"msgspec", "spawn"}
    # NumPy's random module imports the Cython runtime that it is compiled with.
    foreign = {name for name in with_batch if "cython" not in name}
    assert foreign <= {"numpy", "spawn"}
    assert layers == ["spawn.domain"]
    assert count >= 20
