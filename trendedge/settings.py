"""The configuration, and the only reader of the environment (PRD INF-FR-013, INF-FR-014).

`load_settings()` reads the environment and a `.env` file. In development everything has a default and secrets are made
once and kept; staging and production start with what they are given or not at all.
"""

import json
import os
import secrets
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

type Environment = Literal["development", "staging", "production"]

REQUIRED = ("DATABASE_URL", "UPSTASH_REDIS_URL", "SUPABASE_URL", "SUPABASE_JWT_SECRET", "OPERATOR_API_KEY")
"""Without a default outside of development."""
SECRETS_FILE = "secrets.json"

_CORS_ORIGINS: dict[str, tuple[str, ...]] = {
    "development": ("http://localhost:3000", "http://127.0.0.1:3000"),
    "staging": ("https://staging.trendedge.app",),
    "production": ("https://app.trendedge.app", "https://trendedge.app"),
}


class InvalidSettings(Exception):
    """Settings are missing or cannot be used: all of them at once, one sentence each, never with a secret."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = tuple(problems)


def _package_version() -> str:
    try:
        return version("trendedge")
    except PackageNotFoundError:  # run from a source tree that is not installed
        return "0.1.0"


def _url(example: str, *schemes: str) -> AfterValidator:
    """A check of an address. The address is not repeated in the error, for it may hold a password; its host is."""

    def check(value: str) -> str:
        if not value:
            return value
        try:
            parts = urlsplit(value)
            host, _ = parts.hostname, parts.port
        except ValueError:
            raise ValueError(f"is not an address; it looks like {example}") from None
        if parts.scheme not in schemes:
            seen = f"begins with {parts.scheme}:// (host {host}), and " if parts.scheme and host else ""
            raise ValueError(f"{seen}has to look like {example}")
        if not host:
            raise ValueError(f"names no host; it looks like {example}")
        return value

    return AfterValidator(check)


def _origins(value: object) -> object:
    """A JSON list, or names with commas between them."""
    if not isinstance(value, str):
        return value
    if value.lstrip().startswith("["):
        try:
            return json.loads(value)
        except ValueError:
            raise ValueError("is neither a JSON list nor a list with commas") from None
    return [origin.strip() for origin in value.split(",") if origin.strip()]


_POSTGRES = _url("postgresql://user:password@host:5432/database", "postgresql", "postgres", "postgresql+asyncpg")
_REDIS = _url("rediss://default:password@host:6379 (not Upstash's REST address)", "redis", "rediss")
_HTTP = _url("https://project.supabase.co", "http", "https")

# No `type` statements: pydantic would lose what is said of the field.
Secret = Annotated[str, Field(repr=False)]
PerMinute = Annotated[int, Field(ge=1)]


class Settings(BaseSettings):
    """Everything that can be set, by its name in lower case. An empty variable counts as one that is not set."""

    model_config = SettingsConfigDict(
        env_file=".env",
        env_file_encoding="utf-8",
        env_ignore_empty=True,
        str_strip_whitespace=True,
        extra="ignore",
        frozen=True,
        hide_input_in_errors=True,
    )

    app_env: Environment = "development"
    app_debug: bool = False
    """On in development, if not set."""
    app_version: str = Field(default_factory=_package_version)
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(lambda value: value.upper() if isinstance(value, str) else value),
    ] = "INFO"
    """DEBUG in development, if not set."""

    host: str = "127.0.0.1"
    port: int = Field(default=8000, ge=1, le=65535)
    trendedge_home: Path = Path(".trendedge")
    mailbox_lease_s: float = Field(default=30, ge=1, le=3600)
    """Seconds of silence after which other processes adopt this one's mail. They look every two of these."""
    client_address_header: str = ""
    """Header in which a proxy that is trusted gives the client's address, for example `X-Real-IP`."""

    database_url: Annotated[Secret, _POSTGRES] = ""
    database_direct_url: Annotated[Secret, _POSTGRES] = ""
    """Past the pooler, for migrations."""
    database_pool_size: int = Field(default=10, ge=1, le=1000)
    database_max_overflow: int = Field(default=5, ge=0, le=1000)
    upstash_redis_url: Annotated[Secret, _REDIS] = ""
    event_retention_days: int = Field(default=7, ge=1, le=3650)
    """How far back a WebSocket client can resume."""
    mark_retention_days: int = Field(default=30, ge=1, le=3650)
    """How late an alert may be worked off and still be known as the second of two of one meaning."""

    supabase_url: Annotated[str, _HTTP] = ""
    supabase_anon_key: Secret = ""
    supabase_service_role_key: Secret = ""
    supabase_jwt_secret: Secret = ""
    operator_api_key: Secret = ""

    ibkr_host: str = ""
    ibkr_port: int = Field(default=4002, ge=1, le=65535)
    tradovate_api_key: Secret = ""
    tradovate_api_secret: Secret = ""

    sentry_dsn: Secret = ""
    axiom_api_token: Secret = ""
    telegram_bot_token: Secret = ""

    cors_origins: Annotated[tuple[str, ...], NoDecode, BeforeValidator(_origins)] = ()
    rate_limit_default: PerMinute = 100
    """Requests a minute where no category below applies."""
    rate_limit_auth: PerMinute = 10
    rate_limit_webhook: PerMinute = 30
    rate_limit_read: PerMinute = 200
    rate_limit_write: PerMinute = 60
    rate_limit_analytics: PerMinute = 20
    ws_max_connections_per_user: int = Field(default=10, ge=1)

    demo_webhook_key: Secret = ""
    """Of the demo user, in development: kept, so that each start can print a line that works when pasted."""

    @property
    def is_development(self) -> bool:
        return self.app_env == "development"

    @property
    def is_production(self) -> bool:
        return self.app_env == "production"

    @property
    def home(self) -> Path:
        """Where state is kept: the embedded servers, the node's id, generated secrets. Absolute."""
        return self.trendedge_home.expanduser().absolute()

    @property
    def redis_url(self) -> str:
        return self.upstash_redis_url

    @property
    def migration_url(self) -> str:
        """Where migrations go: past the pooler if there is a way."""
        return self.database_direct_url or self.database_url

    @property
    def database_connections(self) -> int:
        """The most connections at a time: asyncpg's pool has no overflow of its own, so it is part of the pool."""
        return self.database_pool_size + self.database_max_overflow

    @property
    def public_url(self) -> str:
        """Where a person on this machine reaches the process."""
        host = "127.0.0.1" if self.host in {"0.0.0.0", "::", ""} else self.host  # noqa: S104  # compared, not bound
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}"


