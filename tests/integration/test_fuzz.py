"""Nonsense at every door: nothing but clear refusals, and honest clients notice nothing.

``python -m tests.chaos.fuzz`` does the same at length.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from typing import Any

import aiohttp
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.chaos.fuzz.doors import STORE
from tests.chaos.fuzz.run import SETTINGS, fuzz
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.stack import TOKEN, Stack

INPUTS = 3000
SEED = 4
GROWTH_LIMIT_BYTES = 32 * 1024 * 1024

examples = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=12,
)


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways and a store without limits of rate; in the end no service has logged an error."""
    with Stack(tmp_path_factory.mktemp("fuzz"), settings=SETTINGS) as running:
        yield running
        errors = running.errors()
    assert not errors


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    """One event loop for all examples of a test."""
    with asyncio.Runner() as runner:
        yield runner


async def test_noise_at_every_door(own: Stack) -> None:
    """Thousands of bent inputs: each is refused clearly, the witnesses chat on, the memory stays flat."""
    found = await fuzz(own, INPUTS, SEED)
    assert found.unclear == []
    assert found.logged == []
    assert len(found.inputs) == 6, "every door was tried"
    assert max(found.grown_bytes.values()) < GROWTH_LIMIT_BYTES


@examples
@given(auth=json_values)
def test_any_handshake_is_answered(own: Stack, loop: asyncio.Runner, auth: Any) -> None:
    """Whatever CONNECT carries, it is let in, refused by name, or the connection ends."""

    async def connect() -> bytes | None:
        port = int(own.gateways[0].settings["OWN_PORT"])
        socket = await RawWebSocket.open(port, "/socket.io/?EIO=4&transport=websocket")
        try:
            assert (await socket.text()).startswith(b"0")
            socket.send(client_frame(1, b"40" + json.dumps(auth).encode()))
            return await socket.text()
        except (AssertionError, asyncio.IncompleteReadError):
            return None  # closed
        finally:
            socket.writer.transport.abort()

    answer = loop.run(asyncio.wait_for(connect(), 10))
    assert answer is None or answer.startswith((b"40{", b'44{"message":"invalid username"'))


@examples
@given(path=st.sampled_from(sorted(STORE)), body=json_values)
def test_any_body_is_answered_by_the_store(own: Stack, loop: asyncio.Runner, path: str, body: Any) -> None:
    """Whatever the body, the store answers it or refuses it with a code; it never fails."""

    async def post() -> tuple[int, Any]:
        url = f"http://127.0.0.1:{own.stores[0].settings['STORE_PORT']}{path}"
        headers = {"Authorization": f"Bearer {TOKEN}"}
        async with aiohttp.ClientSession() as http, http.post(url, json=body, headers=headers) as answer:
            return answer.status, await answer.json()

    status, answer = loop.run(post())
    assert status == 200 or (400 <= status < 500 and {"code", "message", "retryable"} <= set(answer))
