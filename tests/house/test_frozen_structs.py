"""Values of every ring are immutable, so that threads and caches may share them."""

import importlib
import pkgutil

import msgspec
from tests.domain.test_frozen_structs import RUNNING_STATE, is_public, list_structs

import spawn

UNFINISHED_RESULTS = {"ChunkResult"}
"""Results that one step of an import fills, before anything else sees them."""


def test_every_public_struct_is_frozen() -> None:
    for module in pkgutil.walk_packages(spawn.__path__, "spawn."):
        if not module.name.endswith(".__main__"):
            importlib.import_module(module.name)
    public = {
        struct
        for struct in list_structs(msgspec.Struct)
        if struct.__module__.startswith("spawn.") and is_public(struct)
    }
    assert len(public) > 250
    mutable = {struct.__name__ for struct in public if not struct.__struct_config__.frozen}
    assert mutable == RUNNING_STATE | UNFINISHED_RESULTS
