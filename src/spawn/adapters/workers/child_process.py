"""End of a subprocess that works for the service."""

import subprocess
from contextlib import suppress
from typing import Final

_EXIT_TIMEOUT_S: Final = 5.0


def end_process(process: "subprocess.Popen[bytes]") -> None:
    """Kill a process, whose remaining work is not needed, and close its pipes."""
    process.kill()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with suppress(BrokenPipeError):  # the process is dead: unflushed data is not needed
                pipe.close()
    process.wait(_EXIT_TIMEOUT_S)
