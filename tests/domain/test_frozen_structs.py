"""Values of the domain are immutable, so that threads and caches may share them."""

import importlib
import pkgutil
import sys
from collections.abc import Iterator

import msgspec
import pytest

import spawn.domain

pytestmark = pytest.mark.core


RUNNING_STATE = {"CashAccounts", "LedgerState", "ReserveAccount", "TrancheAccount"}
"""Accounts of a waterfall on its way from period to period; none outlives the call."""


def list_structs(parent: type[msgspec.Struct]) -> Iterator[type[msgspec.Struct]]:
    for child in parent.__subclasses__():
        yield child
        yield from list_structs(child)


def is_public(struct: type[msgspec.Struct]) -> bool:
    """Tell the classes of a module from those that are made while it runs."""
    is_named = getattr(sys.modules[struct.__module__], struct.__name__, None) is struct
    return is_named and not struct.__name__.startswith("_")


def test_every_public_struct_of_the_domain_is_frozen() -> None:
    for module in pkgutil.walk_packages(spawn.domain.__path__, "spawn.domain."):
        importlib.import_module(module.name)
    public = {
        struct
        for struct in list_structs(msgspec.Struct)
        if struct.__module__.startswith("spawn.domain.") and is_public(struct)
    }
    assert len(public) > 100
    mutable = {struct.__name__ for struct in public if not struct.__struct_config__.frozen}
    assert mutable == RUNNING_STATE
