"""Uploads as files of one directory."""

import asyncio
import errno
import os
import re
import shutil
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

from spawn.adapters.embedded.synced_folders import sync_folder
from spawn.adapters.embedded.thread_work import build_in_thread, finish_in_thread
from spawn.adapters.encryption.encryption_key import EncryptionKey
from spawn.adapters.encryption.sealed_files import FileSealer, SealedFile
from spawn.domain.errors import NotFound, StorageFull, Unavailable
from spawn.ports.runtime import ReadableFile

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PARTIAL_SUFFIX = ".part"
_CREATE_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_NO_SPACE_ERRORS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class DirectorySpool:
    """Uploads as files of one private directory, complete or absent.

    An incomplete file has another name; it is synced and renamed once complete, and removed if
    the upload fails. Incomplete files of a crash are removed at the next start. Files are encrypted
    if there is a key.
    """

    def __init__(
        self,
        path: Path,
        reserve_bytes: int = 64 * 1024 * 1024,
        *,
        encryption_key: EncryptionKey | None = None,
    ) -> None:
        self._path = path
        self._key = encryption_key
        self._reserve_bytes = reserve_bytes
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        for partial in path.glob(f"*{_PARTIAL_SUFFIX}"):
            partial.unlink()

    def _file(self, name: str) -> Path:
        if _NAME.fullmatch(name) is None or name.endswith(_PARTIAL_SUFFIX):
            raise NotFound(f"There is no upload {name!r}.")
        return self._path / name

    async def receive(self, name: str, chunks: AsyncIterator[bytes]) -> int:
        """Write and sync all chunks under `name` and return the number of bytes.

        Raises:
            StorageFull: the disk or its reserve is exhausted; no file remains.
            Unavailable: the disk failed or did not confirm the file; no file remains.
        """
        final = self._file(name)
        partial = final.with_name(final.name + _PARTIAL_SUFFIX)
        try:
            sealer = None if self._key is None else FileSealer(self._key, _purpose(name))
            size = await self._write(partial, chunks, sealer)
            await finish_in_thread(self._publish, partial, final)
        except ConnectionError:
            raise  # the sender broke off, which is also an OSError
        except OSError as error:
            if error.errno in _NO_SPACE_ERRORS:
                raise StorageFull("The disk has no space for the upload.") from error
            raise Unavailable(
                "The disk did not take the upload: retry, and check the disk and the log."
            ) from error
        finally:
            partial.unlink(missing_ok=True)
        return size

    async def _write(
        self, partial: Path, chunks: AsyncIterator[bytes], sealer: FileSealer | None
    ) -> int:
        size = 0
        descriptor = await build_in_thread(
            lambda: os.open(partial, _CREATE_FLAGS, 0o600), close=os.close
        )
        try:
            async for chunk in chunks:
                await finish_in_thread(self._append, descriptor, chunk, sealer)
                size += len(chunk)
            if sealer is not None:
                await finish_in_thread(self._append_bytes, descriptor, sealer.finish())
            await finish_in_thread(os.fsync, descriptor)
        finally:
            os.close(descriptor)
        return size

    def _append(self, descriptor: int, chunk: bytes, sealer: FileSealer | None) -> None:
        self._append_bytes(descriptor, chunk if sealer is None else sealer.seal(chunk))

    def _append_bytes(self, descriptor: int, chunk: bytes) -> None:
        if shutil.disk_usage(self._path).free - len(chunk) < self._reserve_bytes:
            raise StorageFull("The upload would use up the disk's reserve.")
        view = memoryview(chunk)
        while view:
            view = view[os.write(descriptor, view) :]

    def _publish(self, partial: Path, final: Path) -> None:
        partial.rename(final)
        sync_folder(self._path)

    def find(self, name: str) -> ReadableFile:
        """Return the file of a received upload.

        Raises:
            NotFound: there is none.
        """
        file = self._file(name)
        if not file.is_file():
            raise NotFound(f"There is no upload {name!r}.")
        return file if self._key is None else SealedFile(file, self._key, _purpose(name))

    def names(self) -> Iterator[str]:
        """Yield the name of every stored upload."""
        for file in self._path.iterdir():
            if not file.name.endswith(_PARTIAL_SUFFIX):
                yield file.name

    async def discard(self, name: str) -> None:
        """Remove the upload; absent is fine."""
        await asyncio.to_thread(self._file(name).unlink, missing_ok=True)


def _purpose(name: str) -> bytes:
    """Return the purpose of the key of an upload, so that none can take the place of another."""
    return b"upload " + name.encode()
