"""Work of threads that a cancelled task waits for."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


async def finish_in_thread(function: Callable[P, R], *args: P.args, **kwargs: P.kwargs) -> R:
    """Run a function in a thread, and wait for its end also if this task is cancelled.

    A thread cannot be stopped. Without the wait its file would be closed under it, and the next
    file that is opened gets the number of that one, with the bytes that the thread still writes.
    """
    return await _finish(partial(function, *args, **kwargs), None)


async def build_in_thread(build: Callable[[], R], close: Callable[[R], object]) -> R:
    """Build an owner of files in a thread; close it if this task is cancelled meanwhile."""
    return await _finish(build, close)


async def settle(future: "asyncio.Future[Any] | None") -> None:
    """Wait until the work has ended, also if this task is cancelled meanwhile."""
    while future is not None and not future.done():
        with suppress(asyncio.CancelledError):
            await asyncio.wait([future])
    if future is not None and not future.cancelled():
        future.exception()


async def _finish(function: Callable[[], R], undo: Callable[[R], object] | None) -> R:
    work = asyncio.get_running_loop().run_in_executor(None, function)
    try:
        return await asyncio.shield(work)
    except asyncio.CancelledError:
        await settle(work)
        if undo is not None and work.exception() is None:
            undo(work.result())
        raise
