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
_UNFINISHED = re.compile(r"^(\d+)\s+(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+)\s+<\.\.\. (\w+) resumed>(.*)$")
_ESCAPED = re.compile(r'"((?:\\x[0-9a-f]{2})*)"(\.\.\.)?')


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
            if begun := _UNFINISHED.match(line):
                unfinished[begun[1]] = begun[3]
            elif resumed := _RESUMED.match(line):
                begin = unfinished.pop(resumed[1])
                line = f"{resumed[1]}  {resumed[2]}({begin}{resumed[3]}"
            if call := _COMPLETE.match(line):
                texts = _ESCAPED.findall(call[3])
                assert not any(is_cut for _, is_cut in texts), "strace cut a text"
                yield SystemCall(
                    name=call[2],
                    arguments=_ESCAPED.sub("TEXT", call[3]).split(", "),
                    texts=[bytes.fromhex(text.replace("\\x", "")) for text, _ in texts],
                    result=int(call[4]),
                )
