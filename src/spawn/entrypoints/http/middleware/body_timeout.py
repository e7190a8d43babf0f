"""Time limits on the arrival of request bodies."""

import asyncio
from collections.abc import Awaitable, Callable
from time import perf_counter
from typing import Any, Final, cast

from litestar.types import Receive

from spawn.entrypoints.http.limits import HttpLimits
from spawn.entrypoints.http.protocol.problems import RequestProblem

UNBOUNDED_PATHS: Final = ("/v1/ops/imports",)
"""Paths whose bodies are bounded only by the pause between two chunks, not in size or time."""


def with_body_timeout(path: str, receive: Receive, limits: HttpLimits) -> Receive:
    """Wrap `receive` so that it raises when a body does not arrive in time.

    The wrapped function raises `RequestProblem`, 408.
    """
    is_bounded = not path.startswith(UNBOUNDED_PATHS)
    deadline = perf_counter() + limits.body_timeout_s if is_bounded else None
    idle_timeout_s = limits.idle_timeout_s

    async def receive_in_time() -> Any:
        timeout_s = (
            idle_timeout_s if deadline is None else min(idle_timeout_s, deadline - perf_counter())
        )
        try:
            async with asyncio.timeout(timeout_s):
                return await receive()
        except TimeoutError as error:
            raise RequestProblem(
                "request_timeout",
                "The body did not arrive in time.",
                headers=((b"connection", b"close"),),
            ) from error

    return cast("Callable[[], Awaitable[Any]]", receive_in_time)
