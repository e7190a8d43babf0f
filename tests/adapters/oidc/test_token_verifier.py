"""Access tokens: what is accepted, and every way in which one is not."""

import base64
import hmac
import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from spawn.adapters.local.clock import SystemClock
from spawn.domain.errors import Unavailable
from spawn.domain.principal import Scope
from spawn.ports.access import InvalidToken

pytest.importorskip("joserfc", reason="the extra oidc is not installed")

from joserfc import jwk, jws

from spawn.adapters.oidc.signing_keys import REFRESH_PAUSE_S, SigningKeys, read_keys
from spawn.adapters.oidc.token_verifier import MAX_TOKEN_BYTES, OidcRules, OidcTokenVerifier

ISSUER = "https://issuer.example/realm"
AUDIENCE = "https://spawn.example"
RSA = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
RSA_OTHER = jwk.RSAKey.generate_key(2048, {"kid": "rsa"})
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    RSA_SHORT = jwk.RSAKey.generate_key(1024, {"kid": "short"})
EC = jwk.ECKey.generate_key("P-256", {"kid": "ec"})
EC_384 = jwk.ECKey.generate_key("P-384", {"kid": "ec384"})
ED = jwk.OKPKey.generate_key("Ed25519", {"kid": "ed"})
OCT = jwk.OctKey.generate_key(256, {"kid": "oct"})
PUBLISHED: list[Any] = [RSA, RSA_SHORT, EC, EC_384, ED]


class Issuer:
    """The key set of an issuer behind a transport; it counts requests and may fail."""

    def __init__(self, keys: list[Any] | None = None) -> None:
        self.keys = [key.as_dict(private=False) for key in keys or PUBLISHED]
        self.requests = 0
        self.status = 200
        self.rules = OidcRules(issuer=ISSUER, audience=AUDIENCE)

    def respond(self, _: httpx.Request) -> httpx.Response:
        self.requests += 1
        document = json.dumps({"keys": self.keys}).encode()
        return httpx.Response(self.status, stream=httpx.ByteStream(document))

    def open(
        self, folder: Path | None = None, monotonic: Callable[[], float] = time.monotonic
    ) -> OidcTokenVerifier:
        keys = SigningKeys(
            "https://issuer.example/jwks",
            timeout_s=1,
            cache_dir=folder,
            transport=httpx.MockTransport(self.respond),
            monotonic=monotonic,
        )
        return OidcTokenVerifier(self.rules, keys, SystemClock())


def claims(**changes: Any) -> dict[str, Any]:
    """Return valid claims with changes; `...` removes one."""
    valid = {
        "iss": ISSUER,
        "aud": AUDIENCE,
        "sub": "ana",
        "exp": int(time.time()) + 60,
        "iat": int(time.time()),
        "scope": "projects:read openid analysis",
    }
    return {name: value for name, value in {**valid, **changes}.items() if value is not ...}


def sign(payload: dict[str, Any] | bytes, key: Any = RSA, alg: str = "RS256", **header: Any) -> str:
    """Return a token; `...` removes a member of its header."""
    members = {"alg": alg, "typ": "at+jwt", "kid": key.kid, **header}
    protected = {name: value for name, value in members.items() if value is not ...}
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    registry = jws.JWSRegistry(algorithms=[alg], strict_check_header=False)
    token: str = jws.serialize_compact(protected, body, key, registry=registry)
    return token


@pytest.mark.parametrize(
    ("key", "alg"),
    [(RSA, "RS256"), (RSA, "PS256"), (EC, "ES256"), (EC_384, "ES384"), (ED, "Ed25519")],
)
async def test_token_of_each_algorithm_is_accepted(key: Any, alg: str) -> None:
    token = await Issuer().open().verify(sign(claims(), key, alg))
    assert token.principal.id == "token:ana"
    assert token.principal.scopes == {Scope.PROJECTS_READ, Scope.ANALYSIS}
    assert token.expires_at.timestamp() == pytest.approx(time.time() + 60, abs=5)


async def test_scopes_may_be_a_list_and_audiences_many() -> None:
    verifier = Issuer().open()
    token = sign(claims(scope=..., scp=["admin", "x"], aud=["https://other.example", AUDIENCE]))
    assert (await verifier.verify(token)).principal.scopes == {Scope.ADMIN}
    assert (await verifier.verify(sign(claims(scope=...)))).principal.scopes == frozenset()
    capital = sign(claims(), typ="application/AT+JWT")
    assert (await verifier.verify(capital)).principal.id == "token:ana"


