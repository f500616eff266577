from pathlib import Path

import pytest

from benchmarks.description import read_system
from benchmarks.errors import InvalidSystem
from benchmarks.product import Product
from benchmarks.system import AttachedSystem, CommandSystem
from benchmarks.target import Match

RIVAL = 'name = "seed"\nbase = "http://127.0.0.1:1/"\napi_key = "k"\njwt = "j"\n'


def described(tmp_path: Path, text: str) -> str:
    path = tmp_path / "system.toml"
    path.write_text(text)
    return str(path)


def test_a_command_is_started_where_its_description_lies(tmp_path: Path) -> None:
    text = f'{RIVAL}command = "exec ./start.sh"\n[environment]\nWORKERS = 2\n'
    system = read_system(described(tmp_path, text), scratch=tmp_path)
    assert isinstance(system, CommandSystem)
    assert (system.name, system.directory, system.environment) == ("seed", tmp_path, {"WORKERS": "2"})
    assert (system.target.base, system.target.match) == ("http://127.0.0.1:1", Match.ALERT_ID)


def test_without_a_command_the_server_runs_already(tmp_path: Path) -> None:
    system = read_system(described(tmp_path, f'{RIVAL}match = "signal_id"\n'), scratch=tmp_path)
    assert isinstance(system, AttachedSystem)
    assert system.target.match is Match.SIGNAL_ID


def test_without_a_base_it_is_the_product(tmp_path: Path) -> None:
    text = '[environment]\nDATABASE_URL = "postgresql://localhost/x"\n'
    assert isinstance(read_system(described(tmp_path, text), scratch=tmp_path), Product)
    assert isinstance(read_system("product", scratch=tmp_path), Product)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("base = 'http://x'\n", "missing api_key, jwt"),
        (f"{RIVAL}match = 'nonsense'\n", "signal_id or alert_id"),
        (f"{RIVAL}bass = 1\n", "unknown bass"),
        ("not toml", "write `product` or the name of a TOML file"),
    ],
)
def test_a_description_that_cannot_be_used_is_refused_with_the_reason(tmp_path: Path, text: str, reason: str) -> None:
    with pytest.raises(InvalidSystem, match=reason):
        read_system(described(tmp_path, text), scratch=tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidSystem, match="No such file"):
        read_system(str(tmp_path / "none.toml"), scratch=tmp_path)
