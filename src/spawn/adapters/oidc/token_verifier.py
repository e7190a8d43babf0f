"""Verification of access tokens: signature, and every check that the library leaves to its caller.

joserfc rejects `none`, an HMAC with a public key, unknown `crit` and broken padding. It accepts an
expired token, one without `exp`, any `typ`, duplicate members and short RSA keys; these are
rejected here.
"""

import base64
import binascii
import json
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final, TypeGuard

import msgspec

from spawn.adapters.oidc.signing_keys import ALGORITHMS, SigningKey, SigningKeys
from spawn.domain.errors import InvalidInput
from spawn.domain.iso.countries import ALPHA_3
from spawn.domain.principal import Principal, PrincipalKind, RowScope, Scope
from spawn.ports.access import InvalidToken, VerifiedToken
from spawn.ports.runtime import Clock

MAX_TOKEN_BYTES: Final = 8 * 1024
MAX_SUBJECT_LENGTH: Final = 180
LEEWAY_S: Final = 30.0
"""Seconds by which the issuer's clock may be ahead, for `nbf` and `iat`; `exp` has none."""

_TYPES: Final = frozenset({"at+jwt", "application/at+jwt"})
_HEADER_MEMBERS: Final = frozenset({"alg", "typ", "kid", "x5t", "x5t#S256"})
_COMPACT: Final = re.compile(r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+")
_SCOPES: Final = {scope.value: scope for scope in Scope}
EVERY_VALUE: Final = "*"
"""Value of a claim about rows that permits every value of its field."""

_CANONICAL_VALUES: Final[Mapping[str, Mapping[str, str]]] = {"country_code": ALPHA_3}


class OidcRules(msgspec.Struct, frozen=True, kw_only=True):
    """The exact issuer and audience of accepted tokens.

    `row_claims` are pairs of a field of projects and the claim with its permitted values.
    """

    issuer: str
    audience: str
    row_claims: tuple[tuple[str, str], ...] = ()


class OidcTokenVerifier:
    """Verifier of the access tokens of one issuer (RFC 9068)."""

    def __init__(self, rules: OidcRules, keys: SigningKeys, clock: Clock) -> None:
        self._rules = rules
        self._keys = keys
        self._clock = clock

    @property
    def generation(self) -> int:
        """Number that changes with the issuer's keys; tokens are then verified again."""
        return self._keys.generation

    async def renew(self) -> None:
        """Request the issuer's keys again if they are no longer fresh."""
        if not self._keys.is_fresh:
            await self._keys.refresh()

    async def verify(self, token: str) -> VerifiedToken:
        """Return the principal of a token.

        Raises:
            InvalidToken: a check fails; the reason has no part of the token.
            Unavailable: the issuer's keys cannot be loaded.
        """
        claims = await self._read_claims(token)
        self._check_addressees(claims)
        expires_at = self._check_times(claims)
        row_scope = _read_row_scope(claims, self._rules.row_claims)
        return VerifiedToken(_build_principal(claims, row_scope), expires_at)

    async def close(self) -> None:
        """Close the connection to the issuer."""
        await self._keys.close()

    async def _read_claims(self, token: str) -> dict[str, Any]:
        """Return the claims once the signature holds."""
        header = read_token_header(token)
        if str(header.get("typ", "")).lower() not in _TYPES:
            raise InvalidToken("its typ is not at+jwt")
        key_id = header.get("kid")
        if not isinstance(key_id, str):
            raise InvalidToken("it has no key id")
        return _read_object(read_signed_payload(token, await self._keys.find(key_id)))

    def _check_addressees(self, claims: dict[str, Any]) -> None:
        if claims.get("iss") != self._rules.issuer:
            raise InvalidToken("it is of another issuer")
        audience = claims.get("aud")
        audiences = audience if isinstance(audience, list) else [audience]
        if self._rules.audience not in audiences:
            raise InvalidToken("it is for another audience")

    def _check_times(self, claims: dict[str, Any]) -> datetime:
        now = self._clock.now().timestamp()
        expires_at = claims.get("exp")
        if not _is_instant(expires_at):
            raise InvalidToken("it has no exp")
        if expires_at <= now:
            raise InvalidToken("it has expired")
        for name in ("nbf", "iat"):
            value = claims.get(name, now)
            if not _is_instant(value) or value > now + LEEWAY_S:
                raise InvalidToken(f"its {name} is in the future")
        return datetime.fromtimestamp(min(expires_at, _LAST_INSTANT), UTC)


def read_token_header(token: str) -> dict[str, Any]:
    """Return the header of a signed JWT in its compact form, with an algorithm that is accepted.

    Raises:
        InvalidToken: it has another form, another algorithm, or members that are not accepted.
    """
    if len(token) > MAX_TOKEN_BYTES or not _COMPACT.fullmatch(token):
        raise InvalidToken("it is no signed JWT")
    header = _read_header(token.partition(".")[0])
    if header.keys() - _HEADER_MEMBERS:
        raise InvalidToken("its header names keys, extensions or other members")
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise InvalidToken("its algorithm is not accepted")
    return header


def read_signed_payload(token: str, key: SigningKey | None) -> bytes:
    """Return the payload of a signed JWT once its signature holds.

    Args:
        token: the JWT.
        key: the issuer's key that its header names; None if the issuer has none.

    Raises:
        InvalidToken: the header is not accepted, the key is none for the algorithm, or the
            signature does not hold.
    """
    # An extra: the settings check that it is installed.
    from joserfc import jws
    from joserfc.errors import JoseError

    algorithm = read_token_header(token)["alg"]
    if key is None or not key.fits(algorithm):
        raise InvalidToken("its key is not one of the issuer's")
    try:
        payload = jws.deserialize_compact(token, key.key, algorithms=[algorithm]).payload
    except (JoseError, ValueError) as error:
        raise InvalidToken("its signature does not hold") from error
    if payload is None:
        raise InvalidToken("it has no payload")
    return payload


_FARTHEST_S: Final = 1e15
_LAST_INSTANT: Final = 253_402_300_799
"""The end of the year 9999."""


def _is_instant(value: Any) -> TypeGuard[float]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    # An integer of JSON may have thousands of digits, which no float has.
    return is_number and -_FARTHEST_S < value < _FARTHEST_S


def _read_row_scope(
    claims: dict[str, Any], row_claims: tuple[tuple[str, str], ...]
) -> RowScope | None:
    """Return the row scope of a token; None if each of its claims permits every value.

    A claim that is absent, or no text or list of texts, permits no value: the issuer must say so
    if a token is for all rows.
    """
    values_by_field: dict[str, list[str]] = {}
    for field, claim in row_claims:
        value = claims.get(claim)
        values = [value] if isinstance(value, str) else value
        if not isinstance(values, list) or not all(isinstance(one, str) for one in values):
            values = []
        if EVERY_VALUE not in values:
            values_by_field[field] = [_CANONICAL_VALUES.get(field, {}).get(v, v) for v in values]
    if not values_by_field:
        return None
    try:
        return RowScope.of(values_by_field)
    except InvalidInput as error:
        raise InvalidToken("a claim about its rows has too many values, or invalid ones") from error


def _build_principal(claims: dict[str, Any], row_scope: RowScope | None = None) -> Principal:
    subject = claims.get("sub")
    if not isinstance(subject, str) or not 0 < len(subject) <= MAX_SUBJECT_LENGTH:
        raise InvalidToken(f"its sub is not a text of 1 to {MAX_SUBJECT_LENGTH} characters")
    scope = claims.get("scope", claims.get("scp", ""))
    names = scope.split() if isinstance(scope, str) else scope
    if not isinstance(names, list):
        raise InvalidToken("its scope is neither a text nor a list")
    texts = (name for name in names if isinstance(name, str))
    scopes = frozenset(_SCOPES[name] for name in texts if name in _SCOPES)
    try:
        return Principal(
            id=f"token:{subject}",
            kind=PrincipalKind.TOKEN,
            scopes=scopes,
            row_scope=row_scope,
        )
    except InvalidInput as error:
        raise InvalidToken("its sub is not one line of text") from error


def _read_header(segment: str) -> dict[str, Any]:
    try:
        document = base64.urlsafe_b64decode(segment + "=" * (-len(segment) % 4))
    except binascii.Error as error:
        raise InvalidToken("its header is no base64") from error
    return _read_object(document)


def _read_object(document: bytes) -> dict[str, Any]:
    """Read a JSON object whose members occur once."""
    try:
        value = json.loads(
            document.decode("utf-8"), object_pairs_hook=_build_object, parse_constant=_reject
        )
    except (ValueError, RecursionError) as error:
        raise InvalidToken("it has a part that is no JSON, or a member occurs twice") from error
    if not isinstance(value, dict):
        raise InvalidToken("it has a part that is no JSON object")
    return value


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    members = dict(pairs)
    if len(members) != len(pairs):
        raise ValueError("a member occurs twice")
    return members


def _reject(constant: str) -> None:
    raise ValueError(f"{constant} is no JSON")
