"""`trendedge serve` from nothing: what it starts, says, and leaves behind."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.commands.support import ROOT, TrendEdge
from trendedge.commands.seed import Demo
from trendedge.commands.serve import next_steps
from trendedge.settings import Settings
from trendedge.storage.embedded import find_running


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
    return port


@contextmanager
def serving(home: Path, port: int, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A process that listens, and what it has said until then in `process.said`."""
    kept = {name: value for name, value in os.environ.items() if name.upper().lower() not in Settings.model_fields}
    environment = kept | {"TRENDEDGE_HOME": str(home), "PORT": str(port), "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-m", "trendedge", "serve", *options]
    with subprocess.Popen(command, env=environment, cwd=home.parent, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def until(process: subprocess.Popen[str], text: str) -> list[str]:
    """What it says up to the first line that holds the text, or all if it ends before."""
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.rstrip("\n"))
        if text in line:
            break
    return lines


def test_the_first_start_shows_each_step_and_what_to_do_next(home: Path, bare: TrendEdge) -> None:
    port = free_port()
    with serving(home, port) as process:
        said = "\n".join(until(process, "trendedge token"))
        for step in ("embedded Valkey", "embedded PostgreSQL", "schema migrated", "demo user", "listening on"):
            assert step in said
        assert f"http://127.0.0.1:{port}/api/v1/webhooks/tradingview" in said
        assert find_running(home, "postgres")
        done = bare("token", "--email", "demo@example.com")
        assert done.status == 0
        assert "embedded" not in done.err  # it found the running one
        process.send_signal(signal.SIGTERM)
        assert process.wait() == 0
    assert find_running(home, "postgres") is None
    with serving(home, port) as process:
        said = "\n".join(until(process, "trendedge token"))
        assert "schema migrated" not in said
        process.send_signal(signal.SIGINT)
        assert process.wait() == 0


def test_a_server_that_is_killed_with_its_make_leaves_the_port_free(home: Path) -> None:
    """`make run`, killed: the process that serves gets no signal, and has to notice by itself."""
    port = free_port()
    command = [sys.executable, "-m", "trendedge", "serve", "--stop-with-parent"]
    code = f"import subprocess; subprocess.run({command!r})"
    environment = os.environ | {"TRENDEDGE_HOME": str(home), "PORT": str(port), "PYTHONPATH": str(ROOT)}
    with subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True) as make:
        until(make, "listening on")
        make.kill()
        assert until(make, "stopped")[-1].endswith("stopped")
    with serving(home, port) as process:
        assert until(process, "listening on")[-1].endswith(f":{port}")


def test_the_lines_to_paste_can_be_pasted(tmp_path: Path) -> None:
    home = tmp_path / "with a 'quote'"
    settings = Settings.model_construct(port=8123, trendedge_home=home)
    for key in ("te_abc", None):
        steps = next_steps(settings, Demo("demo@example.com", key))
        lines = [line.strip() for line in steps if line.startswith("  ")]
        assert len(lines) == 4
        for line in lines:
            checked = subprocess.run(["/bin/sh", "-n", "-c", line], capture_output=True, text=True, check=False)
            assert (checked.returncode, checked.stderr) == (0, "")


def test_outside_of_development_there_is_no_demo_to_speak_of() -> None:
    steps = next_steps(Settings.model_construct(app_env="production"), None)
    assert not any("curl" in line for line in steps)
