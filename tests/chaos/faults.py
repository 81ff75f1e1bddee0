"""The faults: what is done, to whom, for how long; chosen by chance from a seed."""

from __future__ import annotations

import asyncio
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from typing import Final

from tests.chaos.proxy import Proxy
from tests.chaos.world import LEASE_SECONDS, World
from tests.harness.process import Service

LEASES: Final = (0.5, 1.0, 3.0)
"""How long processes are frozen, in lease times: unnoticed, at the edge, reaped."""


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault.

    Attributes:
        kind: As the table of faults names it.
        inflict: Does it, and undoes it before it returns.
    """

    kind: str
    inflict: Callable[[World], Awaitable[None]]


def kill_service(group: str, index: int, pause: float) -> Fault:
    """Kill a gateway or store (kill -9); it is started again after ``pause`` seconds."""

    async def inflict(world: World) -> None:
        service = _services(world, group)[index]
        async with world.lock(service.name):
            await world.kill(service, pause)

    return Fault(f"kill -9 {group}", inflict)


def replace_service(group: str, index: int) -> Fault:
    """End a gateway or store in order and start it again."""

    async def inflict(world: World) -> None:
        service = _services(world, group)[index]
        async with world.lock(service.name):
            await world.replace(service)

    return Fault(f"SIGTERM {group}", inflict)


def pause_service(group: str, index: int, leases: float) -> Fault:
    """Freeze a gateway or store for a number of lease times."""

    async def inflict(world: World) -> None:
        service = _services(world, group)[index]
        async with world.lock(service.name):
            service.pause()
            await asyncio.sleep(leases * LEASE_SECONDS)
            service.resume()

    return Fault(f"freeze {group} for {leases:g} leases", inflict)


def kill_redis(pause: float) -> Fault:
    """Kill Redis (kill -9) and start it again on its files."""

    async def inflict(world: World) -> None:
        async with world.lock("redis"):
            world.stack.redis.kill()
            await asyncio.sleep(pause)
            world.stack.redis.start()

    return Fault("kill -9 Redis", inflict)


def pause_redis(leases: float) -> Fault:
    """Freeze Redis for a number of lease times."""

    async def inflict(world: World) -> None:
        async with world.lock("redis"):
            world.stack.redis.pause()
            await asyncio.sleep(leases * LEASE_SECONDS)
            world.stack.redis.resume()

    return Fault(f"freeze Redis for {leases:g} leases", inflict)


def cut(name: str, share: float, seed: int) -> Fault:
    """Break some or all connections of a kind."""

    async def inflict(world: World) -> None:
        _proxy(world, name).cut(share, random.Random(seed))

    return Fault(f"cut {name}", inflict)


def refuse(name: str, seconds: float) -> Fault:
    """Break all connections of a kind and let no new one come about for a while."""

    async def inflict(world: World) -> None:
        proxy = _proxy(world, name)
        async with world.lock(name):
            proxy.refusing = True
            proxy.cut()
            await asyncio.sleep(seconds)
            proxy.refusing = False

    return Fault(f"refuse {name}", inflict)


def delay(name: str, milliseconds: int, seconds: float) -> Fault:
    """Slow all connections of a kind down."""

    async def inflict(world: World) -> None:
        proxy = _proxy(world, name)
        async with world.lock(name):
            proxy.delay_seconds = milliseconds / 1000
            await asyncio.sleep(seconds)
            proxy.delay_seconds = 0.0

    return Fault(f"delay {name}", inflict)


def stall(name: str, share: float, seconds: float, seed: int) -> Fault:
    """Freeze some or all connections of a kind: a partition, or clients that do not read."""

    async def inflict(world: World) -> None:
        links = _proxy(world, name).stall(share, random.Random(seed))
        await asyncio.sleep(seconds)
        for link in links:
            link.resume()

    return Fault(f"stall {name}", inflict)


def drop_client(index: int) -> Fault:
    """A client loses its network and comes back."""

    async def inflict(world: World) -> None:
        await world.people[index % len(world.people)].drop()

    return Fault("client drops", inflict)


def client_leaves(index: int, seconds: float) -> Fault:
    """A client leaves in order and comes back later."""

    async def inflict(world: World) -> None:
        person = world.people[index % len(world.people)]
        async with world.lock(person.name):
            await person.leave()
            await asyncio.sleep(seconds)
            await person.enter()

    return Fault("client leaves and returns", inflict)


def clients_vanish(seconds: float) -> Fault:
    """The Node process of a third of all clients is killed; they come back in another one."""

    async def inflict(world: World) -> None:
        async with world.lock("away"):
            await world.kill_away(seconds)

    return Fault("clients vanish (kill -9 of Node)", inflict)


def schedule(rng: random.Random, world: World) -> Iterator[Fault]:
    """Choose faults for ever."""
    names = [proxy.name for proxy in world.proxies]
    options = world.options

    def seed() -> int:
        return rng.randrange(1 << 30)

    def target() -> tuple[str, int]:
        group = rng.choice(("gateway", "gateway", "store"))
        return group, rng.randrange(options.gateways if group == "gateway" else options.stores)

    makers: list[tuple[int, Callable[[], Fault]]] = [
        (6, lambda: kill_service(*target(), rng.uniform(0.1, 1.0))),
        (2, lambda: replace_service(*target())),
        (4, lambda: pause_service(*target(), rng.choice(LEASES))),
        (2, lambda: kill_redis(rng.uniform(0.0, 1.0))),
        (1, lambda: pause_redis(rng.choice(LEASES))),
        (4, lambda: cut(rng.choice(names), rng.choice((0.3, 1.0)), seed())),
        (1, lambda: refuse(rng.choice(names), rng.uniform(0.2, 2.0))),
        (3, lambda: delay(rng.choice(names), rng.randint(20, 200), rng.uniform(1, 4))),
        (3, lambda: stall(rng.choice(names), rng.choice((0.3, 1.0)), rng.uniform(0.5, 6), seed())),
        (2, lambda: drop_client(seed())),
        (2, lambda: client_leaves(seed(), rng.uniform(0.0, 3.0))),
        (1, lambda: clients_vanish(rng.uniform(0.1, 2.0))),
    ]
    while True:
        (make,) = rng.choices([maker for _, maker in makers], [weight for weight, _ in makers])
        yield make()


async def inflict(
    world: World, faults: Iterator[Fault], rng: random.Random, seconds: float, done: Counter[str]
) -> None:
    """Inflict faults for a time, mostly one after the other, sometimes two at once.

    Returns when all have been undone.

    Args:
        world: To whom.
        faults: Which.
        rng: For the pauses.
        seconds: How long new ones are begun.
        done: Counts them by kind.
    """
    deadline = asyncio.get_running_loop().time() + seconds
    async with asyncio.TaskGroup() as tasks:
        while asyncio.get_running_loop().time() < deadline:
            fault = next(faults)
            done[fault.kind] += 1
            task = tasks.create_task(_begin(fault, world), name=fault.kind)
            if rng.random() > 0.3:
                await asyncio.wait({task})
            await asyncio.sleep(rng.uniform(0.2, 1.5))


async def _begin(fault: Fault, world: World) -> None:
    await fault.inflict(world)


def _services(world: World, group: str) -> list[Service]:
    return world.stack.gateways if group == "gateway" else world.stack.stores


def _proxy(world: World, name: str) -> Proxy:
    (proxy,) = (proxy for proxy in world.proxies if proxy.name == name)
    return proxy
