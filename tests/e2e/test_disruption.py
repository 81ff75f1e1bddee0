"""Pods go away under chatting people: no message is lost or doubled, and everybody is back in time."""

from __future__ import annotations

import asyncio

from tests.e2e.conftest import UnderLoad
from tests.e2e.release import Release


async def test_gateway_deleted(release: Release, under_load: UnderLoad) -> None:
    """A gateway that is deleted hands its clients over."""

    async def delete() -> None:
        name = (await release.kubectl.names("gateway"))[0]
        await release.kubectl("delete", "pod", name)
        await release.gateways_at_least(3)

    await under_load("delete a gateway", delete)


async def test_gateway_killed(release: Release, under_load: UnderLoad) -> None:
    """A gateway that vanishes without a farewell leaves no gap."""

    async def kill() -> None:
        name = (await release.kubectl.names("gateway"))[0]
        await release.kubectl("delete", "pod", name, "--grace-period=0", "--force")
        await release.gateways_at_least(3)

    await under_load("kill a gateway (no grace)", kill)


async def test_store_deleted(release: Release, under_load: UnderLoad) -> None:
    """The other store takes over."""

    async def delete() -> None:
        name = (await release.kubectl.names("store"))[0]
        await release.kubectl("delete", "pod", name)
        await release.kubectl("rollout", "status", "deployment/parley-store", "--timeout=120s")

    await under_load("delete a store", delete)


async def test_all_stores_deleted(release: Release, under_load: UnderLoad) -> None:
    """While no store is there, messages wait with their senders."""

    async def delete() -> None:
        names = await release.kubectl.names("store")
        await release.kubectl("delete", "pod", *names, "--grace-period=1")
        await release.kubectl("rollout", "status", "deployment/parley-store", "--timeout=120s")

    await under_load("delete both stores at once", delete)


async def test_redis_deleted(release: Release, under_load: UnderLoad) -> None:
    """Redis comes back with its volume, and everything goes on."""

    async def delete() -> None:
        await release.kubectl("delete", "pod", "parley-redis-0")
        await release.kubectl("rollout", "status", "statefulset/parley-redis", "--timeout=120s")

    await under_load("delete Redis", delete)


async def test_everything_restarted(release: Release, under_load: UnderLoad) -> None:
    """Gateways and stores are restarted at the same time, as a cluster's maintenance may do."""

    async def restart() -> None:
        await release.kubectl("rollout", "restart", "deployment/parley-gateway", "deployment/parley-store")
        await asyncio.gather(
            release.kubectl("rollout", "status", "deployment/parley-gateway", "--timeout=5m"),
            release.kubectl("rollout", "status", "deployment/parley-store", "--timeout=5m"),
        )

    await under_load("kubectl rollout restart of all", restart)
