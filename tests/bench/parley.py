"""Parley itself: the processes that `make run` starts, with their defaults except for a few limits."""

from __future__ import annotations

import asyncio
import secrets
import time
from typing import TYPE_CHECKING, Final

import aiohttp

from parley_shared.api import PREFIX
from tests.bench.processes import Process, ProcessFailedError, python_module
from tests.bench.systems import System
from tests.harness.ports import free_port

if TYPE_CHECKING:
    from pathlib import Path

SEED_BATCH: Final = 200
SEED_RENEW_SECONDS: Final = 3
OFFLINE_SECONDS: Final = 120

# A few simulated users stand for the many of a full server: at saturation each sends more than one person
# may, and they sign in faster than a crowd would. Nothing else differs from the defaults.
LIMITS: Final = {"MESSAGE_RATE": "100000", "MESSAGE_BURST": "100000", "CONNECT_RATE": "100000"}


class Parley(System):
    """Gateways, one store, and Redis."""

    name = "parley"
    has_acks = True
    can_recover = True

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._token = secrets.token_urlsafe(24)
        self._store_url = ""

    async def start_store(self) -> None:
        """Start the store and wait until it is ready."""
        port, internal_port = free_port(), free_port()
        env = {
            **self._common(internal_port),
            "STORE_HOST": "127.0.0.1",
            "STORE_PORT": str(port),
        }
        store = Process("store", python_module("parley_store"), self.folder / "store.log", env)
        self.groups["store"].append(store)
        self._store_url = f"http://127.0.0.1:{port}"
        await _ready(store, internal_port)

    async def start_servers(self, servers: int) -> None:
        """Start the gateways and wait until each is ready."""
        started = []
        for i in range(servers):
            port, internal_port = free_port(), free_port()
            env = {
                **self._common(internal_port),
                **LIMITS,
                "HOST": "127.0.0.1",
                "PORT": str(port),
                "ADDRESS": f"127.0.0.1:{port}",
                "STORE_URL": self._store_url,
            }
            log = self.folder / f"gateway-{i}.log"
            gateway = Process(f"gateway {i}", python_module("parley_gateway"), log, env)
            self.groups["gateways"].append(gateway)
            self.addresses.append(("127.0.0.1", port))
            started.append(_ready(gateway, internal_port))
        await asyncio.gather(*started)

    async def seed(self, known: int) -> None:
        """Sign users in through the store's API as a gateway of their own, which then leaves."""
        headers = {"Authorization": f"Bearer {self._token}"}
        gateway = f"seed-{secrets.token_hex(4)}"
        beat = {"gateway": gateway, "address": "127.0.0.1:1", "connections": 0, "capacity": 1, "ready": False}
        async with aiohttp.ClientSession(self._store_url, headers=headers) as session:
            await _post(session, "/gateways/lease", {**beat, "first": True})
            renewed = time.monotonic()
            for first in range(0, known, SEED_BATCH):
                opens = [
                    {
                        "version": i + 1,
                        "username": f"known {i}",
                        "recovery": False,
                        **{f"new_{what}": secrets.token_hex(16) for what in ("session", "user", "pid")},
                    }
                    for i in range(first, min(first + SEED_BATCH, known))
                ]
                await _post(session, "/sessions/open", {"gateway": gateway, "opens": opens})
                if time.monotonic() - renewed > SEED_RENEW_SECONDS:
                    await _post(session, "/gateways/lease", beat)
                    renewed = time.monotonic()
            await _post(session, "/gateways/release", {"gateway": gateway})
            await _nobody_online(session)

    def _common(self, internal_port: int) -> dict[str, str]:
        return {
            "INTERNAL_HOST": "127.0.0.1",
            "INTERNAL_PORT": str(internal_port),
            "REDIS_URL": f"redis://127.0.0.1:{self.redis_port}/0",
            "SERVICE_TOKENS": self._token,
            "DRAIN_SECONDS": "1",
        }


async def _nobody_online(session: aiohttp.ClientSession) -> None:
    """Wait until the grace of all who left is over; what that costs belongs to no measurement."""
    deadline = time.monotonic() + OFFLINE_SECONDS
    while True:
        async with session.get(f"{PREFIX}/roster") as response:
            entries = (await response.json())["entries"]
        # An entry is [user, username, state, version]; those who are online (1) come first.
        if not entries or entries[0][2] != 1:
            return
        if time.monotonic() > deadline:
            raise ProcessFailedError(f"known users are still online {OFFLINE_SECONDS} s after they left")
        await asyncio.sleep(0.1)


async def _post(session: aiohttp.ClientSession, route: str, body: dict[str, object]) -> None:
    async with session.post(PREFIX + route, json=body) as response:
        if response.status != 200:
            raise ProcessFailedError(
                f"the store answered {route} with {response.status}: {await response.text()}"
            )


async def _ready(process: Process, internal_port: int) -> None:
    """Wait until the process says on its internal port that it is ready."""
    async with aiohttp.ClientSession() as session:

        async def is_ready() -> bool:
            try:
                async with session.get(f"http://127.0.0.1:{internal_port}/readyz") as response:
                    return response.status == 200
            except aiohttp.ClientConnectionError:
                return False

        await process.until(is_ready)
