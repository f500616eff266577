"""`trendedge token`, `apikey` and `seed`: what they print, and whom they make."""

import hashlib
import json
from pathlib import Path

import jwt
import pytest

from tests.commands.support import Done, TrendEdge
from trendedge.http.tokens import TokenKeys, TokenVerifier
from trendedge.settings import SECRETS_FILE
from trendedge.storage.postgres import Database

PRODUCTION = {
    "SUPABASE_URL": "https://project.supabase.co/",
    "SUPABASE_JWT_SECRET": "s" * 40,
    "OPERATOR_API_KEY": "o" * 40,
}


def secret_of(home: Path) -> str:
    kept: dict[str, str] = json.loads((home / SECRETS_FILE).read_text())
    return kept["supabase_jwt_secret"]


def only_line(done: Done) -> str:
    assert done.status == 0, done.err
    (line,) = done.out.splitlines()
    return line


async def test_a_token_is_alone_on_stdout_and_the_front_accepts_it(
    trendedge: TrendEdge, home: Path, database: Database
) -> None:
    token = only_line(trendedge("token", "--email", "new@example.com"))
    verifier = TokenVerifier(TokenKeys(shared_secret=secret_of(home)), issuer="http://127.0.0.1:54321/auth/v1")
    principal = verifier.verify(token)
    assert (principal.email, principal.is_operator) == ("new@example.com", False)
    user = await database.fetchrow("select id::text, email from users")
    assert user is not None
    assert (user["id"], user["email"]) == (principal.user_id, "new@example.com")
    assert await database.fetchval("select mode from accounts where user_id = $1::text::uuid", user["id"]) == "paper"


def test_the_same_user_every_time_whatever_the_case(trendedge: TrendEdge) -> None:
    subjects = {
        jwt.decode(only_line(trendedge("token", "--email", email)), options={"verify_signature": False})["sub"]
        for email in ("who@example.com", "Who@Example.com")
    }
    assert len(subjects) == 1


def test_role_and_lifetime_are_what_was_asked_for(trendedge: TrendEdge, home: Path) -> None:
    token = only_line(trendedge("token", "--email", "ops@example.com", "--role", "operator", "--ttl", "60"))
    claims = jwt.decode(token, secret_of(home), algorithms=["HS256"], audience="authenticated")
    assert claims["exp"] - claims["iat"] == 60
    assert claims["app_metadata"]["role"] == "operator"
    assert claims["aal"] == "aal2"
    always = {"iss", "aud", "exp", "iat", "sub", "role", "aal", "session_id", "email", "phone", "is_anonymous"}
    assert always <= set(claims)


def test_tokens_are_not_for_production(trendedge: TrendEdge) -> None:
    done = trendedge("token", "--email", "a@example.com", APP_ENV="production", **PRODUCTION)
    assert (done.status, done.out) == (1, "")
    sentence = "`trendedge token` works in development and staging only, and APP_ENV is production"
    assert done.err == f"trendedge: {sentence}\n"


def test_in_staging_the_token_is_signed_with_the_settings(trendedge: TrendEdge) -> None:
    token = only_line(trendedge("token", "--email", "a@example.com", APP_ENV="staging", **PRODUCTION))
    claims = jwt.decode(token, "s" * 40, algorithms=["HS256"], audience="authenticated")
    assert claims["iss"] == "https://project.supabase.co/auth/v1"


async def test_a_key_is_alone_on_stdout_and_stored_as_its_hash(trendedge: TrendEdge, database: Database) -> None:
    key = only_line(trendedge("apikey", "--email", "new@example.com", "--name", "desk"))
    row = await database.fetchrow("select name, key_hash, hint, email from api_keys join users on users.id = user_id")
    assert row is not None
    assert dict(row) == {
        "name": "desk",
        "key_hash": hashlib.sha256(key.encode()).digest(),
        "hint": key[-4:],
        "email": "new@example.com",
    }


def test_each_key_is_another(trendedge: TrendEdge) -> None:
    keys = {only_line(trendedge("apikey", "--email", "a@example.com")) for _ in range(2)}
    assert len(keys) == 2


@pytest.mark.parametrize("email", ["", "nobody", "a b@example.com", "a@b@c", "x" * 255 + "@example.com"])
def test_an_address_has_to_be_one(bare: TrendEdge, email: str) -> None:
    done = bare("token", "--email", email)
    assert (done.status, done.out) == (2, "")
    assert "that is no address" in done.err


@pytest.mark.parametrize("ttl", ["0", "-5", "soon"])
def test_a_lifetime_has_to_be_one(bare: TrendEdge, ttl: str) -> None:
    assert bare("token", "--email", "a@example.com", "--ttl", ttl).status == 2


async def test_the_demo_user_is_made_once(trendedge: TrendEdge, database: Database, home: Path) -> None:
    first, second = trendedge("seed"), trendedge("seed")
    key = json.loads((home / SECRETS_FILE).read_text())["demo_webhook_key"]
    for done in (first, second):
        assert done.status == 0, done.err
        assert f"webhook key: {key}" in done.out
    assert "trades at any hour" in first.out
    assert "trades at any hour" not in second.out
    assert await database.fetchval("select count(*) from users") == 1
    assert await database.fetchval("select count(*) from api_keys") == 1
    assert await database.fetchval("select any_hour from accounts")


async def test_a_demo_key_that_was_revoked_stays_revoked(trendedge: TrendEdge, database: Database) -> None:
    trendedge("seed")
    await database.execute("update api_keys set revoked_at = now()")
    done = trendedge("seed")
    assert done.status == 0
    assert "webhook key: revoked" in done.out


def test_nobody_is_seeded_outside_of_development(trendedge: TrendEdge) -> None:
    done = trendedge("seed", APP_ENV="staging", **PRODUCTION)
    assert done.status == 1
    assert done.err == "trendedge: `trendedge seed` works in development only, and APP_ENV is staging\n"
