"""Runs the command line as a user does: in a process of its own."""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from trendedge.settings import Settings

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Done:
    """A command that has ended."""

    status: int
    out: str
    err: str


type TrendEdge = Callable[..., Done]


def run_command(home: Path, *arguments: str, **variables: str) -> Done:
    """Run `trendedge` with these arguments and settings, and no others, in an empty directory."""
    names = {field.upper() for field in Settings.model_fields}
    inherited = {name: value for name, value in os.environ.items() if name not in names}
    done = subprocess.run(
        [sys.executable, "-m", "trendedge", *arguments],
        env=inherited | {"PYTHONPATH": str(ROOT), "TRENDEDGE_HOME": str(home)} | variables,
        cwd=home.parent,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    return Done(done.returncode, done.stdout, done.stderr)
