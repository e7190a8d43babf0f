"""Failures of threads and tasks that nothing awaits: reported, where Python only prints them."""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

ReportFailure = Callable[[str, BaseException | None], None]
"""Function that takes what failed, as a sentence, and the exception if there is one."""


@contextmanager
def report_failures(report: ReportFailure) -> Iterator[None]:
    """Report the failures of all threads, and of the running loop's tasks and callbacks.

    `report` is called on the loop, whichever thread fails.
    """
    loop = asyncio.get_running_loop()
    previous_hook, previous_handler = threading.excepthook, loop.get_exception_handler()

    def report_thread(arguments: threading.ExceptHookArgs) -> None:
        name = "a thread" if arguments.thread is None else f"the thread {arguments.thread.name}"
        loop.call_soon_threadsafe(report, f"{name} ended", arguments.exc_value)

    def report_callback(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        report(str(context.get("message", "")), context.get("exception"))

    threading.excepthook = report_thread
    loop.set_exception_handler(report_callback)
    try:
        yield
    finally:
        threading.excepthook = previous_hook
        loop.set_exception_handler(previous_handler)
