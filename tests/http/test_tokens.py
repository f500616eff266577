"""Tokens: what is accepted, and the many ways in which one is not."""

import base64
import uuid
from collections.abc import Callable
from typing import Any

import jwt
import orjson
import pytest

from tests.http.support import ISSUER, SECRET, claims_for, token_for
from trendedge.http.errors import InvalidToken
from trendedge.http.tokens import TokenKeys, TokenVerifier, VerificationKey

USER = str(uuid.uuid4())


def verifier(**options: Any) -> TokenVerifier:
    return TokenVerifier(TokenKeys(shared_secret=SECRET), issuer=ISSUER, **options)


def part(content: Any) -> str:
    raw = content if isinstance(content, bytes) else orjson.dumps(content)
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def test_a_token_of_the_provider_names_its_user() -> None:
    principal = verifier().verify(token_for(USER, email="a@example.com"))
    assert (principal.user_id, principal.email, principal.is_operator) == (USER, "a@example.com", False)


def test_the_role_of_an_operator_comes_from_app_metadata_alone() -> None:
    assert verifier().verify(token_for(USER, app_metadata={"role": "operator"})).is_operator
    assert not verifier().verify(token_for(USER, user_metadata={"role": "operator"}, role="operator")).is_operator
    assert not verifier().verify(token_for(USER, app_metadata=["operator"])).is_operator


@pytest.mark.parametrize("claim", ["exp", "iat", "sub", "aud", "iss"])
def test_a_claim_that_is_relied_on_must_be_there(claim: str) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token_for(USER, **dict[str, Any]({claim: None})))


@pytest.mark.parametrize(
    "changes",
    [
        {"aud": "anon"},
        {"iss": "supabase"},
        {"iss": "https://other.supabase.test/auth/v1"},
        {"exp": 1},
        {"iat": 9_999_999_999},
        {"sub": "not-a-uuid"},
        {"sub": ""},
        {"exp": "soon"},
    ],
)
def test_a_token_with_a_wrong_claim_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(token_for(USER, **changes))


def _unsigned(claims: dict[str, Any]) -> str:
    return f"{part({'alg': 'none', 'typ': 'JWT'})}.{part(claims)}."


def _infinite(claims: dict[str, Any]) -> str:
    raw = orjson.dumps(claims | {"exp": 1}).replace(b'"exp":1', b'"exp":Infinity')
    head = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(raw)}"
    signature = jwt.get_algorithm_by_name("HS256").sign(head.encode(), SECRET.encode())
    return f"{head}.{part(signature)}"


@pytest.mark.parametrize(
    "forge",
    [
        _unsigned,
        _infinite,
        lambda claims: jwt.encode(claims, "another secret that is long enough to sign with", algorithm="HS256"),
        lambda claims: jwt.encode(claims, SECRET * 2, algorithm="HS512"),
        lambda _: "",
        lambda _: "a.b.c",
        lambda _: "....",
        lambda _: "\udcff.\x00.é",
        lambda _: f"{part(b'[' * 5000)}.{part({})}.x",
        lambda _: "x" * 100_000,
        lambda claims: jwt.encode(claims, SECRET, algorithm="HS256")[:-2],
    ],
)
def test_a_forged_or_broken_token_is_refused(forge: Callable[[dict[str, Any]], str]) -> None:
    with pytest.raises(InvalidToken):
        verifier().verify(forge(claims_for(USER)))


def test_a_verified_token_is_remembered_only_until_it_expires() -> None:
    class Clock:
        now = 0.0

        def __call__(self) -> float:
            return self.now

    clock = Clock()
    verify = verifier(clock=clock).verify
    token = token_for(USER)
    expires_at = verify(token).expires_at
    clock.now = expires_at + 9
    assert verify(token).user_id == USER
    clock.now = expires_at + 10
    with pytest.raises(InvalidToken):
        verify(token)


def test_what_is_remembered_is_bounded() -> None:
    one = verifier(capacity=2)
    tokens = [token_for(str(uuid.uuid4())) for _ in range(5)]
    for token in tokens:
        one.verify(token)
    assert len(one._verified) == 2


def test_a_public_key_never_verifies_a_shared_secret_signature() -> None:
    with pytest.raises(ValueError, match="HS256"):
        TokenKeys(shared_secret=SECRET).replace_public({"k": VerificationKey("HS256", "public")})


def test_a_public_key_is_used_with_its_own_algorithm_whatever_the_token_says() -> None:
    keys = TokenKeys(shared_secret=SECRET)
    keys.replace_public({"k": VerificationKey("ES256", SECRET)})
    forged = jwt.encode(claims_for(USER), SECRET, algorithm="HS256", headers={"kid": "k"})
    with pytest.raises(InvalidToken):
        TokenVerifier(keys, issuer=ISSUER).verify(forged)
    assert TokenVerifier(keys, issuer=ISSUER).verify(token_for(USER)).user_id == USER
