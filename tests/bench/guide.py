"""The peers: the guide's own server, on stock python-socketio and on npm's socket.io."""

from __future__ import annotations

import asyncio
import secrets
from typing import ClassVar, Final

from redis.asyncio import Redis

from parley_local.node import find_node, install
from tests.bench.processes import ROOT, Process, python_module
from tests.bench.systems import System

NODE_PEER: Final = ROOT / "tests/bench/peers/node"


class GuideServer(System):
    """A server that keeps in Redis what the guide keeps there, in the same shapes."""

    command: ClassVar[tuple[str, ...]] = ()

    async def seed(self, known: int) -> None:
        """Write the sessions as the servers would; to sign in so many costs them quadratic time."""
        async with Redis(port=self.redis_port) as redis, redis.pipeline(transaction=False) as pipe:
            for i in range(known):
                key = f"session:{secrets.token_hex(8)}"
                fields = ("userID", secrets.token_hex(8), "username", f"known {i}", "connected", "false")
                pipe.hset(key, items=list(fields))
                pipe.expire(key, 24 * 60 * 60)
            await pipe.execute()

    async def start_servers(self, servers: int) -> None:
        """Start the servers; each says on which port it listens."""
        env = {"REDIS_PORT": str(self.redis_port), "NODE_ENV": "production"}
        for i in range(servers):
            log = self.folder / f"server-{i}.log"
            self.groups["gateways"].append(Process(f"{self.name} server {i}", self.command, log, env))
        ports = [await process.printed_port() for process in self.groups["gateways"]]
        self.addresses = [("127.0.0.1", port) for port in ports]


class StockPython(GuideServer):
    """The guide's server on stock python-socketio."""

    name = "stock"
    command = python_module("tests.bench.peers.stock.server")


class Node(GuideServer):
    """The guide's server on npm's socket.io."""

    name = "node"

    async def start_servers(self, servers: int) -> None:
        """Install the packages where they are not there yet, then start."""
        await asyncio.to_thread(install, NODE_PEER)
        type(self).command = (find_node().executable, str(NODE_PEER / "server.js"))
        await super().start_servers(servers)
