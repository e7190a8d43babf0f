"""Members of enumerations and literal types are recorded: clients and stored documents have them.

`python -m tests.house.test_recorded_enumerations` writes the record anew.
"""

import enum
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final, Literal, get_args, get_origin

import spawn

RECORD: Final = Path(__file__).with_name("recorded_enumerations.txt")


def list_members() -> list[str]:
    """Return each member with its class and value, and each value of a literal type."""
    return sorted(set(_find_members()))


def _find_members() -> Iterator[str]:
    for info in pkgutil.walk_packages(spawn.__path__, "spawn."):
        if info.name.endswith(".__main__"):
            continue
        module = importlib.import_module(info.name)
        for name, value in sorted(vars(module).items()):
            is_enumeration = isinstance(value, type) and issubclass(value, enum.Enum)
            if is_enumeration and value.__module__ == module.__name__:
                yield from (f"{name}.{one.name} = {one.value}" for one in value)
            if get_origin(value) is Literal:
                yield from (f"{name} may be {one!r}" for one in get_args(value))


def test_every_member_has_its_recorded_value() -> None:
    """Further members are compatible; none on record changes or goes."""
    recorded = RECORD.read_text().splitlines()
    assert len(recorded) > 100
    assert set(recorded) - set(list_members()) == set()


if __name__ == "__main__":
    RECORD.write_text("".join(f"{line}\n" for line in list_members()))
    sys.stdout.write("Review the difference: clients and stored documents contain these values.\n")
