"""Material beside the repository that tests read where it is: cases of the desk, ACTUS contracts.

It lies in `../shared`, or where the environment variable SPAWN_SHARED says, and is never committed.
Without it the tests that need it are skipped, with the reason in the summary.
"""

import os
from pathlib import Path

ROOT = Path(__file__).parents[1]


def find_shared(*parts: str) -> Path | None:
    """Return the path of shared material, None where it is absent."""
    named = os.environ.get("SPAWN_SHARED", "../shared")
    for folder in (ROOT / named, ROOT.parent / "shared"):
        if (path := folder.joinpath(*parts)).exists():
            return path
    return None
