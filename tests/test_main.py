"""The command line as such: its names, and how soon it answers."""

import subprocess
import sys

import pytest
from click.testing import CliRunner

from trendedge.__main__ import cli

COMMANDS = ["apikey", "deadletters", "doctor", "migrate", "seed", "serve", "token"]


def test_help_names_every_command() -> None:
    text = CliRunner().invoke(cli, ["--help"]).output
    assert [name for name in COMMANDS if f"\n  {name}" not in text] == []


@pytest.mark.parametrize(
    "command", [*COMMANDS, "migrate up", "migrate down", "migrate status", "deadletters list", "deadletters replay"]
)
def test_each_command_explains_itself(command: str) -> None:
    result = CliRunner().invoke(cli, [*command.split(), "--help"])
    assert result.exit_code == 0
    assert len(result.output.splitlines()) > 3


def test_help_waits_for_none_of_the_product() -> None:
    """An import that takes its time belongs into the command that needs it."""
    code = (
        "import sys; sys.argv = ['trendedge', '--help']\n"
        "from trendedge.__main__ import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        "slow = {'anyio', 'asyncpg', 'pydantic', 'quart', 'sqlalchemy', 'jwt'}\n"
        "print(sorted(slow & set(sys.modules)), file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "[]\n"


def test_an_unknown_command_is_refused() -> None:
    assert CliRunner().invoke(cli, ["trade"]).exit_code == 2
