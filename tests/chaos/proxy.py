"""A TCP proxy that can go wrong: it cuts, delays, stalls and refuses the connections it carries.

Parley's processes reach each other, and clients reach them, through such proxies. One stands for what a
network and a load balancer do: it tries the targets in turn and skips those that do not accept.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Sequence
from typing import Final, Self

from parley_shared.tasks import TaskGroup
from tests.harness.ports import free_port

_CHUNK: Final = 64 * 1024
_CONNECT_SECONDS: Final = 2.0


class Link:
    """One connection that the proxy carries: a client's side and a target's side."""

    def __init__(self, client: asyncio.StreamWriter, target: asyncio.StreamWriter) -> None:
        self._writers = (client, target)
        self._flowing = asyncio.Event()
        self._flowing.set()

    def cut(self) -> None:
        """Break the connection on both sides, as a router that forgets it does."""
        for writer in self._writers:
            writer.transport.abort()
        self._flowing.set()

    def stall(self) -> None:
        """Carry nothing more, without a word to either side."""
        self._flowing.clear()

    def resume(self) -> None:
        """Carry again, also what has come meanwhile."""
        self._flowing.set()

    async def flowing(self) -> None:
        """Wait until the connection is not stalled."""
        await self._flowing.wait()


class Proxy:
    """Listens on a free port of 127.0.0.1; as an asynchronous context manager it opens and closes.

    Args:
        name: What it stands for, for reports.
        targets: Gives the ports it may connect to, asked anew for each connection.

    Attributes:
        delay_seconds: How much longer every chunk takes in either direction.
        refusing: New connections are closed at once.
    """

    def __init__(self, name: str, targets: Callable[[], Sequence[int]]) -> None:
        self.name = name
        self.port = free_port()
        self.delay_seconds = 0.0
        self.refusing = False
        self._targets = targets
        self._turn = itertools.count()
        self._links: set[Link] = set()
        self._server: asyncio.Server | None = None
        self._tasks = TaskGroup(f"proxy-{name}")

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        self.cut()
        await self._tasks.close()

    @property
    def links(self) -> int:
        """How many connections it carries."""
        return len(self._links)

    def cut(self, share: float = 1.0, rng: random.Random | None = None) -> int:
        """Break connections; returns how many.

        Args:
            share: Which part of them, from 0 to 1.
            rng: Chooses them.
        """
        links = self._choose(share, rng)
        for link in links:
            link.cut()
        return len(links)

    def stall(self, share: float = 1.0, rng: random.Random | None = None) -> list[Link]:
        """Freeze connections until each is told to `Link.resume`; returns them."""
        links = self._choose(share, rng)
        for link in links:
            link.stall()
        return links

    def _choose(self, share: float, rng: random.Random | None) -> list[Link]:
        links = list(self._links)
        return (rng or random).sample(links, round(len(links) * share))

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.refusing or (target := await self._connect()) is None:
            writer.transport.abort()
            return
        target_reader, target_writer = target
        link = Link(writer, target_writer)
        self._links.add(link)
        pumps = (
            self._tasks.start(self._pump(link, reader, target_writer), "in"),
            self._tasks.start(self._pump(link, target_reader, writer), "out"),
        )
        try:
            await asyncio.wait(pumps)
        finally:
            self._links.discard(link)
            link.cut()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        ports = list(self._targets())
        first = next(self._turn)
        for number in range(len(ports)):
            try:
                async with asyncio.timeout(_CONNECT_SECONDS):
                    return await asyncio.open_connection("127.0.0.1", ports[(first + number) % len(ports)])
            except (OSError, TimeoutError):
                continue
        return None

    async def _pump(self, link: Link, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while chunk := await reader.read(_CHUNK):
                await link.flowing()
                if self.delay_seconds:
                    await asyncio.sleep(self.delay_seconds)
                writer.write(chunk)
                await writer.drain()
            await link.flowing()
            if writer.can_write_eof():
                writer.write_eof()
        except OSError:
            link.cut()  # one side is gone: the other must not wait for it
