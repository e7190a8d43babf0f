"""Repetition of requests that may be sent twice, with backoff and Retry-After."""

from collections.abc import Callable
from typing import Final

import msgspec
from tenacity import RetryCallState, retry_if_exception, stop_after_attempt, wait_exponential_jitter

from spawn.client.problems import ConnectionFailed, UnavailableProblem


class ClientRetries(msgspec.Struct, frozen=True, kw_only=True):
    """Limits of repetition: attempts in all, and seconds between two.

    A Retry-After above `max_wait_s` is not waited for: the problem is raised at once.
    """

    attempts: int = 6
    first_wait_s: float = 0.2
    max_wait_s: float = 10.0

    def is_retryable(self, error: BaseException) -> bool:
        """Whether a request that may be sent twice is sent again after this error."""
        if isinstance(error, UnavailableProblem):
            return (error.retry_after_s or 0.0) <= self.max_wait_s
        return isinstance(error, ConnectionFailed)

    def wait_s(self, state: RetryCallState) -> float:
        """Return the seconds before the next attempt: the backoff, at least Retry-After."""
        backoff_s = wait_exponential_jitter(
            multiplier=self.first_wait_s, max=self.max_wait_s, jitter=_JITTER_S
        )
        error = state.outcome.exception() if state.outcome else None
        retry_after_s = error.retry_after_s if isinstance(error, UnavailableProblem) else None
        return max(backoff_s(state), retry_after_s or 0.0)

    def backoff_s(self, failure_count: int) -> float:
        """Return the seconds before a broken stream is opened again."""
        return min(self.max_wait_s, self.first_wait_s * 2.0 ** min(failure_count, 32))

    def options(self, *, is_repeatable: bool) -> "RetryOptions":
        """Return tenacity's options for one request."""
        return RetryOptions(
            retry=retry_if_exception(self.is_retryable),
            stop=stop_after_attempt(self.attempts if is_repeatable else 1),
            wait=self.wait_s,
        )


class RetryOptions(msgspec.Struct, frozen=True):
    """Options of tenacity that both clients share."""

    retry: retry_if_exception
    stop: stop_after_attempt
    wait: Callable[[RetryCallState], float]


_JITTER_S: Final = 0.1
