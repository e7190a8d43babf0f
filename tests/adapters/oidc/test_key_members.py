"""Members of a key set whose types are wrong: the key is left out, and the others are used."""

import json
from typing import Any

import pytest
from joserfc import jwk

from spawn.adapters.oidc.signing_keys import read_keys

_KEY = jwk.ECKey.generate_key("P-256").as_dict(private=False)


@pytest.mark.parametrize("name", ["kid", "kty", "alg", "crv", "use", "key_ops", "x"])
@pytest.mark.parametrize("value", [["ES256"], {"a": 1}, 7, True], ids=str)
def test_key_with_a_member_of_another_type_is_left_out(name: str, value: Any) -> None:
    """Sets of several issuers are merged by hand; one odd key must not end all sign-ins."""
    good, odd = {**_KEY, "kid": "good"}, {**_KEY, "kid": "odd", name: value}
    assert set(read_keys(json.dumps({"keys": [odd, good]}).encode())) == {"good"}
