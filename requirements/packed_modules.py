"""Finder of extension modules that the image holds compressed, and unpacks to memory.

A `.pth` file imports it at the start of each process. It finds what no other finder finds, so it
costs an ordinary import nothing.
"""

import os
import sys
from collections.abc import Sequence
from importlib.machinery import ExtensionFileLoader, ModuleSpec
from importlib.util import spec_from_file_location
from types import ModuleType

SUFFIX = ".abi3.so.xz"


class PackedModuleFinder:
    """Finds `package/module.abi3.so.xz`, and unpacks it to a file in memory.

    It is never unpacked to a disk, where another process could change it, and where a file system
    may forbid code.
    """

    @staticmethod
    def find_spec(
        name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Return the spec of a compressed module of a package; None if there is none."""
        del target
        tail = name.rpartition(".")[2]
        for folder in path or ():
            packed = os.path.join(folder, tail + SUFFIX)  # noqa: PTH118 - imported at each start
            if os.path.exists(packed):  # noqa: PTH110 - likewise
                memory = _unpack(packed)
                return spec_from_file_location(
                    name, memory, loader=ExtensionFileLoader(name, memory)
                )
        return None


def _unpack(packed: str) -> str:
    """Return the path of the unpacked file, which is open as long as the process."""
    import lzma  # a process that needs no such module pays for none

    descriptor = os.memfd_create(os.path.basename(packed))  # noqa: PTH119 - likewise
    with open(descriptor, "wb", closefd=False) as file, lzma.open(packed) as source:
        file.write(source.read())
    return f"/proc/self/fd/{descriptor}"


sys.meta_path.append(PackedModuleFinder)
