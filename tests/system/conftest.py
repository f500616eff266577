"""One product for all tests of a process that do not stop it, and a fresh trader for each test."""

import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx
import pytest

from tests.system.person import Person
from tests.system.product import Product
from tests.system.trading import trades

_numbers = itertools.count(1)


@asynccontextmanager
async def stopping(product: Product) -> AsyncIterator[Product]:
    """Stop the product in the end, whatever became of it."""
    try:
        yield product
    finally:
        if product.running:
            product.terminate()
            await product.ended()


@pytest.fixture(scope="session")
async def product(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Product]:
    """A running product that the tests share: nobody may stop it."""
    async with stopping(Product(tmp_path_factory.mktemp("product"))) as shared:
        await shared.start()
        yield shared


@pytest.fixture
async def client(product: Product) -> AsyncIterator[httpx.AsyncClient]:
    """A client of the shared product, without credentials."""
    async with product.client() as client:
        yield client


@pytest.fixture
async def person(product: Product) -> Person:
    """A trader on the shared product, without a trade."""
    return await product.person(f"trader-{next(_numbers)}")


@pytest.fixture(scope="session")
async def victim(product: Product) -> Person:
    """One trader for all the tests that send rubbish: none of it may leave a trace."""
    return await product.person("victim")


@pytest.fixture
async def unharmed(product: Product, client: httpx.AsyncClient, victim: Person) -> AsyncIterator[None]:
    """After the test the same process is alive, and a good alert is traded."""
    pid = product.process.pid
    yield
    await trades(product, client, victim)
    assert product.running
    assert product.process.pid == pid


@pytest.fixture
async def own_product(tmp_path: Path) -> AsyncIterator[Product]:
    """A product of the test's own, not yet started, on embedded servers."""
    async with stopping(Product(tmp_path / "product")) as own:
        yield own
