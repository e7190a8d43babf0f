"""Disk that loses its power: what may be on it after a cut, given the calls up to there.

A write is on the disk for certain once its file was synced after it, and an entry of a folder once
the folder was. Before that each page of a write may be there or not, whatever its order, and the
last write may be torn. A truncation stands before the writes after it. Entries of the folder become
durable in order, as in a journalling file system.
"""

import hashlib
import os
import random
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from typing import NamedTuple

from tests.power_loss.system_calls import SystemCall

PAGE_BYTES = 4096
SECTOR_BYTES = 512

Image = dict[str, bytes]
"""Content of the files by name, as a restart finds them."""


class Write(NamedTuple):
    offset: int
    data: bytes


class Truncation(NamedTuple):
    size: int


class File:
    """Content that is durable, and changes that are not."""

    def __init__(self) -> None:
        self.durable = b""
        self.pending: list[Write | Truncation] = []
        self.size = 0

    def sync(self) -> None:
        self.durable = self.content()
        self.pending = []

    def content(self) -> bytes:
        """Return the content that every process sees, whether it is durable or not."""
        return apply_changes(self.durable, self.pending)


class Entry(NamedTuple):
    """Change of the folder: a name gets a file, or loses it."""

    name: str
    file: File | None


ContentOf = Callable[[File], bytes]
"""What a file has after a cut."""


def apply_changes(content: bytes, changes: Iterable[Write | Truncation]) -> bytes:
    result = bytearray(content)
    for change in changes:
        if isinstance(change, Truncation):
            del result[change.size :]
            result.extend(bytes(change.size - len(result)))
        else:
            result.extend(bytes(max(0, change.offset - len(result))))
            result[change.offset : change.offset + len(change.data)] = change.data
    return bytes(result)


class OpenFile:
    """Descriptor: its file and its offset."""

    def __init__(self, file: File, *, appends: bool) -> None:
        self.file = file
        self.appends = appends
        self.offset = 0


