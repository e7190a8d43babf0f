"""Wycheproof's vectors of JSON Web Signatures: no invalid one passes.

The vectors are read where they are, never from this repository: `testvectors_v1` of C2SP/wycheproof
(Apache 2.0) beside the shared material, or the folder that SPAWN_WYCHEPROOF names.
"""

import json
import os
from pathlib import Path
from typing import Any

import pytest
from tests.shared_material import find_shared

from spawn.ports.access import InvalidToken

pytest.importorskip("joserfc", reason="the extra oidc is not installed")

from spawn.adapters.oidc.signing_keys import ALGORITHMS, read_keys
from spawn.adapters.oidc.token_verifier import read_signed_payload, read_token_header

_STRICTER = {"emptyPayload", "Figure20"}
"""Valid signatures of no access token: of nothing, or by another `alg` than that of the key."""

_NAME = "json_web_signature_test.json"


def _find_vectors() -> Path | None:
    folder = os.environ.get("SPAWN_WYCHEPROOF")
    return find_shared("wycheproof", _NAME) if folder is None else Path(folder) / _NAME


VECTORS = _find_vectors()
pytestmark = pytest.mark.skipif(VECTORS is None, reason="no vectors of Wycheproof are here")


def _accepts(group: dict[str, Any], token: str) -> bool:
    """Whether a token passes with the key of its group, as an issuer publishes it."""
    published = group.get("public") or group["private"]
    keys = read_keys(json.dumps({"keys": [published]}).encode())
    try:
        header = read_token_header(token)
        read_signed_payload(token, keys.get(str(header.get("kid", published.get("kid")))))
    except InvalidToken:
        return False
    return True


def _read_groups() -> list[dict[str, Any]]:
    assert VECTORS is not None
    groups: list[dict[str, Any]] = json.loads(VECTORS.read_bytes())["testGroups"]
    return groups


def test_no_invalid_signature_is_accepted() -> None:
    accepted = [
        (group["comment"], test["tcId"], test["comment"])
        for group in _read_groups()
        for test in group["tests"]
        if test["result"] == "invalid" and _accepts(group, test["jws"])
    ]
    assert accepted == []
    count = sum(t["result"] == "invalid" for g in _read_groups() for t in g["tests"])
    assert count >= 355


def test_valid_signatures_of_accepted_algorithms_are_accepted() -> None:
    """Without this the test above would hold for a verifier that rejects everything."""
    verdicts = {
        (group["comment"], test["tcId"]): _accepts(group, test["jws"])
        for group in _read_groups()
        for test in group["tests"]
        if test["result"] == "valid"
        and (group.get("public") or group["private"]).get("alg") in ALGORITHMS
        and test["comment"] not in _STRICTER
    }
    assert [name for name, is_accepted in verdicts.items() if not is_accepted] == []
    assert len(verdicts) >= 10
