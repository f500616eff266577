"""What the environment may say, and what is answered when it cannot be used."""

import json
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from trendedge.settings import REQUIRED, SECRETS_FILE, InvalidSettings, Settings, load_settings

COMPLETE = {
    "DATABASE_URL": "postgresql://app:hunter2@db.example.com:6543/postgres",
    "UPSTASH_REDIS_URL": "rediss://default:hunter2@redis.example.com:6379",
    "SUPABASE_URL": "https://project.supabase.co",
    "SUPABASE_JWT_SECRET": "s" * 40,
    "OPERATOR_API_KEY": "o" * 40,
}

POSTGRES = "postgresql://user:password@host:5432/database"
REDIS = "rediss://default:password@host:6379 (not Upstash's REST address)"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty environment and an empty directory: no `.env`, no home."""
    for field in Settings.model_fields:
        monkeypatch.delenv(field.upper(), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    return monkeypatch


def given(environment: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)


def problems() -> tuple[str, ...]:
    with pytest.raises(InvalidSettings) as caught:
        load_settings()
    return caught.value.problems


def test_development_needs_nothing(tmp_path: Path) -> None:
    settings = load_settings()
    assert settings.is_development
    assert settings.app_debug
    assert settings.log_level == "DEBUG"
    assert settings.home == tmp_path / ".trendedge"
    assert settings.public_url == "http://127.0.0.1:8000"
    assert settings.cors_origins == ("http://localhost:3000", "http://127.0.0.1:3000")
    assert (settings.database_url, settings.redis_url) == ("", "")


def test_development_makes_its_secrets_once_and_keeps_them_to_itself(tmp_path: Path) -> None:
    first, second = load_settings(), load_settings()
    assert len(first.supabase_jwt_secret) >= 32
    assert first.supabase_jwt_secret == second.supabase_jwt_secret
    assert first.operator_api_key == second.operator_api_key
    assert first.demo_webhook_key == second.demo_webhook_key
    assert stat.S_IMODE((tmp_path / ".trendedge" / SECRETS_FILE).stat().st_mode) == 0o600


def test_two_homes_have_different_secrets(environment: pytest.MonkeyPatch) -> None:
    first = load_settings()
    given(environment, TRENDEDGE_HOME="other")
    assert load_settings().supabase_jwt_secret != first.supabase_jwt_secret


def test_commands_that_meet_at_the_first_start_agree_on_the_secrets() -> None:
    with ThreadPoolExecutor(8) as threads:
        loaded = list(threads.map(lambda _: load_settings().supabase_jwt_secret, range(16)))
    assert len(set(loaded)) == 1


def test_a_secret_that_is_given_is_used(environment: pytest.MonkeyPatch) -> None:
    given(environment, SUPABASE_JWT_SECRET="given" * 8)
    assert load_settings().supabase_jwt_secret == "given" * 8


def test_a_damaged_secrets_file_is_told(tmp_path: Path) -> None:
    load_settings()
    (tmp_path / ".trendedge" / SECRETS_FILE).write_text("{")
    (problem,) = problems()
    assert "secrets.json: it is not JSON; delete it to have new ones made." in problem


def test_a_home_that_cannot_be_made_is_told(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    given(environment, TRENDEDGE_HOME=str(tmp_path / "file"))
    assert problems() == (f"TRENDEDGE_HOME cannot be used: {tmp_path / 'file' / SECRETS_FILE}: File exists.",)


@pytest.mark.parametrize("name", ["staging", "production"])
def test_all_that_is_missing_is_named_at_once(environment: pytest.MonkeyPatch, name: str) -> None:
    given(environment, APP_ENV=name, SUPABASE_URL="https://project.supabase.co", OPERATOR_API_KEY="")
    (problem,) = problems()
    missing = "DATABASE_URL, UPSTASH_REDIS_URL, SUPABASE_JWT_SECRET, OPERATOR_API_KEY"
    assert problem == f"APP_ENV is {name}, and these settings are missing: {missing}. See .env.example."


@pytest.mark.parametrize("missing", REQUIRED)
def test_each_required_setting_is_required(environment: pytest.MonkeyPatch, missing: str) -> None:
    given(environment, APP_ENV="production", **{name: value for name, value in COMPLETE.items() if name != missing})
    (problem,) = problems()
    assert f"missing: {missing}." in problem


def test_production_with_everything_starts_and_writes_nothing(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given(environment, APP_ENV="production", **COMPLETE)
    settings = load_settings()
    assert settings.is_production
    assert not settings.app_debug
    assert settings.log_level == "INFO"
    assert settings.cors_origins == ("https://app.trendedge.app", "https://trendedge.app")
    assert settings.demo_webhook_key == ""
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+asyncpg"])
def test_the_database_url_may_name_its_driver(environment: pytest.MonkeyPatch, scheme: str) -> None:
    given(environment, DATABASE_URL=f"{scheme}://u:p@h:5432/d")
    assert load_settings().database_url == f"{scheme}://u:p@h:5432/d"


def test_migrations_go_past_the_pooler_if_there_is_a_way(environment: pytest.MonkeyPatch) -> None:
    given(environment, DATABASE_URL="postgresql://h:6543/d")
    assert load_settings().migration_url == "postgresql://h:6543/d"
    given(environment, DATABASE_DIRECT_URL="postgresql://h:5432/d")
    assert load_settings().migration_url == "postgresql://h:5432/d"


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ('["https://a.example", "https://b.example"]', ("https://a.example", "https://b.example")),
        ("https://a.example,https://b.example", ("https://a.example", "https://b.example")),
        (" https://a.example , ", ("https://a.example",)),
        ("[]", ()),
    ],
)
def test_origins_are_a_list_in_either_way(environment: pytest.MonkeyPatch, written: str, read: tuple[str, ...]) -> None:
    given(environment, CORS_ORIGINS=written)
    assert load_settings().cors_origins == read


def test_an_empty_variable_is_one_that_is_not_set(environment: pytest.MonkeyPatch) -> None:
    given(environment, **{field.upper(): "" for field in Settings.model_fields})
    settings = load_settings()
    assert settings.port == 8000
    assert settings.is_development
    assert settings.supabase_jwt_secret
    assert settings.cors_origins


def test_the_env_file_is_read_and_the_environment_wins(tmp_path: Path, environment: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=9000\nLOG_LEVEL=warning\nSOMEBODY_ELSES=1\nAPP_DEBUG=\n")
    given(environment, PORT="9001")
    settings = load_settings()
    assert (settings.port, settings.log_level, settings.app_debug) == (9001, "WARNING", True)


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("APP_ENV", "prod", "APP_ENV must be one of 'development', 'staging' or 'production'."),
        ("APP_DEBUG", "perhaps", "APP_DEBUG must be true or false."),
        ("LOG_LEVEL", "loud", "LOG_LEVEL must be one of 'DEBUG', 'INFO', 'WARNING', 'ERROR' or 'CRITICAL'."),
        ("PORT", "http", "PORT must be a whole number."),
        ("PORT", "80.5", "PORT must be a whole number."),
        ("PORT", "70000", "PORT must be 65535 or less."),
        ("PORT", "0", "PORT must be 1 or more."),
        ("RATE_LIMIT_READ", "-1", "RATE_LIMIT_READ must be 1 or more."),
        ("CORS_ORIGINS", '["https://a.example"', "CORS_ORIGINS is neither a JSON list nor a list with commas."),
        (
            "DATABASE_URL",
            "mysql://u:hunter2@db.example.com/x",
            f"DATABASE_URL begins with mysql:// (host db.example.com), and has to look like {POSTGRES}.",
        ),
        ("DATABASE_URL", "hunter2", f"DATABASE_URL has to look like {POSTGRES}."),
        (
            "DATABASE_URL",
            "postgresql://u:hunter2@h:port/x",
            f"DATABASE_URL is not an address; it looks like {POSTGRES}.",
        ),
        (
            "DATABASE_DIRECT_URL",
            "postgresql:///x",
            f"DATABASE_DIRECT_URL names no host; it looks like {POSTGRES}.",
        ),
        (
            "UPSTASH_REDIS_URL",
            "https://eu1.upstash.io",
            f"UPSTASH_REDIS_URL begins with https:// (host eu1.upstash.io), and has to look like {REDIS}.",
        ),
        ("SUPABASE_URL", "project", "SUPABASE_URL has to look like https://project.supabase.co."),
    ],
)
def test_a_bad_value_is_one_clear_sentence(
    environment: pytest.MonkeyPatch, name: str, value: str, sentence: str
) -> None:
    given(environment, **{name: value})
    assert problems() == (sentence,)


def test_all_bad_values_are_told_at_once(environment: pytest.MonkeyPatch) -> None:
    given(environment, PORT="x", APP_ENV="y", DATABASE_URL="z")
    assert [problem.split()[0] for problem in problems()] == ["APP_ENV", "PORT", "DATABASE_URL"]


def test_no_secret_shows_in_the_text_of_the_settings(environment: pytest.MonkeyPatch) -> None:
    secrets = {field.upper(): f"hunter2-{field}" for field, info in Settings.model_fields.items() if not info.repr}
    assert {"SUPABASE_JWT_SECRET", "OPERATOR_API_KEY", "DATABASE_URL", "UPSTASH_REDIS_URL"} <= set(secrets)
    secrets |= {name: "postgresql://u:hunter2@h/x" for name in secrets if name.startswith("DATABASE")}
    given(environment, **secrets | {"UPSTASH_REDIS_URL": "rediss://u:hunter2@h"})
    assert "hunter2" not in repr(load_settings())


@pytest.mark.parametrize(
    ("host", "url"),
    [("::", "http://127.0.0.1:9"), ("::1", "http://[::1]:9"), ("trade.example", "http://trade.example:9")],
)
def test_the_url_for_people_can_be_opened(environment: pytest.MonkeyPatch, host: str, url: str) -> None:
    given(environment, HOST=host, PORT="9")
    assert load_settings().public_url == url


def test_the_kept_secrets_are_what_the_readme_says(tmp_path: Path) -> None:
    settings = load_settings()
    kept = json.loads((tmp_path / ".trendedge" / SECRETS_FILE).read_text())
    assert kept["operator_api_key"] == settings.operator_api_key
