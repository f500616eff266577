"""Make .uv/ and .venv/ what the locks say, with nothing but this Python. Run by make before everything else.

Nothing happens when nothing has changed; two makes at once wait for each other. It has to run on any Python 3.8 or
later that a machine comes with, so nothing newer is used.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pathlib
import shutil
import ssl
import subprocess
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

ROOT = pathlib.Path(__file__).resolve().parents[1]
UV_DIR, VENV = ROOT / ".uv", ROOT / ".venv"
UV = UV_DIR / "bin" / "uv"
UV_LOCK, LOCK = ROOT / "requirements-uv.lock", ROOT / "requirements-dev.lock"

WANTED = (ROOT / ".python-version").read_text().strip()
PYTHONS = (
    ["--no-python-downloads", "--python", WANTED],
    ["--no-python-downloads", "--python", ">=3.12"],
    ["--python", WANTED],  # downloaded
)
"""In this order: the version that we develop with, any that will do, one from the net."""


class Unprepared(Exception):
    """What is missing, and what to do."""


def main() -> int:
    """Prepare; the exit status."""
    UV_DIR.mkdir(exist_ok=True)
    with (UV_DIR / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            once(UV_DIR / "stamp", digest(UV_LOCK), install_uv, "uv in .uv/")
            once(VENV / "stamp", digest(LOCK, ROOT / "pyproject.toml"), sync, "locked dependencies in .venv/")
        except (Unprepared, OSError) as error:
            print(f"make: {error}", file=sys.stderr)
            return 1
    return 0


def once(stamp: pathlib.Path, wanted: str, action: Callable[[], None], what: str) -> None:
    """Do it unless the stamp says that it was done."""
    if stamp.exists() and stamp.read_text() == wanted:
        return
    begun = time.monotonic()
    stamp.unlink(missing_ok=True)
    action()
    stamp.write_text(wanted)
    print(f"  {time.monotonic() - begun:6.2f} s  {what}", flush=True)


def digest(*files: pathlib.Path) -> str:
    """Of what the files say and of where we are: an environment knows its own path."""
    seen = hashlib.sha256(os.fsencode(ROOT))
    for file in files:
        seen.update(file.read_bytes())
    return seen.hexdigest()


def install_uv() -> None:
    """Install uv with pip, by its hash: in a virtual environment, or in a directory where Debian has left that out."""
    install = ["install", "--quiet", "--disable-pip-version-check", "--require-hashes", "--requirement", str(UV_LOCK)]
    for entry in UV_DIR.iterdir():
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry)
        elif entry.name != "lock":
            entry.unlink()
    attempts: list[str] = []
    if quietly([sys.executable, "-m", "venv", str(UV_DIR)], attempts):
        if quietly([str(UV_DIR / "bin" / "python"), "-m", "pip", *install], attempts):
            return
    elif quietly([sys.executable, "-m", "pip", *install, "--target", str(UV_DIR)], attempts):
        return
    tried = "\n".join(attempts)
    raise Unprepared(
        f"{sys.executable} could not install uv:\n{tried}\n"
        "It needs the network, and venv or pip; on Debian and Ubuntu: apt install python3-venv"
    )


def sync() -> None:
    """Make .venv/ hold what the lock names and this project, no more and no less."""
    if not runs(VENV / "bin" / "python"):
        attempts: list[str] = []
        if not any(quietly([str(UV), "venv", "--quiet", "--clear", *how, str(VENV)], attempts) for how in PYTHONS):
            tried = "\n".join(attempts)
            raise Unprepared(f"uv found no Python 3.12 or later, and could not download one:\n{tried}")
    into = ["--quiet", "--python", str(VENV / "bin" / "python")]
    loudly([str(UV), "pip", "sync", *into, "--require-hashes", str(LOCK)])
    loudly([str(UV), "pip", "install", *into, "--no-deps", "--no-build-isolation", "--editable", "."])


def runs(python: pathlib.Path) -> bool:
    """Whether this interpreter is there, works and is new enough."""
    check = "import sys; sys.exit(sys.version_info < (3, 12))"
    return python.exists() and quietly([str(python), "-c", check], [])


def quietly(command: list[str], complaints: list[str]) -> bool:
    """Run it; whether it went well. What it says otherwise is added to the complaints."""
    done = subprocess.run(command, cwd=ROOT, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    if done.returncode != 0:
        said = done.stdout.decode("utf-8", "replace").strip()
        complaints.append(f"  {' '.join(command[:4])}\n{said}")
    return done.returncode == 0


def loudly(command: list[str]) -> None:
    """Run it with its output shown."""
    if subprocess.run(command, cwd=ROOT, env=environment()).returncode != 0:
        raise Unprepared(f"`{' '.join(command[:3])}` failed, see above")


def environment() -> dict[str, str]:
    """Ours, without what would lead uv elsewhere; with the machine's certificates, as pip does, where it has any; and
    with a cache of our own where there is no home to keep one in."""
    kept = {name: value for name, value in os.environ.items() if name not in ("VIRTUAL_ENV", "UV_PYTHON")}
    if not os.access(pathlib.Path("~").expanduser(), os.W_OK):
        kept["UV_CACHE_DIR"] = str(UV_DIR / "cache")
    if ssl.get_default_verify_paths().cafile:
        kept.setdefault("UV_SYSTEM_CERTS", "true")
    return kept


if __name__ == "__main__":
    sys.exit(main())
