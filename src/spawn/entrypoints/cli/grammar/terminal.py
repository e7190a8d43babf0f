"""Output on a terminal: colours, and progress on one line."""

import os
import sys
import time
from collections.abc import Mapping
from enum import StrEnum
from typing import Final, TextIO

_RESET: Final = "\x1b[0m"
_ERASE_REST: Final = "\x1b[K"
_REDRAW_INTERVAL_S: Final = 0.1


class Colour(StrEnum):
    """Colours of states, as the terminal's sequences."""

    GREEN = "\x1b[32m"
    YELLOW = "\x1b[33m"
    RED = "\x1b[31m"


def has_colour(stream: TextIO, environ: Mapping[str, str]) -> bool:
    """Whether output has colours: on a terminal, unless NO_COLOR or TERM=dumb forbids it.

    FORCE_COLOR asks for them elsewhere too. An empty variable counts as absent (no-color.org).
    """
    if environ.get("NO_COLOR"):
        return False
    if environ.get("FORCE_COLOR"):
        return True
    return stream.isatty() and environ.get("TERM") != "dumb"


def paint(text: str, colour: Colour, stream: TextIO) -> str:
    """Return the text in a colour, if output to the stream has colours."""
    return f"{colour}{text}{_RESET}" if has_colour(stream, os.environ) else text


def format_progress(done_bytes: int, total_bytes: int | None, elapsed_s: float) -> str:
    """Return share, amount, rate and time left; without a total the amount and the rate."""
    done, rate = done_bytes / 1e6, done_bytes / 1e6 / elapsed_s if elapsed_s > 0 else 0.0
    if total_bytes is None:
        return f"{done:.1f} MB  {rate:.1f} MB/s"
    percent = 100 * done_bytes // total_bytes if total_bytes else 100
    text = f"{percent:3d} %  {done:.1f} of {total_bytes / 1e6:.1f} MB"
    if rate <= 0:
        return text
    left_s = max(total_bytes / 1e6 - done, 0) / rate
    return f"{text}  {rate:.1f} MB/s  {_format_duration(left_s)} left"


def _format_duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Progress on one line of standard error; silent if that is not a terminal."""

    def __init__(self) -> None:
        self._begin_s = time.monotonic()
        self._drawn_at_s = 0.0
        self._line = ""

    def report(self, done_bytes: int, total_bytes: int | None = None) -> None:
        """Show the progress, ten times a second at most."""
        if not sys.stderr.isatty():
            return
        now = time.monotonic()
        self._line = format_progress(done_bytes, total_bytes, now - self._begin_s)
        if now - self._drawn_at_s >= _REDRAW_INTERVAL_S:
            self._drawn_at_s = now
            self._write()

    def end(self) -> None:
        """Show the last progress, and end the line."""
        if self._line:
            self._write("\n")

    def _write(self, end: str = "") -> None:
        sys.stderr.write(f"\r{self._line}{_ERASE_REST}{end}")
        sys.stderr.flush()
