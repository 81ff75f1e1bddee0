"""What is measured: each scenario starts a system afresh, works it, and returns figures by name.

A figure's name is `work.measure`; works and measures are listed in the report. CPU is in microseconds a
delivered message or milliseconds a connect, by group (`gateways_`, `store_`, `redis_`) and in total; memory
in KiB; latencies in milliseconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from tests.bench.load import Crowd, Window
from tests.bench.processes import memory_bytes, settle, usage
from tests.bench.systems import System, running

Figures = dict[str, float]

USERS: Final = 200
LOST_SECONDS: Final = 1.0
"""How long a lost connection stays away: the JavaScript client comes back after 0.5 to 1.5 s."""


@dataclass(frozen=True, slots=True)
class Options:
    """How long and how much to measure.

    Attributes:
        seconds: Length of one measurement under load.
        warm_seconds: Load before it that is not counted.
        windows: Messages in flight that are tried in search of the greatest throughput.
        known: Offline users in the scenarios with many known users.
        idle_connections: The two numbers of connections between which memory is compared.
        cold_known: Known users at the cold start.
    """

    seconds: float = 8
    warm_seconds: float = 2
    windows: tuple[int, ...] = (50, 100, 200, 400)
    known: int = 5_000
    idle_connections: tuple[int, int] = (1_000, 2_000)
    cold_known: int = 100_000


async def messages(kind: type[System], options: Options) -> Figures:
    """Carry messages on two servers: at 500 and 1,000 a second, saturated, and at half of that."""
    async with running(kind, 2) as system:
        work = await _Work.begin(system, options)
        figures = await work.at_rate("rate 500/s x2", 500) | await work.at_rate("rate 1000/s x2", 1_000)
        if kind.has_acks:
            figures |= await work.at_rate("acked 1000/s x2", 1_000, with_ack=True)
            figures |= await work.saturated("acked saturated x2", with_ack=True)
        figures |= await work.saturated("saturated x2")
        half = figures["saturated x2.per_second"] / 2
        return figures | await work.at_rate("half saturated x2", half)


def scaling(servers: int) -> Scenario:
    """Make the scenario that carries 500 messages a second on so many servers."""

    async def scale(kind: type[System], options: Options) -> Figures:
        async with running(kind, servers) as system:
            work = await _Work.begin(system, options)
            return await work.at_rate(f"rate 500/s x{servers}", 500)

    return Scenario(f"scale-{servers}", scale)


async def connects(kind: type[System], _options: Options) -> Figures:
    """Sign in 200 users where nobody is known yet."""
    async with running(kind, 2) as system:
        return await _join(system, Crowd(system.addresses), "connect, 0 known")


async def connects_known(kind: type[System], options: Options) -> Figures:
    """Sign in 200 users among many known ones; then lose all connections and recover them."""
    async with running(kind, 2, known=options.known) as system:
        crowd = Crowd(system.addresses)
        figures = await _join(system, crowd, f"connect, {options.known} known")
        if kind.can_recover:
            name = f"reconnect, {options.known} known"
            await crowd.drop()
            await asyncio.sleep(LOST_SECONDS)
            before = usage(system.groups)
            recovered = await crowd.come_back()
            await settle(system.groups)
            spent = usage(system.groups).since(before)
            figures |= _cpu(name, spent, USERS, "ms", 1e3)
            figures[f"{name}.recovered"] = recovered / USERS
        return figures


async def idle(kind: type[System], options: Options) -> Figures:
    """Compare the memory of the servers at two numbers of idle connections.

    The step between the two can hide in what earlier work has left free; the rise since the start holds all
    that the processes ever needed. The truth lies between.
    """
    fewer, more = options.idle_connections
    async with running(kind, 2) as system:
        crowd = Crowd(system.addresses)
        servers = system.groups["gateways"] + system.groups["store"]
        await settle(system.groups)
        empty_rss, _ = memory_bytes(servers)
        await crowd.join(fewer)
        await settle(system.groups)
        rss, pss = memory_bytes(servers)
        await crowd.join(more - fewer)
        await settle(system.groups)
        more_rss, more_pss = memory_bytes(servers)
    return {
        "idle connection.rss_kib": (more_rss - rss) / (more - fewer) / 1024,
        "idle connection.pss_kib": (more_pss - pss) / (more - fewer) / 1024,
        "idle connection.rss_from_empty_kib": (more_rss - empty_rss) / more / 1024,
    }


async def cold_start(kind: type[System], options: Options) -> Figures:
    """Start one gateway among very many known users, until it is ready."""
    async with running(kind, 0, known=options.cold_known) as system:
        await settle(system.groups)
        began = time.monotonic()
        await system.start_servers(1)
        seconds = time.monotonic() - began
        rss, pss = memory_bytes(system.groups["gateways"])
    name = f"cold start, {options.cold_known} known"
    return {f"{name}.seconds": seconds, f"{name}.rss_mib": rss / 2**20, f"{name}.pss_mib": pss / 2**20}


@dataclass(frozen=True, slots=True)
class Scenario:
    """A scenario and how it is run.

    Attributes:
        name: By which it is chosen on the command line.
        run: Measures one system.
        most_runs: Runs after which nothing is learned any more; the slow ones vary little.
        own_only: Only Parley has what is measured.
    """

    name: str
    run: Callable[[type[System], Options], Awaitable[Figures]]
    most_runs: int = 1_000
    own_only: bool = False


def scenarios(servers: list[int]) -> list[Scenario]:
    """All scenarios, with the scaling one for each of some numbers of servers."""
    return [
        Scenario("messages", messages),
        *(scaling(number) for number in servers),
        Scenario("connects", connects),
        Scenario("connects-known", connects_known),
        Scenario("idle", idle, most_runs=3),
        Scenario("cold-start", cold_start, most_runs=3, own_only=True),
    ]


@dataclass(frozen=True, slots=True)
class _Work:
    """A system with its crowd, ready to carry messages."""

    system: System
    crowd: Crowd
    options: Options

    @classmethod
    async def begin(cls, system: System, options: Options) -> _Work:
        crowd = Crowd(system.addresses)
        await crowd.join(USERS)
        crowd.pair_up()
        await settle(system.groups)
        return cls(system, crowd, options)

    async def at_rate(self, name: str, per_second: float, *, with_ack: bool = False) -> Figures:
        """Measure an open loop."""
        await self.crowd.at_rate(per_second, self.options.warm_seconds, with_ack=with_ack)
        before = usage(self.system.groups)
        window = await self.crowd.at_rate(per_second, self.options.seconds, with_ack=with_ack)
        return await self._figures(name, usage(self.system.groups).since(before), window)

    async def saturated(self, name: str, *, with_ack: bool = False) -> Figures:
        """Search the window with the greatest throughput and measure there.

        A window that suits one system starves or floods another: python-socketio carries less the more it is
        given, Node more. So each is measured at its own best.
        """
        best, best_rate = 0, 0.0
        for in_flight in self.options.windows:
            window = await self.crowd.as_fast_as_possible(
                in_flight, self.options.warm_seconds, with_ack=with_ack
            )
            await self.crowd.quiesce()
            rate = window.delivered / window.seconds
            if rate > best_rate:
                best, best_rate = in_flight, rate
        await self.crowd.as_fast_as_possible(best, self.options.warm_seconds, with_ack=with_ack)
        before = usage(self.system.groups)
        window = await self.crowd.as_fast_as_possible(best, self.options.seconds, with_ack=with_ack)
        spent = usage(self.system.groups).since(before)
        return await self._figures(name, spent, window) | {f"{name}.in_flight": best}

    async def _figures(self, name: str, spent: dict[str, float], window: Window) -> Figures:
        missing = await self.crowd.quiesce()
        return {
            **_cpu(name, spent, window.delivered, "us", 1e6),
            f"{name}.per_second": window.delivered / window.seconds,
            f"{name}.receipt_p50_ms": window.receipt_p50_ms,
            f"{name}.receipt_p99_ms": window.receipt_p99_ms,
            f"{name}.ack_p50_ms": window.ack_p50_ms,
            f"{name}.ack_p99_ms": window.ack_p99_ms,
            f"{name}.missing": missing,
            f"{name}.disordered": window.disordered,
            f"{name}.refused": window.refused,
            f"{name}.generator_cpu": window.generator_cpu,
            f"{name}.late_ms": window.late_ms,
        }


async def _join(system: System, crowd: Crowd, name: str) -> Figures:
    await settle(system.groups)
    before = usage(system.groups)
    await crowd.join(USERS)
    await settle(system.groups)
    figures = _cpu(name, usage(system.groups).since(before), USERS, "ms", 1e3)
    sizes = crowd.tally.users_bytes
    figures[f"{name}.users_kib"] = sum(sizes) / len(sizes) / 1024
    return figures


def _cpu(name: str, spent: dict[str, float], count: int, unit: str, per_second: float) -> Figures:
    return {
        f"{name}.{group}_{unit}": seconds * per_second / max(count, 1) for group, seconds in spent.items()
    }
