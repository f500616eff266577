"""Every `curl` line of the README does what the README says, in its order, against the running product."""

import argparse
import re
import shlex
from pathlib import Path
from string import Template
from typing import Any

import httpx

from tests.system.person import Person
from tests.system.product import OPERATOR_KEY, Product
from tests.system.waiting import eventually

README = Path(__file__).resolve().parents[2] / "README.md"
BASE = "http://127.0.0.1:8000"


def curl_lines() -> list[str]:
    """The lines that a reader pastes."""
    blocks = re.findall(r"```sh\n(.*?)```", README.read_text("utf-8"), re.DOTALL)
    return [line for block in blocks for line in block.splitlines() if line.startswith("curl ")]


async def run(line: str, client: httpx.AsyncClient, product: Product, variables: dict[str, str]) -> httpx.Response:
    """Do what curl would: its options that the README uses, and no others."""
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("url")
    parser.add_argument("-sS", action="store_true")
    parser.add_argument("-H", action="append", default=[])
    parser.add_argument("-d")
    words = [Template(word).substitute(variables) for word in shlex.split(line)[1:]]
    options = parser.parse_args(words)
    headers = dict(header.split(": ", 1) for header in options.H)
    return await client.request(
        "POST" if options.d is not None else "GET",
        options.url.replace(BASE, product.base_url),
        headers=headers,
        content=options.d,
    )


async def test_every_curl_line_runs_and_the_trade_earns_what_the_readme_says(
    product: Product, client: httpx.AsyncClient, person: Person
) -> None:
    variables = {"KEY": person.key, "TOKEN": person.token, "OPERATOR_KEY": OPERATOR_KEY}
    answers: dict[str, httpx.Response] = {}
    for line in curl_lines():
        answer = await run(line, client, product, variables)
        assert answer.is_success, f"{line}\n{answer.status_code} {answer.text}"
        answers[line] = answer
        if answer.status_code == 202:
            await outcome(client, person, answer.json()["signal_id"])
    assert len(answers) >= 8
    (closed,) = next(a.json()["items"] for line, a in answers.items() if "status=closed" in line)
    assert (closed["symbol"], closed["quantity"], closed["gross_pnl"]) == ("MNQ", "2", "40")


async def outcome(client: httpx.AsyncClient, person: Person, signal_id: str) -> None:
    """Wait until the next line of a reader, who is slower than the product, finds its outcome."""

    async def filled() -> Any:
        return (await person.get(client, f"signals/{signal_id}"))["status"] == "filled"

    await eventually(filled, f"signal {signal_id} is filled")