COUNTRIES = ("country_code", "countries")
SECTORS = ("sector", "https://spawn.example/sectors")


@pytest.mark.parametrize(
    ("claims_of_rows", "expected"),
    [
        ({}, {"country_code": (), "sector": ()}),
        (
            {"countries": ["ES", "PRT"], SECTORS[1]: "wind"},
            {"country_code": ("ESP", "PRT"), "sector": ("wind",)},
        ),
        ({"countries": ["*"], SECTORS[1]: ["wind"]}, {"sector": ("wind",)}),
        ({"countries": "*", SECTORS[1]: ["*", "wind"]}, None),
        ({"countries": [7], SECTORS[1]: {"a": "*"}}, {"country_code": (), "sector": ()}),
        ({"countries": None, SECTORS[1]: True}, {"country_code": (), "sector": ()}),
    ],
)
async def test_claims_about_rows_limit_a_token(
    claims_of_rows: dict[str, Any], expected: dict[str, tuple[str, ...]] | None
) -> None:
    issuer = Issuer()
    issuer.rules = OidcRules(issuer=ISSUER, audience=AUDIENCE, row_claims=(COUNTRIES, SECTORS))
    row_scope = (await issuer.open().verify(sign(claims(**claims_of_rows)))).principal.row_scope
    assert (None if row_scope is None else row_scope.to_mapping()) == expected


async def test_claims_about_rows_are_bounded() -> None:
    issuer = Issuer()
    issuer.rules = OidcRules(issuer=ISSUER, audience=AUDIENCE, row_claims=(COUNTRIES,))
    for values in (["A\nB"], [f"C{number}" for number in range(501)]):
        with pytest.raises(InvalidToken):
            await issuer.open().verify(sign(claims(countries=values)))


def _swap_payload(token: str, payload: dict[str, Any]) -> str:
    head, _, signature = token.split(".")
    other = sign(payload, RSA_OTHER).split(".")[1]
    return f"{head}.{other}.{signature}"


def _unsigned(alg: str) -> str:
    body = sign(claims()).split(".")[1]
    header = json.dumps({"alg": alg, "typ": "at+jwt", "kid": "rsa"}).encode()
    return f"{_b64(header)}.{body}."


def _b64(document: bytes) -> str:
    return base64.urlsafe_b64encode(document).rstrip(b"=").decode()


def _hmac_with_the_public_key() -> str:
    """Return a token whose HMAC has the published RSA key as its secret."""
    header = json.dumps({"alg": "HS256", "typ": "at+jwt", "kid": "rsa"}).encode()
    signed = f"{_b64(header)}.{_b64(json.dumps(claims()).encode())}"
    digest = hmac.digest(RSA.as_pem(private=False), signed.encode(), "sha256")
    return f"{signed}.{_b64(digest)}"


def _double(member: str, value: str) -> bytes:
    text = json.dumps(claims())
    return f'{text[:-1]}, "{member}": {value}}}'.encode()


def _double_header() -> str:
    _, body, signature = sign(claims()).split(".")
    header = b'{"alg":"RS256","typ":"at+jwt","kid":"rsa","alg":"RS256"}'
    return f"{_b64(header)}.{body}.{signature}"


def _resign(token: str, change: Callable[[bytes], bytes]) -> str:
    """Return a token with a change of the bytes of its signature."""
    signed, _, signature = token.rpartition(".")
    raw = base64.urlsafe_b64decode(signature + "=" * (-len(signature) % 4))
    return f"{signed}.{_b64(change(raw))}"


