"""Reading the description of a system under test from a TOML file.

    name = "seed stack"
    command = "exec ./start.sh"          # without it, the server at `base` runs already
    directory = "/srv/seedstack"
    base = "http://127.0.0.1:58000"
    api_key = "..."
    jwt = "..."
    match = "alert_id"                   # or signal_id
    [environment]
    WEB_WORKERS = "2"

A file without `base` describes the product, with `environment` added: that is how it is measured on other servers.
"""

import tomllib
from pathlib import Path
from typing import Any

from benchmarks.errors import InvalidSystem
from benchmarks.product import Product
from benchmarks.system import AttachedSystem, CommandSystem, System
from benchmarks.target import Match, Target

PRODUCT = "product"
KNOWN = frozenset({"name", "command", "directory", "base", "api_key", "jwt", "match", "environment"})


def read_system(text: str, *, scratch: Path) -> System:
    """The product, for the word `product`; else what the TOML file of that name describes.

    `scratch` is a directory of its own for logs and data, made when needed.

    :raises InvalidSystem: there is no such file, or it cannot be used
    """
    if text == PRODUCT:
        return Product(scratch / PRODUCT)
    try:
        described: dict[str, Any] = tomllib.loads(Path(text).read_text("utf-8"))
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InvalidSystem(text, f"{error}; write `{PRODUCT}` or the name of a TOML file") from error
    if unknown := described.keys() - KNOWN:
        raise InvalidSystem(text, f"unknown {', '.join(sorted(unknown))}; known are {', '.join(sorted(KNOWN))}")
    environment = {str(name): str(value) for name, value in described.get("environment", {}).items()}
    name = str(described.get("name", Path(text).stem))
    if "base" not in described:
        return Product(scratch / PRODUCT, environment=environment, name=name)
    target = _target(text, described)
    if "command" not in described:
        return AttachedSystem(name=name, target=target)
    return CommandSystem(
        name=name,
        command=str(described["command"]),
        target=target,
        directory=Path(described.get("directory", Path(text).parent)),
        environment=environment,
        log=scratch / "serve.log",
    )


def _target(source: str, described: dict[str, Any]) -> Target:
    if missing := {"api_key", "jwt"} - described.keys():
        raise InvalidSystem(source, f"missing {', '.join(sorted(missing))}")
    try:
        match = Match(described.get("match", Match.ALERT_ID))
    except ValueError as error:
        raise InvalidSystem(source, f"match: {error}; write {' or '.join(Match)}") from error
    return Target(
        base=str(described["base"]).rstrip("/"),
        api_key=str(described["api_key"]),
        jwt=str(described["jwt"]),
        match=match,
    )
