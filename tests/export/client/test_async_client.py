"""The client whose methods are coroutines: it says the same."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import grpc
import numpy as np
import pytest

from kpg.export import AsyncClient, Client, ServingError
from tests.echo_server import Echo

ROWS = np.arange(6.0).reshape(3, 2)


def test_it_has_the_methods_of_the_other_one() -> None:
    for name, method in inspect.getmembers(Client, inspect.isfunction):
        if not name.startswith("_"):
            other = getattr(AsyncClient, name)
            assert inspect.iscoroutinefunction(other)
            assert inspect.signature(other) == inspect.signature(method)
    assert inspect.signature(AsyncClient) == inspect.signature(Client)


def test_many_at_a_time() -> None:
    echo = Echo()

    async def ask(address: str) -> Any:
        async with AsyncClient(address, batch_size=2, token="abc") as client:
            await client.wait_until_ready(timeout=5)
            assert set(await client.metadata()) == {"serving_default"}
            assert await client.status() == [(1, "AVAILABLE", "")]
            single = await client.predict(ROWS[0])
            assert single["y"].tolist() == [0.0, 2.0]
            return await asyncio.gather(*[client.predict(ROWS) for _ in range(20)])

    with echo.running() as address:
        for outputs in asyncio.run(ask(address)):
            np.testing.assert_array_equal(outputs["y"], 2.0 * ROWS)
    assert len(echo.requests) == 1 + 2 * 20
    assert {one["authorization"] for one in echo.headers} == {"Bearer abc"}


def test_tries() -> None:
    echo = Echo()

    async def ask(address: str) -> None:
        async with AsyncClient(address) as client:
            echo.failures = [grpc.StatusCode.UNAVAILABLE] * 2
            await client.predict(ROWS)
            echo.failures = [grpc.StatusCode.INTERNAL]
            with pytest.raises(ServingError, match="as told") as caught:
                await client.predict(ROWS)
            assert caught.value.code == "INTERNAL"

    with echo.running() as address:
        asyncio.run(ask(address))
    assert len(echo.requests) == 4


def test_no_server() -> None:
    async def ask() -> None:
        async with AsyncClient("127.0.0.1:1", timeout=5) as client:
            with pytest.raises(ServingError, match="at 127.0.0.1:1 is unavailable"):
                await client.act(ROWS)
            with pytest.raises(ServingError, match="unavailable"):
                await client.wait_until_ready(timeout=0.1)

    asyncio.run(ask())
