"""Replay of a record: every image that a power cut may leave is opened and compared."""

import asyncio
import random
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.power_loss.disk import Disk, Image, digest
from tests.power_loss.system_calls import SystemCall, read_calls, record_calls
from tests.power_loss.workload import read_versions

from spawn.domain.errors import SpawnError

WORKLOAD = Path(__file__).with_name("workload.py")
Versions = dict[tuple[str, str], int]
_TORN_BLOCK = "Corrupt database file: computed checksum"
_WRONG_TAG = "Computed AES tag differs from read AES tag"


@dataclass
class Replay:
    """Figures of a replay, and its violations."""

    calls: int = 0
    syncs: int = 0
    failed_syncs: int = 0
    cuts: int = 0
    images: int = 0
    opened: int = 0
    acknowledged: int = 0
    torn_blocks: int = 0
    """Images that are rejected because the engine had begun to rewrite a block that it uses."""
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return (
            f"{self.calls} calls with {self.syncs} syncs, {self.acknowledged} acknowledgements,"
            f" {self.cuts} cuts, {self.images:,} images of which {self.opened:,} differ,"
            f" {self.torn_blocks} rejected for a torn block, {len(self.violations)} violations"
        )


def record_workload(
    folder: Path, changes: int, inject: str = "", *, is_encrypted: bool = False
) -> str:
    """Run the workload on `folder`/store and record its calls; return its output.

    Further runs on the same folder go on where the one before ended.
    """
    (folder / "store").mkdir(exist_ok=True)
    key = ("encrypted",) if is_encrypted else ()
    arguments = (str(folder / "store" / "s.duckdb"), str(changes), *key)
    record = folder / f"calls-{len(list_records(folder))}"
    return record_calls(WORKLOAD, record, *arguments, inject=inject)


def list_records(folder: Path) -> list[Path]:
    """Return the records of the processes that ran on a folder, in order."""
    return sorted(folder.glob("calls-*"))


class Replayer:
    """Replay of one record, with a folder for the images."""

    def __init__(
        self,
        folder: Path,
        seed: int,
        *,
        shuffles: int,
        share: float = 1.0,
        is_encrypted: bool = False,
    ) -> None:
        self.result = Replay()
        self._folder = folder
        self._seed = seed
        self._shuffles = shuffles
        self._share = share
        self._is_encrypted = is_encrypted
        self._acknowledged: Versions = {}
        self._known: dict[bytes, Versions | str] = {}

    def run(self, report: Callable[[Replay], None] = lambda _: None) -> Replay:
        """Replay the record call by call, with a cut after each change."""
        disk = Disk(str(self._folder / "store"))
        randomness = random.Random(self._seed)
        for record in list_records(self._folder):
            disk.restart_process()
            for call in read_calls(record):
                self.result.calls += 1
                if disk.apply(call) or self._note_acknowledgement(call):
                    self._cut(disk, randomness)
                    report(self.result)
        self.result.syncs, self.result.failed_syncs = disk.syncs, disk.failed_syncs
        return self.result

    def _cut(self, disk: Disk, randomness: random.Random) -> None:
        self.result.cuts += 1
        for image in disk.list_images(randomness, self._shuffles, self._share):
            self._check(image)

    def _note_acknowledgement(self, call: SystemCall) -> bool:
        if call.name != "write" or call.arguments[0] != "1":
            return False
        kind, key, version = call.texts[0].decode().split()[:3]
        if not version.isdigit():
            return False
        self._acknowledged[kind, key] = int(version)
        self.result.acknowledged += 1
        return True

    def _check(self, image: Image) -> None:
        self.result.images += 1
        name = digest(image)
        if name not in self._known:
            self._known[name] = self._open(image)
            self.result.opened += 1
        versions = self._known[name]
        where = f"cut {self.result.cuts}"
        if versions == _TORN_BLOCK:
            self.result.torn_blocks += 1
            return
        if isinstance(versions, str):
            self._violate(f"{where}: {versions}", image)
            return
        lost = {
            key: (version, versions.get(key, 0))
            for key, version in self._acknowledged.items()
            if versions.get(key, 0) < version
        }
        if lost:
            self._violate(f"{where}: acknowledged changes are lost: {lost}", image)

    def _violate(self, sentence: str, image: Image) -> None:
        self.result.violations.append(sentence)
        kept = self._folder / f"violation-{len(self.result.violations)}"
        if len(self.result.violations) <= 5:
            _write(image, kept)

    def _has_torn_tag(self, folder: Path, error: SpawnError) -> bool:
        """Whether a block of an encrypted database has a wrong tag: it then has without the log."""
        if _WRONG_TAG not in str(error.__cause__):
            return False
        (folder / "s.duckdb.wal").unlink(missing_ok=True)
        try:
            asyncio.run(read_versions(folder / "s.duckdb", is_encrypted=True))
        except SpawnError as again:
            return _WRONG_TAG in str(again.__cause__)
        return False

    def _open(self, image: Image) -> Versions | str:
        """Open an image; return its versions, or why it does not open."""
        folder = self._folder / "image"
        _write(image, folder)
        try:
            return asyncio.run(read_versions(folder / "s.duckdb", is_encrypted=self._is_encrypted))
        except SpawnError as error:
            if _TORN_BLOCK in str(error.__cause__) or self._has_torn_tag(folder, error):
                return _TORN_BLOCK
            return f"{error.code}: {error.detail}"
        except AssertionError as error:
            return f"feed and state differ: {error}"
        finally:
            shutil.rmtree(folder)


def _write(image: Image, folder: Path) -> None:
    folder.mkdir(exist_ok=True)
    for name, content in image.items():
        (folder / name).write_bytes(content)