def load_settings() -> Settings:
    """Read the environment and `.env`, fill in what development needs, and refuse what cannot work.

    :raises InvalidSettings: with every problem at once
    """
    try:
        settings = Settings()
    except ValidationError as error:
        raise InvalidSettings([_sentence(detail) for detail in error.errors(include_url=False)]) from None
    if not settings.is_development:
        missing = [name for name in REQUIRED if not getattr(settings, name.lower())]
        if missing:
            names = ", ".join(missing)
            raise InvalidSettings(
                [f"APP_ENV is {settings.app_env}, and these settings are missing: {names}. See .env.example."]
            )
    return settings.model_copy(update=_defaults(settings))


def _defaults(settings: Settings) -> dict[str, Any]:
    """What depends on the environment and was not set."""
    defaults: dict[str, Any] = {"cors_origins": _CORS_ORIGINS[settings.app_env]}
    if settings.is_development:
        defaults |= {"app_debug": True, "log_level": "DEBUG", "supabase_url": "http://127.0.0.1:54321"}
        defaults |= _kept_secrets(settings.home)
    return {name: value for name, value in defaults.items() if name not in settings.model_fields_set}


def _kept_secrets(home: Path) -> dict[str, str]:
    """Development's secrets: made at the first start on this home, the same ever after, readable for their owner alone.

    :raises InvalidSettings: the home cannot be used
    """
    file = home / SECRETS_FILE
    fresh = {
        "supabase_jwt_secret": secrets.token_urlsafe(48),
        "operator_api_key": f"op_{secrets.token_urlsafe(32)}",
        "demo_webhook_key": f"te_{secrets.token_urlsafe(32)}",
    }
    try:
        home.mkdir(parents=True, exist_ok=True)
        if not file.exists():
            _create_once(file, json.dumps(fresh, indent=2))
        kept: dict[str, str] = json.loads(file.read_text())
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not JSON; delete it to have new ones made"
        raise InvalidSettings([f"TRENDEDGE_HOME cannot be used: {file}: {reason}."]) from error
    return {name: kept.get(name) or value for name, value in fresh.items()}


def _create_once(file: Path, text: str) -> None:
    """Write a whole file unless somebody else was first: two commands may meet at the first start."""
    draft = file.with_name(f".{file.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with open(descriptor, "w") as writing:  # noqa: PTH123  # a descriptor, not a path
            writing.write(text)
        file.hardlink_to(draft)
    except FileExistsError:
        return
    finally:
        draft.unlink()


_SENTENCES = {
    "int_parsing": "must be a whole number",
    "int_from_float": "must be a whole number",
    "bool_parsing": "must be true or false",
    "literal_error": "must be one of {expected}",
    "greater_than_equal": "must be {ge} or more",
    "less_than_equal": "must be {le} or less",
    "value_error": "{error}",
}


def _sentence(detail: ErrorDetails) -> str:
    """One problem, for people. The input is not repeated: it may be a secret in the wrong place."""
    name = str(detail["loc"][0]).upper() if detail["loc"] else "The configuration"
    text = _SENTENCES.get(detail["type"], detail["msg"]).format(**detail.get("ctx", {}))
    return f"{name} {text}."
