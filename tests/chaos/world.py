"""The world that chaos is done to: a stack behind proxies, watched as Kubernetes would, and its people."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Self

from parley_shared.tasks import TaskGroup
from tests.chaos.person import Person
from tests.chaos.proxy import Proxy
from tests.chaos.screen import Violation
from tests.harness.js_client import JsDriver
from tests.harness.process import Service
from tests.harness.stack import Stack

LEASE_SECONDS: Final = 3.0

SETTINGS: Final = {
    "LEASE": f"{LEASE_SECONDS:g}s",
    "OFFLINE_GRACE": "1s",
    "RECOVERY_WINDOW": "60s",
    # A frozen gateway is noticed by its clients within four seconds.
    "PING_INTERVAL": "2s",
    "PING_TIMEOUT": "2s",
    "CONNECT_TIMEOUT": "5s",
    "BATCH_DEADLINE": "3s",
    "REDIS_TIMEOUT": "3s",
    "DRAIN_SECONDS": "1.5",
    "HISTORY_LIMIT": "1000000",
    "MESSAGE_RATE": "1000",
    "MESSAGE_BURST": "1000",
}
"""Everything that takes its time in production, shortened, so that a minute holds many rounds."""

PROBE_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Options:
    """How large the world is.

    Attributes:
        gateways: How many gateways.
        stores: How many stores.
        users: How many users; every fourth has a second tab.
        pause: Mean seconds between two messages of a client.
        durability: The store's DURABILITY.
        gateway_module: What is run as a gateway.
    """

    gateways: int = 3
    stores: int = 2
    users: int = 12
    pause: float = 0.5
    # Redis is killed, and with "everysec" it answers before it writes while a sync is under way.
    durability: str = "disk"
    gateway_module: str = "parley_gateway"


class World:
    """Everything that runs; an asynchronous context manager starts and ends it.

    Args:
        folder: Where data and logs go.
        options: How large it is.

    Attributes:
        stack: The processes.
        front: Between clients and gateways.
        api: Between gateways and stores.
        bus: Between gateways and Redis.
        data: Between stores and Redis.
        people: The clients of one Node process.
        visitors: Those of another, which may be killed.
        violations: What was wrong with the processes.
        kills: When gateways were killed, in ms since the epoch.
        lone_kills: Those during which nothing else was wrong.
        recoveries: What each life of a gateway has counted, by (name, process id).
    """

    def __init__(self, folder: Path, options: Options) -> None:
        self.options = options
        self.stack = Stack(
            folder,
            gateways=options.gateways,
            stores=options.stores,
            settings={**SETTINGS, "DURABILITY": options.durability},
            gateway_module=options.gateway_module,
        )
        self.front = Proxy("client - gateway", lambda: self._ports(self.stack.gateways, "OWN_PORT"))
        self.api = Proxy("gateway - store", lambda: self._ports(self.stack.stores, "STORE_PORT"))
        self.bus = Proxy("gateway - Redis", lambda: [self.stack.redis.port])
        self.data = Proxy("store - Redis", lambda: [self.stack.redis.port])
        for gateway in self.stack.gateways:
            gateway.settings["STORE_URL"] = f"http://127.0.0.1:{self.api.port}"
            gateway.settings["REDIS_URL"] = f"redis://127.0.0.1:{self.bus.port}/0"
        for store in self.stack.stores:
            store.settings["REDIS_URL"] = f"redis://127.0.0.1:{self.data.port}/0"
        self.people: list[Person] = []
        self.visitors: list[Person] = []
        self.violations: list[Violation] = []
        self.kills: list[float] = []
        self.lone_kills: list[float] = []
        self.recoveries: dict[tuple[str, int], dict[str, float]] = {}
        self._locks: dict[str, asyncio.Lock] = {}
        self._ready: set[str] = set()
        self._down: set[str] = set()
        self._tasks = TaskGroup("chaos")
        self._exit = AsyncExitStack()
        self._home = JsDriver()
        self._away = JsDriver()

    async def __aenter__(self) -> Self:
        try:
            for proxy in self.proxies:
                await self._exit.enter_async_context(proxy)
            self._exit.callback(self.stack.stop)
            self.stack.redis.start()
            for service in self.stack.services:
                service.spawn()
            for service in self.stack.services:
                await service.until_ready()
            for service in self.stack.services:
                self._tasks.start(self._watch(service), f"watch-{service.name}")
            self._exit.push_async_callback(self._tasks.close)
            await self._exit.enter_async_context(self._home)
            await self._away.__aenter__()
            self._exit.push_async_callback(self._close_away)
            await self._settle_people()
        except BaseException:
            await self._exit.aclose()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._exit.aclose()

    async def _close_away(self) -> None:
        await self._away.__aexit__(None, None, None)

    async def _settle_people(self) -> None:
        url = f"http://127.0.0.1:{self.front.port}"
        for number in range(self.options.users):
            name = f"user-{number}"
            person = Person(name, url, name)
            (self.visitors if number % 3 == 2 else self.people).append(person)
            await person.arrive(self._away if number % 3 == 2 else self._home)
            if number % 4 == 0:
                tab = Person(f"{name}-tab", url, name)
                self.people.append(tab)
                await tab.arrive(self._home, person.session_id)

    @property
    def proxies(self) -> tuple[Proxy, ...]:
        """All four."""
        return self.front, self.api, self.bus, self.data

    @property
    def everybody(self) -> list[Person]:
        """All clients, in whichever Node process."""
        return [*self.people, *self.visitors]

    def lock(self, name: str) -> asyncio.Lock:
        """The lock under which one process is harmed at a time."""
        return self._locks.setdefault(name, asyncio.Lock())

    # --- what a cluster does ------------------------------------------------------------------

    def _ports(self, services: list[Service], variable: str) -> list[int]:
        """Where a Service would send a connection: to what is ready; to any, when nothing is."""
        ready = [service for service in services if service.name in self._ready]
        return [int(service.settings[variable]) for service in ready or services]

    async def _watch(self, service: Service) -> None:
        """Probe readiness, keep the metrics of a life that may end, and notice who has died by itself."""
        while True:
            if service.name in self._down:
                self._ready.discard(service.name)
            elif service.status is not None:
                text = f"ended by itself with status {service.status}"
                self.violations.append(Violation("help", service.name, text))
                service.spawn()
            elif await asyncio.to_thread(service.ready):
                self._ready.add(service.name)
                if service in self.stack.gateways:
                    await self.count_recoveries(service)
            else:
                self._ready.discard(service.name)
            await asyncio.sleep(PROBE_SECONDS)

    async def count_recoveries(self, gateway: Service) -> None:
        """Remember what a gateway has counted in its present life."""
        life, text = gateway.pid, (await asyncio.to_thread(gateway.get, "/metrics"))[1]
        counts = self.recoveries.setdefault((gateway.name, life), {})
        for line in text.splitlines():
            if line.startswith("parley_gateway_recoveries_total{"):
                series, _, value = line.rpartition(" ")
                counts[series.split('"')[1]] = float(value)

    async def kill(self, service: Service, pause: float) -> None:
        """Kill -9, and start again after a while, as a kubelet does."""
        self._down.add(service.name)
        try:
            if service in self.stack.gateways:
                self.kills.append(time.time() * 1000)
            service.kill()
            await asyncio.sleep(pause)
        finally:
            service.spawn()
            self._down.discard(service.name)

    async def replace(self, service: Service) -> None:
        """End in order (SIGTERM), and start again: a rolling update, which waits for what is not ready."""
        if service.name not in self._ready:
            return
        self._down.add(service.name)
        try:
            status = await asyncio.to_thread(service.stop)
            if status != 0:
                text = f"SIGTERM led to exit status {status}"
                self.violations.append(Violation("help", service.name, text))
        except AssertionError as error:
            self.violations.append(Violation("help", service.name, str(error)))
        finally:
            service.spawn()
            self._down.discard(service.name)

    async def kill_away(self, seconds: float) -> None:
        """Kill the Node process of some clients: they vanish, and come back in another after a while."""
        for person in self.visitors:
            person.vanish()
        await self._away.kill()
        await asyncio.sleep(seconds)
        self._away = JsDriver()
        await self._away.__aenter__()
        for person in self.visitors:
            await person.return_in(self._away)

    # --- in the end ---------------------------------------------------------------------------

    async def all_ready(self) -> None:
        """Wait until every process is ready again by itself.

        Raises:
            AssertionError: One is not.
        """
        for service in self.stack.services:
            await service.until_ready()

    async def histories(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        """Read every conversation from the store, by its two userIDs in order."""
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for person in self.everybody:
            for other in {person.user_id, *(other.user_id for other in self.everybody)}:
                pair = (min(person.user_id, other), max(person.user_id, other))
                if pair not in found:
                    found[pair] = await person.history(other)
        return found