def _to_der(raw: bytes) -> bytes:
    """Return an ECDSA signature as X.509 has it, instead of r and s side by side."""
    parts = b""
    for half in (raw[:32], raw[32:]):
        number = int.from_bytes(half)
        body = number.to_bytes(number.bit_length() // 8 + 1)
        parts += b"\x02" + bytes([len(body)]) + body
    return b"\x30" + bytes([len(parts)]) + parts


P256_ORDER = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551


def _with_large_r(raw: bytes) -> bytes:
    """Return r + n and s, which is the same r in the arithmetic of the curve."""
    return (int.from_bytes(raw[:32]) + P256_ORDER).to_bytes(33) + raw[32:]


def _ec(change: Callable[[bytes], bytes]) -> str:
    return _resign(sign(claims(), EC, "ES256"), change)


def _rsa(change: Callable[[bytes], bytes]) -> str:
    return _resign(sign(claims()), change)


def _with_header(**members: Any) -> str:
    """Return a token whose header was changed after it was signed."""
    _, body, signature = sign(claims()).split(".")
    header = {"alg": "RS256", "typ": "at+jwt", "kid": "rsa", **members}
    return f"{_b64(json.dumps(header).encode())}.{body}.{signature}"


SIGNATURES: dict[str, Callable[[], str]] = {
    "ECDSA: all zero": lambda: _ec(lambda raw: bytes(len(raw))),
    "ECDSA: r of zero": lambda: _ec(lambda raw: bytes(32) + raw[32:]),
    "ECDSA: s of zero": lambda: _ec(lambda raw: raw[:32] + bytes(32)),
    "ECDSA: s of the order": lambda: _ec(lambda raw: raw[:32] + P256_ORDER.to_bytes(32)),
    "ECDSA: r beyond the order": lambda: _ec(_with_large_r),
    "ECDSA: r and s exchanged": lambda: _ec(lambda raw: raw[32:] + raw[:32]),
    "ECDSA: a byte less": lambda: _ec(lambda raw: raw[:-1]),
    "ECDSA: a byte more": lambda: _ec(lambda raw: raw + b"\0"),
    "ECDSA: a zero before each half": lambda: _ec(lambda raw: b"\0" + raw[:32] + b"\0" + raw[32:]),
    "ECDSA: as in certificates": lambda: _ec(_to_der),
    "ECDSA: empty": lambda: sign(claims(), EC, "ES256").rpartition(".")[0] + ".AA",
    "ECDSA: of another curve": lambda: sign(claims(), EC_384, "ES384", kid="ec"),
    "RSA: all zero": lambda: _rsa(lambda raw: bytes(len(raw))),
    "RSA: one": lambda: _rsa(lambda raw: (1).to_bytes(len(raw))),
    "RSA: a byte less": lambda: _rsa(lambda raw: raw[1:]),
    "RSA: a zero before it": lambda: _rsa(lambda raw: b"\0" + raw),
    "RSA: a bit changed": lambda: _rsa(lambda raw: raw[:-1] + bytes([raw[-1] ^ 1])),
    "RSA: PKCS #1 under the name of PSS": lambda: _with_header(alg="PS256"),
    "Ed25519: all zero": lambda: _resign(
        sign(claims(), ED, "Ed25519"), lambda raw: bytes(len(raw))
    ),
    "Ed25519: a byte more": lambda: _resign(sign(claims(), ED, "Ed25519"), lambda raw: raw + b"\0"),
    "Ed25519: the collective name": lambda: _with_header(alg="EdDSA", kid="ed"),
}
"""Signatures that do not hold, of the kinds that collections of test vectors have."""

_MEMBERS = [b'"alg":"RS256"', b'"typ":"at+jwt"', b'"kid":"rsa"', b'"typ":"JWT"']
HEADERS: dict[str, Callable[[], str]] = {
    "crit of nothing": lambda: _with_header(crit=[]),
    "crit of an unknown extension": lambda: _with_header(crit=["exp"], exp=1),
    "unencoded payload": lambda: _with_header(b64=False, crit=["b64"]),
    "compression": lambda: _with_header(zip="DEF"),
    "nested token": lambda: sign(claims(), cty="JWT"),
    "certificate": lambda: sign(claims(), x5c=["MIIB"]),
    "address of a certificate": lambda: sign(claims(), x5u="https://x.example/c.pem"),
    "algorithm in lower case": lambda: _with_header(alg="rs256"),
    "algorithm with a blank": lambda: _with_header(alg="RS256 "),
    "list of algorithms": lambda: _with_header(alg=["RS256"]),
    "no algorithm": lambda: _with_header(alg=None),
    "typ of a list": lambda: _with_header(typ=["at+jwt"]),
    "key id with a zero": lambda: _with_header(kid="rsa\0"),
    "key id of a list": lambda: _with_header(kid=["rsa"]),
    "header of a list": lambda: f"{_b64(b'[]')}.{sign(claims()).partition('.')[2]}",
    "duplicate typ": lambda: (
        f"{_b64(b'{%b}' % b', '.join(_MEMBERS))}.{sign(claims()).partition('.')[2]}"
    ),
}
"""Headers that are not accepted, whoever signed them."""

ENCODINGS: dict[str, Callable[[], str]] = {
    "blank in the payload": lambda: sign(claims()).replace(".", ". ", 1),
    "line break at the end": lambda: sign(claims()) + "\n",
    "other alphabet": lambda: "+/".join(sign(claims()).rsplit(".", 1)),
    "two dots": lambda: sign(claims()).replace(".", "..", 1),
    "detached payload": lambda: "{0}..{2}".format(*sign(claims()).split(".")),
    "JSON form": lambda: json.dumps({"payload": "e30", "signatures": []}),
    "first part alone": lambda: sign(claims()).partition(".")[0],
    "payload cut off": lambda: sign(claims()).replace(".", ".A", 1),
}
"""Forms of the text that are no compact token."""


INVALID: dict[str, Callable[[], str]] = {
    **SIGNATURES,
    **HEADERS,
    **ENCODINGS,
    "empty": lambda: "",
    "two parts": lambda: "a.b",
    "five parts": lambda: "a.b.c.d.e",
    "no base64": lambda: sign(claims()).replace(".", ".!", 1),
    "padding": lambda: sign(claims()) + "=",
    "too long": lambda: sign(claims(sub="a" * MAX_TOKEN_BYTES)),
    "alg none": lambda: _unsigned("none"),
    "alg None": lambda: _unsigned("None"),
    "no signature": lambda: sign(claims()).rpartition(".")[0] + ".",
    "HMAC with the public key": _hmac_with_the_public_key,
    "HMAC": lambda: sign(claims(), OCT, "HS256"),
    "algorithm of another key type": lambda: sign(claims(), EC, "ES256", kid="rsa"),
    "algorithm not accepted": lambda: sign(claims(), RSA, "RS512"),
    "RSA-1024": lambda: sign(claims(), RSA_SHORT),
    "another key with the id": lambda: sign(claims(), RSA_OTHER),
    "unknown key id": lambda: sign(claims(), RSA, kid="nobody"),
    "key id of a path": lambda: sign(claims(), RSA, kid="../../dev/null"),
    "key id of a query": lambda: sign(claims(), RSA, kid="rsa' OR '1'='1"),
    "key id that is no text": lambda: sign(claims(), RSA, kid=...),
    "own key in the header": lambda: sign(
        claims(), RSA_OTHER, jwk=RSA_OTHER.as_dict(private=False)
    ),
    "address of keys in the header": lambda: sign(claims(), RSA, jku="https://x.example/jwks"),
    "other payload": lambda: _swap_payload(sign(claims()), claims(sub="eve")),
    "typ JWT": lambda: sign(claims(), typ="JWT"),
    "no typ": lambda: sign(claims(), typ=...),
    "duplicate claim": lambda: sign(_double("sub", '"eve"')),
    "duplicate exp": lambda: sign(_double("exp", "9999999999")),
    "duplicate header": _double_header,
    "payload of a list": lambda: sign(b"[]"),
    "payload in Latin-1": lambda: sign('{"sub":"é"}'.encode("latin-1")),
    "deep payload": lambda: sign(b'{"a":' + b"[" * 3000 + b"]" * 3000 + b"}"),
    "NaN": lambda: sign(b'{"exp": NaN}'),
    "no exp": lambda: sign(claims(exp=...)),
    "exp as text": lambda: sign(claims(exp="9999999999")),
    "exp true": lambda: sign(claims(exp=True)),
    "expired": lambda: sign(claims(exp=int(time.time()) - 1)),
    "not yet valid": lambda: sign(claims(nbf=int(time.time()) + 3600)),
    "issued in the future": lambda: sign(claims(iat=int(time.time()) + 3600)),
    "other issuer": lambda: sign(claims(iss="https://evil.example")),
    "issuer with a slash more": lambda: sign(claims(iss=ISSUER + "/")),
    "no issuer": lambda: sign(claims(iss=...)),
    "other audience": lambda: sign(claims(aud="https://other.example")),
    "no audience": lambda: sign(claims(aud=...)),
    "audience as part": lambda: sign(claims(aud=AUDIENCE + ".evil.example")),
    "no subject": lambda: sign(claims(sub=...)),
    "subject with a line break": lambda: sign(claims(sub="ana\nroot")),
    "subject too long": lambda: sign(claims(sub="a" * 200)),
    "scope of a number": lambda: sign(claims(scope=7)),
    "exp beyond every float": lambda: sign(claims(exp=10**400)),
    "nbf beyond every float": lambda: sign(claims(nbf=10**400)),
    "nbf before every float": lambda: sign(claims(nbf=-(10**400))),
}


@pytest.mark.parametrize("name", INVALID)
async def test_invalid_token_is_rejected(name: str) -> None:
    with pytest.raises(InvalidToken) as error:
        await Issuer().open().verify(INVALID[name]())
    assert "ana" not in str(error.value)


async def test_scopes_that_are_no_texts_are_ignored() -> None:
    token = sign(claims(scope=..., scp=["admin", ["admin"], {"a": 1}, None, 7]))
    assert (await Issuer().open().verify(token)).principal.scopes == {Scope.ADMIN}


async def test_other_form_of_an_ecdsa_signature_is_the_same_token() -> None:
    """With r and n - s every verifier accepts it: no token may be known by its text."""
    token = _ec(lambda r: r[:32] + (P256_ORDER - int.from_bytes(r[32:])).to_bytes(32))
    assert (await Issuer().open().verify(token)).principal.id == "token:ana"


def test_keys_that_must_not_verify_are_left_out() -> None:
    twice = [RSA.as_dict(private=False), {**EC.as_dict(private=False), "kid": "rsa"}]
    document = {
        "keys": [
            *twice,
            RSA_SHORT.as_dict(private=False),
            OCT.as_dict(private=True),
            ED.as_dict(private=True),
            {**EC.as_dict(private=False), "use": "enc"},
            {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
            {key: value for key, value in EC_384.as_dict(private=False).items() if key != "kid"},
            "no key",
        ]
    }
    assert read_keys(json.dumps(document).encode()) == {}
    for text in (b"", b"[]", b'{"keys": {}}', b"{}"):
        with pytest.raises(ValueError, match=r"key set|Key Set"):
            read_keys(text)


async def test_unknown_key_id_causes_one_request_in_a_while() -> None:
    now = 1000.0
    issuer = Issuer([EC])
    verifier = issuer.open(monotonic=lambda: now)
    await verifier.verify(sign(claims(), EC, "ES256"))
    issuer.keys = [RSA.as_dict(private=False)]
    for _ in range(5):
        with pytest.raises(InvalidToken):
            await verifier.verify(sign(claims()))
    assert issuer.requests == 1
    now += REFRESH_PAUSE_S
    generation = verifier.generation
    await verifier.verify(sign(claims()))
    assert (issuer.requests, verifier.generation) == (2, generation + 1)
    with pytest.raises(InvalidToken):
        await verifier.verify(sign(claims(), EC, "ES256"))
    assert issuer.requests == 2


async def test_keys_are_used_for_a_day_while_the_issuer_fails(tmp_path: Path) -> None:
    now = 1000.0
    issuer = Issuer()
    verifier = issuer.open(tmp_path, lambda: now)
    await verifier.verify(sign(claims()))
    issuer.status = 503
    now += 80_000
    await verifier.verify(sign(claims()))
    assert issuer.requests == 2
    restarted = issuer.open(tmp_path, lambda: now)
    await restarted.verify(sign(claims()))
    now += 90_000
    with pytest.raises(Unavailable):
        await verifier.verify(sign(claims()))


async def test_without_keys_a_token_is_neither_accepted_nor_rejected() -> None:
    issuer = Issuer()
    issuer.status = 500
    with pytest.raises(Unavailable):
        await issuer.open().verify(sign(claims()))


@pytest.mark.parametrize(
    ("operations", "is_usable"),
    [(["verify"], True), (["sign", "verify"], True), (["encrypt"], False), ([], False), (7, False)],
)
def test_key_is_used_for_the_operations_that_it_names(
    operations: object, *, is_usable: bool
) -> None:
    published = {**RSA.as_dict(private=False), "key_ops": operations}
    published.pop("use", None)
    assert bool(read_keys(json.dumps({"keys": [published]}).encode())) == is_usable
