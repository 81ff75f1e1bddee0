"""The store over HTTP: what waits for it, and what must not."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator

import msgspec
import pytest

from parley_gateway import store_http
from parley_gateway.store_client import HttpStore
from parley_shared import api
from parley_shared.errors import ParleyError

LEASE = api.LeaseResponse(
    held=True, now=1, lease_ms=1, incarnation="i", roster_epoch="r", roster_version=1, gateways=[]
)
ANSWERS = {"/v1/gateways/lease": LEASE, "/v1/gateways/release": api.Done()}
CALLS = 200
"""Far more than there are connections for clients."""


class SlowStore:
    """A store that keeps leases, and never comes to answer anything else.

    Attributes:
        waiting: The requests without an answer.
    """

    def __init__(self) -> None:
        self.waiting = 0
        self.grew = asyncio.Event()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = re.search(r"Content-Length: (\d+)", head)
                await reader.readexactly(int(length[1]) if length else 0)
                answer = ANSWERS.get(head.split()[1])
                if answer is None:
                    self.waiting += 1
                    self.grew.set()
                    continue
                body = msgspec.json.encode(answer)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body))
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()


@pytest.fixture
async def slow() -> AsyncIterator[tuple[SlowStore, HttpStore]]:
    """A slow store and its client."""
    store = SlowStore()
    server = await asyncio.start_server(store.serve, "127.0.0.1", 0)
    client = HttpStore(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", ("token",), 60)
    yield store, client
    await client.close()
    server.close()


async def test_clients_calls_do_not_hold_up_the_lease(slow: tuple[SlowStore, HttpStore]) -> None:
    """A store that is slow with these costs no gateway its lease, nor keeps it from giving it back."""
    store, client = slow
    calls = [asyncio.ensure_future(client.gateways()) for _ in range(CALLS)]
    try:
        async with asyncio.timeout(5):
            while store.waiting < store_http._CONNECTIONS:
                await store.grew.wait()
                store.grew.clear()
            lease = api.LeaseRequest(gateway="g", address="h:1", connections=0, capacity=1, ready=True)
            assert (await client.lease(lease)).held
            await client.release(api.ReleaseRequest(gateway="g"))
        assert store.waiting == store_http._CONNECTIONS, "the others wait for their turn"
    finally:
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)


async def test_an_answer_that_is_too_large_is_not_taken(
    slow: tuple[SlowStore, HttpStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is given up at once, as if there were none, and the next call has a connection of its own."""
    _, client = slow
    release = api.ReleaseRequest(gateway="g")
    monkeypatch.setattr(store_http, "_LIMIT_BYTES", 5)
    with pytest.raises(ParleyError, match="does not answer"):
        await client.release(release)
    monkeypatch.undo()
    assert (await client.release(release)).ok
