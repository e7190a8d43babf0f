"""Run `spawn serve` where the system confirms no sync of the mark once a file exists.

Argument: the file.
"""

import errno
import os
import sys
from pathlib import Path
from typing import Any

from spawn.entrypoints.cli import main

TRIGGER = Path(sys.argv[1])
_fsync = os.fsync


def fsync(fd: Any) -> None:
    """Fail like a disk that is gone."""
    if TRIGGER.exists():
        raise OSError(errno.EIO, os.strerror(errno.EIO))
    _fsync(fd)


if __name__ == "__main__":
    os.fsync = fsync
    sys.exit(main(["serve"]))
