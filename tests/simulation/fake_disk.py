"""A disk in memory that loses what was not synced, tears writes, fills up and fails to sync.

It has the calls of `os` and the methods of `Path` that the modules under test use. What is volatile
and what is durable are apart. A crash keeps what is durable, any part of the writes of each file
that were not synced, in sectors, and a prefix of the changes of each folder.
"""

import errno
import io
import os
from collections.abc import Iterator
from pathlib import PurePosixPath
from random import Random
from typing import Any, Final

_SECTOR: Final = 512


class PowerCut(BaseException):
    """The machine loses power at this step; not an error that any code may handle."""


class _File:
    """Content of a file: as programs see it, as it is on the disk, and the writes between."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.durable = bytearray()
        self.unsynced: list[tuple[int, bytes]] = []

    def write(self, offset: int, content: bytes) -> None:
        _put(self.seen, offset, content)
        self.unsynced.append((offset, content))

    def sync(self) -> None:
        self.durable = bytearray(self.seen)
        self.unsynced.clear()

    def crash(self, random: Random) -> None:
        """Keep any sectors of the writes that were not synced."""
        content = self.durable
        for offset, written in self.unsynced:
            for start in range(0, len(written), _SECTOR):
                if random.random() < 0.5:
                    _put(content, offset + start, written[start : start + _SECTOR])
        self.seen = bytearray(content)
        self.unsynced.clear()


class _Folder:
    """Entries of a folder: as programs see them, as they are on the disk, and the changes."""

    def __init__(self) -> None:
        self.seen: dict[str, _Node] = {}
        self.durable: dict[str, _Node] = {}
        self.unsynced: list[tuple[tuple[str, _Node | None], ...]] = []

    def change(self, *entries: "tuple[str, _Node | None]") -> None:
        """Set or remove entries, together as a rename does."""
        _apply(self.seen, entries)
        self.unsynced.append(entries)

    def sync(self) -> None:
        self.durable = dict(self.seen)
        self.unsynced.clear()

    def crash(self, random: Random) -> None:
        for entries in self.unsynced[: random.randint(0, len(self.unsynced))]:
            _apply(self.durable, entries)
        self.unsynced.clear()
        self.seen = dict(self.durable)


_Node = _File | _Folder


def _put(content: bytearray, offset: int, written: bytes) -> None:
    if len(content) < offset:
        content.extend(bytes(offset - len(content)))
    content[offset : offset + len(written)] = written


def _apply(names: dict[str, _Node], entries: tuple[tuple[str, _Node | None], ...]) -> None:
    for name, node in entries:
        if node is None:
            names.pop(name, None)
        else:
            names[name] = node


class FakeDisk:
    """File system with faults. `steps` counts its operations, each of which may be the last.

    Args:
        random: chooses what a crash keeps.
        cut_after: operations until the power fails; None for never.
        faults: for some operations by their number, the error that they raise.
    """

    def __init__(self, random: Random) -> None:
        self.steps = 0
        self.cut_at: int | None = None
        self.faults: dict[int, int] = {}
        self._random = random
        self._root = _Folder()
        self._open: dict[int, tuple[_Node, str]] = {}
        self._locks: dict[int, _Node] = {}
        self._next_descriptor = 3

    def step(self, *possible: int) -> None:
        """Count an operation; raise what is due, if the operation may fail with it."""
        self.steps += 1
        if self.steps == self.cut_at:
            raise PowerCut
        number = self.faults.get(self.steps)
        if number in possible:
            raise OSError(number, os.strerror(number))

    def crash(self) -> None:
        """Lose what is not durable, and end every program."""
        folders = [self._root]
        while folders:
            folder = folders.pop()
            folder.crash(self._random)
            for node in folder.seen.values():
                if isinstance(node, _Folder):
                    folders.append(node)
                else:
                    node.crash(self._random)
        self.kill()

    def kill(self) -> None:
        """End every program; what it wrote stays in the cache of the system."""
        self._open.clear()
        self._locks.clear()
        self.cut_at = None
        self.faults.clear()

    # -- names ------------------------------------------------------------------------------

    def _find(self, path: str) -> _Node:
        node: _Node = self._root
        for name in path.strip("/").split("/"):
            if not name:
                continue
            if not isinstance(node, _Folder) or name not in node.seen:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), path)
            node = node.seen[name]
        return node

    def _parent(self, path: str) -> tuple[_Folder, str]:
        folder, _, name = path.rstrip("/").rpartition("/")
        node = self._find(folder)
        assert isinstance(node, _Folder)
        return node, name

    def find(self, path: str) -> _Node | None:
        """Return a file or folder; None if there is none."""
        try:
            return self._find(path)
        except FileNotFoundError:
            return None

    def names(self, path: str) -> list[str]:
        """Return the sorted names in a folder."""
        node = self._find(path)
        assert isinstance(node, _Folder)
        return sorted(node.seen)

    def mkdir(self, path: str, *, parents: bool, exist_ok: bool) -> None:
        """Create a folder."""
        if self.find(path) is not None:
            if exist_ok:
                return
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), path)
        parent = path.rpartition("/")[0]
        if parents and parent:
            self.mkdir(parent, parents=True, exist_ok=True)
        self.step(errno.ENOSPC)
        folder, name = self._parent(path)
        folder.change((name, _Folder()))

    def rename(self, source: str, target: str) -> None:
        """Rename a file within its folder, in one change."""
        self.step(errno.ENOSPC)
        folder, old = self._parent(source)
        other, new = self._parent(target)
        assert folder is other
        folder.change((old, None), (new, folder.seen[old]))

    def unlink(self, path: str) -> None:
        """Remove a file."""
        self._find(path)
        self.step()
        folder, name = self._parent(path)
        folder.change((name, None))

    # -- the calls of `os` ------------------------------------------------------------------

    def open(self, path: object, flags: int, _mode: int = 0o600) -> int:
        """Open a file or folder."""
        text = str(path)
        node = self.find(text)
        self.step(*((errno.ENOSPC,) if node is None else ()))
        if node is None:
            if not flags & os.O_CREAT:
                raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), text)
            folder, name = self._parent(text)
            node = _File()
            folder.change((name, node))
        elif flags & os.O_EXCL:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), text)
        self._next_descriptor += 1
        self._open[self._next_descriptor] = (node, text)
        return self._next_descriptor

    def close(self, descriptor: int) -> None:
        """Close a descriptor, and release its lock."""
        self._open.pop(descriptor, None)
        self._locks.pop(descriptor, None)

    def pread(self, descriptor: int, size: int, offset: int) -> bytes:
        """Read at an offset."""
        return bytes(self._file(descriptor).seen[offset : offset + size])

    def pwrite(self, descriptor: int, content: bytes, offset: int) -> int:
        """Write at an offset."""
        self.step(errno.ENOSPC)
        self._file(descriptor).write(offset, content)
        return len(content)

    def write(self, descriptor: int, content: bytes) -> int:
        """Append."""
        return self.pwrite(descriptor, content, len(self._file(descriptor).seen))

    def fsync(self, descriptor: int) -> None:
        """Make a file or folder durable.

        A failure drops the pages of a file: they are never written, although programs see them.
        """
        node, _ = self._open[descriptor]
        try:
            self.step(errno.EIO)
        except OSError:
            if isinstance(node, _File):
                node.unsynced.clear()
            raise
        node.sync()

    def _file(self, descriptor: int) -> _File:
        node, _ = self._open[descriptor]
        assert isinstance(node, _File)
        return node

    def flock(self, descriptor: int, _operation: int) -> None:
        """Take a lock that nobody else has."""
        node, _ = self._open[descriptor]
        if any(node is other for other in self._locks.values()):
            raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))
        self._locks[descriptor] = node

    def truncate(self, path: str, size: int) -> None:
        """Cut a file behind the back of every program, durably."""
        node = self._find(path)
        assert isinstance(node, _File)
        del node.seen[size:]
        node.sync()


class FakeOs:
    """Module `os` over a disk; constants and everything pure are the real ones."""

    def __init__(self, disk: FakeDisk) -> None:
        for name in ("open", "close", "pread", "pwrite", "write", "fsync"):
            setattr(self, name, getattr(disk, name))
        self._disk = disk

    def scandir(self, folder: object) -> "_Entries":
        """List a folder."""
        return _Entries(self._disk, str(folder))

    def __getattr__(self, name: str) -> Any:
        return getattr(os, name)


class FakeFcntl:
    """Module `fcntl` over a disk."""

    LOCK_EX = LOCK_NB = 0

    def __init__(self, disk: FakeDisk) -> None:
        self.flock = disk.flock


class _Entry:
    def __init__(self, disk: FakeDisk, folder: str, name: str) -> None:
        self.name, self.path = name, f"{folder}/{name}"
        self._disk = disk

    def is_dir(self) -> bool:
        return isinstance(self._disk.find(self.path), _Folder)


class _Entries:
    def __init__(self, disk: FakeDisk, folder: str) -> None:
        self._entries = [_Entry(disk, folder, name) for name in disk.names(folder)]

    def __enter__(self) -> Iterator[_Entry]:
        return iter(self._entries)

    def __exit__(self, *_: object) -> None:
        pass


class FakePath(PurePosixPath):
    """Path on the disk of the running simulation."""

    disk: FakeDisk

    def resolve(self) -> "FakePath":
        return self

    def exists(self) -> bool:
        return self.disk.find(str(self)) is not None

    def is_dir(self) -> bool:
        return isinstance(self.disk.find(str(self)), _Folder)

    def read_bytes(self) -> bytes:
        node = self.disk._find(str(self))
        assert isinstance(node, _File)
        return bytes(node.seen)

    def open(self, _mode: str) -> io.BytesIO:
        return io.BytesIO(self.read_bytes())

    def write_bytes(self, content: bytes) -> None:
        descriptor = self.disk.open(self, os.O_WRONLY | os.O_CREAT)
        node = self.disk._file(descriptor)
        node.seen.clear()
        node.durable.clear()
        self.disk.write(descriptor, content)
        self.disk.close(descriptor)

    def replace(self, target: object) -> "FakePath":
        self.disk.rename(str(self), str(target))
        return FakePath(str(target))

    def unlink(self, missing_ok: bool = False) -> None:  # noqa: FBT001, FBT002 -- as `Path`
        if self.exists() or not missing_ok:
            self.disk.unlink(str(self))

    def rmdir(self) -> None:
        if self.disk.names(str(self)):
            raise OSError(errno.ENOTEMPTY, os.strerror(errno.ENOTEMPTY))
        self.disk.unlink(str(self))

    def mkdir(
        self,
        mode: int = 0o777,
        parents: bool = False,  # noqa: FBT001, FBT002 -- as `Path`
        exist_ok: bool = False,  # noqa: FBT001, FBT002 -- as `Path`
    ) -> None:
        assert mode
        self.disk.mkdir(str(self), parents=parents, exist_ok=exist_ok)

    def glob(self, pattern: str) -> Iterator["FakePath"]:
        for name in self.disk.names(str(self)):
            if PurePosixPath(name).match(pattern):
                yield self / name
