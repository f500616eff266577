"""Verification of bearer tokens (JWT) as Supabase issues them.

Key and algorithm come from our own configuration, never from the token: one that names another algorithm is refused.
"""

import time
import uuid
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import jwt

from trendedge.http.errors import InvalidToken

AUDIENCE = "authenticated"
LEEWAY_S = 10
REQUIRED = ("exp", "iat", "sub", "aud", "iss")
MAX_TOKEN_CHARS = 8192
PUBLIC_KEY_ALGORITHMS = frozenset({"ES256", "RS256"})


@dataclass(frozen=True, slots=True)
class Principal:
    """Who a token speaks for."""

    user_id: str
    """A UUID in its canonical form."""
    email: str | None
    is_operator: bool
    """From `app_metadata`, which only the identity provider writes; `user_metadata` is the user's own to change."""
    expires_at: float
    """Unix seconds."""


@dataclass(frozen=True, slots=True)
class VerificationKey:
    """A key and the one algorithm it may be used with."""

    algorithm: str
    key: Any = field(repr=False)


class TokenKeys:
    """The keys of the identity provider: the shared secret, and public keys by `kid` as its JWKS lists them."""

    def __init__(self, *, shared_secret: str) -> None:
        self._shared = VerificationKey("HS256", shared_secret)
        self._public: dict[str, VerificationKey] = {}

    def replace_public(self, keys: dict[str, VerificationKey]) -> None:
        """Take a fresh JWKS. A public key never verifies HS256: whoever reads it could then sign with it."""
        for one in keys.values():
            if one.algorithm not in PUBLIC_KEY_ALGORITHMS:
                raise ValueError(f"{one.algorithm} is not an algorithm of public keys")
        self._public = dict(keys)

    def pick(self, kid: object) -> VerificationKey:
        """The key of that id; the shared secret when no public key has it."""
        return self._public.get(kid, self._shared) if isinstance(kid, str) else self._shared


class TokenVerifier:
    """Turns a bearer token into a `Principal`.

    Remembers the tokens that it has verified, up to `capacity`, because a client sends the same one with each request;
    the expiry is looked at every time.
    """

    def __init__(
        self, keys: TokenKeys, *, issuer: str, capacity: int = 4096, clock: Callable[[], float] = time.time
    ) -> None:
        self._keys = keys
        self._issuer = issuer
        self._capacity = capacity
        self._clock = clock
        self._verified: OrderedDict[str, Principal] = OrderedDict()

    def verify(self, token: str) -> Principal:
        """The principal of a token.

        :raises InvalidToken: not signed by the provider, not for us, expired, or without a claim that we rely on
        """
        known = self._verified.get(token)
        if known is not None:
            if self._clock() < known.expires_at + LEEWAY_S:
                return known
            del self._verified[token]
            raise InvalidToken("expired")
        return self.verify_afresh(token)

    def verify_afresh(self, token: str) -> Principal:
        """As `verify`, without what is remembered: keys may have been withdrawn since.

        :raises InvalidToken: as `verify`
        """
        self._verified.pop(token, None)
        principal = _principal(self._decode(token))
        self._verified[token] = principal
        if len(self._verified) > self._capacity:
            self._verified.popitem(last=False)
        return principal

    def _decode(self, token: str) -> dict[str, Any]:
        if len(token) > MAX_TOKEN_CHARS:
            raise InvalidToken("too long")
        try:
            key = self._keys.pick(jwt.get_unverified_header(token).get("kid"))
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=AUDIENCE,
                issuer=self._issuer,
                leeway=LEEWAY_S,
                options={"require": list(REQUIRED)},
            )
        except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
            # PyJWT lets some of Python's own errors through: an `exp` of Infinity, a header nested a thousand deep.
            raise InvalidToken(f"{type(error).__name__}: {error}") from None
        return claims


def _principal(claims: dict[str, Any]) -> Principal:
    try:
        user_id = str(uuid.UUID(claims["sub"]))
    except (ValueError, AttributeError, TypeError):
        raise InvalidToken("sub is not a UUID") from None
    email = claims.get("email")
    metadata = claims.get("app_metadata")
    role = metadata.get("role") if isinstance(metadata, dict) else None
    address = email if isinstance(email, str) and email else None
    return Principal(user_id, address, is_operator=role == "operator", expires_at=float(claims["exp"]))
