"""If-Match preconditions."""

from typing import Final

from spawn.domain.change import Head
from spawn.domain.errors import StaleVersion
from spawn.entrypoints.http.protocol.etags import is_version_match, validate_etags
from spawn.entrypoints.http.protocol.problems import RequestProblem
from spawn.entrypoints.http.protocol.request import StrictRequest

_WEAK_TAG: Final = (
    "If-Match compares strong tags only (RFC 9110, 13.1.1): a proxy weakened yours to W/; send the "
    "tag without the W/."
)


def require_if_match(request: StrictRequest) -> str:
    """Return the If-Match header.

    Raises:
        RequestProblem: 428, the header is absent.
    """
    header = request.header(b"if-match")
    if not header:
        raise RequestProblem(
            "precondition_required",
            "If-Match is missing: send the ETag of the version that you read.",
        )
    validate_etags("If-Match", header)
    return header


async def read_expected_version(request: StrictRequest, kind: str, key: str) -> int | None:
    """Return the version that If-Match expects; None for `*`, any existing version.

    Raises:
        RequestProblem: 428, there is no If-Match.
        NotFound: no such aggregate.
        Stale: If-Match names only versions other than the current one.
    """
    header = require_if_match(request)
    head: Head = await request.dependencies.reads.head(kind, key)
    if header == "*":
        return None
    if not is_version_match(header, head.version, head.epoch):
        detail = f"The current version is {head.version}."
        if header.startswith("W/"):
            detail += f" {_WEAK_TAG}"
        raise StaleVersion(detail, current=head.version)
    return head.version
