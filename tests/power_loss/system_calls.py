"""Record of the writes, syncs and renames that a process asks of the system, by strace."""

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

STRACE = shutil.which("strace")
_CALLS = (
    "openat,open,creat,close,dup,dup2,dup3,write,writev,pwrite64,pwritev,pwritev2,lseek,ftruncate,"
    "truncate,fallocate,fsync,fdatasync,sync_file_range,msync,rename,renameat,renameat2,unlink,"
    "unlinkat,link,linkat,copy_file_range,sendfile,io_uring_enter"
)
_COMPLETE = re.compile(r"^(\d+)\s+(\w+)\((.*)\)\s+= (-?\d+)(.*)$", re.DOTALL)
_UNFINISHED = re.compile(r"^(\d+)\s+(\w+)\((.*)$")
_UNFINISHED_END = " <unfinished ...>"
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")


class SystemCall(NamedTuple):
    """One call that succeeded or failed, in the order of completion."""

    name: str
    arguments: list[str]
    """As strace prints them, texts excepted."""
    texts: list[bytes]
    result: int


def can_trace() -> bool:
    """Whether strace is there and may trace a process of ours."""
    if STRACE is None:
        return False
    trial = [STRACE, "-f", "-o", os.devnull, "true"]
    return subprocess.run(trial, capture_output=True, check=False).returncode == 0


def record_calls(script: Path, record: Path, *arguments: str, inject: str = "") -> str:
    """Run a script under strace; return its output."""
    assert STRACE is not None
    options = ["-f", "-qq", "-xx", "-s", "1000000000", "-e", "signal=none", "-o", str(record)]
    options += ["-e", f"trace={_CALLS}"]
    options += ["--seccomp-bpf", *(["-e", f"inject={inject}"] if inject else [])]
    process = subprocess.run(
        [STRACE, *options, sys.executable, str(script), *arguments],
        capture_output=True,
        check=False,
        text=True,
        timeout=300,
    )
    assert process.returncode == 0, process.stderr[-3000:]
    return process.stdout


def read_calls(record: Path) -> Iterator[SystemCall]:
    """Yield the calls of a record in the order of their completion."""
    unfinished: dict[str, str] = {}
    with record.open() as lines:
        for raw_line in lines:
            line = raw_line.rstrip("\n")
            if line.endswith(_UNFINISHED_END):
                if begun := _UNFINISHED.match(line.removesuffix(_UNFINISHED_END)):
                    unfinished[begun[1]] = begun[3]
                continue
            if resumed := _RESUMED.match(line):
                begin = unfinished.pop(resumed[1])
                line = f"{resumed[1]}  {resumed[2]}({begin}{resumed[3]}"
            if call := _COMPLETE.match(line):
                yield _read_call(call)


def _read_call(call: re.Match[str]) -> SystemCall:
    """Read a completed call.

    Each byte of a text is escaped, so that a quotation mark stands only at the ends of texts: to
    split there takes a fifth of the time of a pattern, for megabytes of texts.
    """
    parts = call[3].split('"')
    others, texts = parts[::2], parts[1::2]
    assert not any(other.startswith("...") for other in others[1:]), "strace cut a text"
    return SystemCall(
        name=call[2],
        arguments="TEXT".join(others).split(", "),
        texts=[bytes.fromhex(text.replace("\\x", "")) for text in texts],
        result=int(call[4]),
    )
