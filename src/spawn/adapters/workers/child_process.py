"""Input and end of a subprocess that works for the service."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from spawn.ports.runtime import ReadableFile

_EXIT_TIMEOUT_S: Final = 5.0
_COPY_BYTES: Final = 1024 * 1024


class ChildFile(NamedTuple):
    """File as a subprocess finds it: its path there, and the descriptors that it inherits."""

    path: str
    descriptors: tuple[int, ...]


@contextmanager
def pass_file(file: ReadableFile) -> Iterator[ChildFile]:
    """Pass a file to the subprocess that is started meanwhile.

    One that is no file of the system, such as an encrypted one, is copied to memory, which is
    given back when the subprocess ends.

    Raises:
        OSError: the system has no room for it.
    """
    if isinstance(file, Path):
        yield ChildFile(str(file), ())
        return
    descriptor = os.memfd_create("upload")
    try:
        with file.open("rb") as source, os.fdopen(os.dup(descriptor), "wb") as copy:
            shutil.copyfileobj(source, copy, _COPY_BYTES)
        yield ChildFile(f"/dev/fd/{descriptor}", (descriptor,))
    finally:
        os.close(descriptor)


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, whose remaining work is not needed, and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # the process is dead: unflushed data is not needed
                pipe.close()
    process.wait(_EXIT_TIMEOUT_S)