class Disk:
    """One folder on a disk, as the calls of a process change it."""

    def __init__(self, folder: str) -> None:
        self._folder = folder.rstrip("/") + "/"
        self._descriptors: dict[int, OpenFile] = {}
        self._folders: set[int] = set()
        self._names: dict[str, File] = {}
        self._durable_names: dict[str, File] = {}
        self._entries: list[Entry] = []
        self.syncs = 0
        self.failed_syncs = 0

    def restart_process(self) -> None:
        """Close every descriptor, as the end of a process does."""
        self._descriptors.clear()
        self._folders.clear()

    # -- calls ----------------------------------------------------------------------------------

    def apply(self, call: SystemCall) -> bool:
        """Apply a call; return whether it changed the folder or made a change durable."""
        method = getattr(self, f"_do_{call.name}", None)
        if call.result < 0:
            return self._fail(call)
        if method is None:
            assert not self._concerns_folder(call), f"unknown call: {call.name} {call.arguments}"
            return False
        return bool(method(call))

    def _fail(self, call: SystemCall) -> bool:
        """After a failed sync the system takes the pages that it could not write for clean."""
        if call.name in {"fsync", "fdatasync"}:
            self.failed_syncs += 1
            opened = self._descriptors.get(int(call.arguments[0]))
            if opened is not None:
                opened.file.pending = []
        return False

    def _concerns_folder(self, call: SystemCall) -> bool:
        first = call.arguments[0]
        is_ours = first.lstrip("-").isdigit() and int(first) in self._descriptors
        return is_ours or any(os.fsdecode(t).startswith(self._folder) for t in call.texts[:2])

    def _name(self, text: bytes) -> str | None:
        path = os.fsdecode(text)
        return path.removeprefix(self._folder) if path.startswith(self._folder) else None

    def _do_openat(self, call: SystemCall) -> bool:
        path = os.fsdecode(call.texts[0])
        self._do_close(call, descriptor=call.result)
        if path.rstrip("/") + "/" == self._folder:
            self._folders.add(call.result)
            return False
        name = self._name(call.texts[0])
        if name is None or "O_DIRECTORY" in call.arguments[2]:
            return False
        changed = name not in self._names
        if changed:
            self._names[name] = File()
            self._entries.append(Entry(name, self._names[name]))
        file = self._names[name]
        if "O_TRUNC" in call.arguments[2] and file.size:
            self._truncate(file, 0)
            changed = True
        self._descriptors[call.result] = OpenFile(file, appends="O_APPEND" in call.arguments[2])
        return changed

    def _do_close(self, call: SystemCall, descriptor: int | None = None) -> bool:
        number = int(call.arguments[0]) if descriptor is None else descriptor
        self._descriptors.pop(number, None)
        self._folders.discard(number)
        return False

    def _do_write(self, call: SystemCall) -> bool:
        opened = self._descriptors.get(int(call.arguments[0]))
        if opened is None:
            return False
        if opened.appends:
            opened.offset = opened.file.size
        self._write(opened.file, opened.offset, call)
        opened.offset += call.result
        return True

    def _do_pwrite64(self, call: SystemCall) -> bool:
        opened = self._descriptors.get(int(call.arguments[0]))
        if opened is not None:
            self._write(opened.file, int(call.arguments[3]), call)
        return opened is not None

    @staticmethod
    def _write(file: File, offset: int, call: SystemCall) -> None:
        assert len(call.texts[0]) >= call.result
        file.pending.append(Write(offset, call.texts[0][: call.result]))
        file.size = max(file.size, offset + call.result)

    def _do_lseek(self, call: SystemCall) -> bool:
        opened = self._descriptors.get(int(call.arguments[0]))
        if opened is not None:
            opened.offset = call.result
        return False

    def _do_ftruncate(self, call: SystemCall) -> bool:
        opened = self._descriptors.get(int(call.arguments[0]))
        if opened is not None:
            self._truncate(opened.file, int(call.arguments[1]))
        return opened is not None

    @staticmethod
    def _truncate(file: File, size: int) -> None:
        file.pending.append(Truncation(size))
        file.size = size

    def _do_fsync(self, call: SystemCall) -> bool:
        number = int(call.arguments[0])
        opened = self._descriptors.get(number)
        if opened is not None:
            opened.file.sync()
        elif number in self._folders:
            self._durable_names = dict(self._names)
            self._entries = []
        else:
            return False
        self.syncs += 1
        return True

    _do_fdatasync = _do_fsync

    def _do_unlink(self, call: SystemCall) -> bool:
        name = self._name(call.texts[0])
        if name is None:
            return False
        del self._names[name]
        self._entries.append(Entry(name, None))
        return True

    _do_unlinkat = _do_unlink

    def _do_rename(self, call: SystemCall) -> bool:
        old, new = (self._name(text) for text in call.texts)
        if old is None or new is None:
            assert (old, new) == (None, None), "a file came into the folder or left it"
            return False
        file = self._names[new] = self._names.pop(old)
        self._entries += [Entry(new, file), Entry(old, None)]
        return True

    _do_renameat = _do_renameat2 = _do_rename

    def current_image(self) -> Image:
        """Return the files as every process sees them."""
        return {name: file.content() for name, file in self._names.items()}

    # -- cuts -----------------------------------------------------------------------------------

    def list_images(
        self, randomness: random.Random, shuffles: int, share: float = 1.0
    ) -> Iterator[Image]:
        """Yield images that a cut at this moment may leave, or a share of them."""
        for entries, content in self._list_cuts(randomness, shuffles):
            if randomness.random() < share:
                yield self._build_image(entries, content)

    def _list_cuts(
        self, randomness: random.Random, shuffles: int
    ) -> Iterator[tuple[int, ContentOf]]:
        """Yield durable changes of the folder and contents of its files, extreme ones first."""
        yield len(self._entries), lambda file: file.content()
        yield 0, lambda file: file.durable
        yield len(self._entries), lambda file: file.durable
        yield 0, lambda file: file.content()
        for unit in (PAGE_BYTES, SECTOR_BYTES):
            yield len(self._entries), partial(_tear, randomness=randomness, unit=unit)
        for _ in range(shuffles):
            entries = randomness.randint(0, len(self._entries))
            yield entries, partial(_shuffle, randomness=randomness)

    def _build_image(self, entries: int, content: ContentOf) -> Image:
        names: dict[str, File | None] = {**self._durable_names}
        for entry in self._entries[:entries]:
            names[entry.name] = entry.file
        return {name: content(file) for name, file in names.items() if file is not None}


def _tear(file: File, randomness: random.Random, unit: int) -> bytes:
    """Apply all changes, and of the last write its first units only."""
    if not file.pending or not isinstance(last := file.pending[-1], Write):
        return file.content()
    boundary = (last.offset // unit + 1) * unit - last.offset
    boundaries = [0, *range(boundary, len(last.data), unit)]
    torn = Write(last.offset, last.data[: randomness.choice(boundaries)])
    return apply_changes(file.durable, [*file.pending[:-1], torn])


def _shuffle(file: File, randomness: random.Random) -> bytes:
    """Apply a random part of the pages that were written since the last sync."""
    share = randomness.choice((0.2, 0.5, 0.8))
    first = 0
    truncations = [n for n, change in enumerate(file.pending) if isinstance(change, Truncation)]
    if truncations and randomness.random() < share:
        first = randomness.choice(truncations)
    later = next((n for n in truncations if n > first), len(file.pending))
    changes: list[Write | Truncation] = []
    for change in file.pending[first:later]:
        if isinstance(change, Truncation):
            changes.append(change)
        else:
            changes += [page for page in _pages(change) if randomness.random() < share]
    return apply_changes(file.durable, changes)


def _pages(write: Write) -> Iterator[Write]:
    begin = 0
    while begin < len(write.data):
        end = min(len(write.data), begin + PAGE_BYTES - (write.offset + begin) % PAGE_BYTES)
        yield Write(write.offset + begin, write.data[begin:end])
        begin = end


def digest(image: Image) -> bytes:
    """Return a digest of names and contents."""
    sha = hashlib.sha256()
    for name in sorted(image):
        sha.update(b"%s\0%d\0" % (name.encode(), len(image[name])))
        sha.update(image[name])
    return sha.digest()
