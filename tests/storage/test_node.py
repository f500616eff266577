"""A process is the node of its home, and of no other process."""

import multiprocessing
from multiprocessing.connection import Connection
from pathlib import Path

from trendedge.storage.node import open_node


def test_a_restart_on_the_same_home_is_the_same_node(tmp_path: Path) -> None:
    with open_node(tmp_path / "home") as first:
        pass
    with open_node(tmp_path / "home") as second:
        assert second == first


def test_two_at_once_on_one_home_are_two_nodes(tmp_path: Path) -> None:
    with open_node(tmp_path) as first, open_node(tmp_path) as second:
        assert second != first
    with open_node(tmp_path) as third:
        assert third == first


def test_without_a_home_each_process_is_new() -> None:
    with open_node(None) as first, open_node(None) as second:
        assert first != second


def test_what_is_no_id_in_the_file_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "node").write_bytes(b"\xffhalf an id\x00" * 10)
    with open_node(tmp_path) as first:
        pass
    with open_node(tmp_path) as second:
        assert (second, len(first)) == (first, 32)


def _hold(home: Path, say: Connection) -> None:
    with open_node(home) as node:
        say.send(node)
        say.recv()


def test_the_node_of_a_killed_process_is_free_at_once(tmp_path: Path) -> None:
    here, there = multiprocessing.get_context("spawn").Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_hold, args=(tmp_path, there))
    process.start()
    try:
        killed = here.recv()
    finally:
        process.kill()
        process.join()
    with open_node(tmp_path) as successor:
        assert successor == killed
