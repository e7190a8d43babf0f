"""The budget of a request, and the RateLimit fields (draft-ietf-httpapi-ratelimit-headers)."""

from math import ceil
from typing import Final

from spawn.application.traffic.token_buckets import BURST_S, TokenBuckets
from spawn.application.traffic.traffic_control import Budget
from spawn.entrypoints.http.protocol.negotiation import is_later_part
from spawn.entrypoints.http.protocol.response import Header

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


# Values, because the hash of a member of an enumeration is a call.
EXPORTS: Final = Budget.EXPORTS.value
_READS: Final = Budget.READS.value
_WRITES: Final = Budget.WRITES.value
_ANALYSIS: Final = Budget.ANALYSIS.value


def find_budget(method: str, path: str, byte_range: bytes | None = None) -> str:
    """Return the value of the budget that a request counts against.

    Args:
        method: the method.
        path: the canonical path.
        byte_range: the header Range, without If-Range, which may make it the whole file; only a
            copy that exists on the disk has later parts, and what may write one is an export.
    """
    if method == "GET" or method in _READING:
        if not path.startswith("/v1/data/"):
            return _READS
        is_part = byte_range is not None and is_later_part(byte_range.decode("latin-1"))
        return _READS if is_part and method == "GET" else EXPORTS
    return _ANALYSIS if path.startswith("/v1/analysis/") else _WRITES


def rate_fields(bucket: TokenBuckets, left: float) -> tuple[Header, Header]:
    """Return the fields for a client that has used more than half of its budget.

    Args:
        bucket: the budget.
        left: the requests that are left, or the negative seconds until there is one.
    """
    quota, window_s = int(bucket.burst), ceil(bucket.burst / bucket.rate_per_s)
    policy = f'"{bucket.name}";q={quota};w={window_s or int(BURST_S)}'
    remaining, reset_s = (int(left), 0) if left >= 1 else (0, ceil(max(-left, 0)) or 1)
    state = f'"{bucket.name}";r={remaining}' + (f";t={reset_s}" if reset_s else "")
    return (b"ratelimit-policy", policy.encode()), (b"ratelimit", state.encode())
