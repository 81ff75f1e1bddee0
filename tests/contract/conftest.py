"""The store in memory and over a real Redis, for one suite."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from redis import Redis

from parley_local.redis_server import RedisServer
from tests.contract.servers import Watched
from tests.contract.world import MemoryWorld, RedisWorld, World, make_config
from tests.harness.ports import free_port


def pytest_configure(config: pytest.Config) -> None:
    """Declare the marker of this folder."""
    config.addinivalue_line("markers", "settings(**variables): the store's settings for a test")


@pytest.fixture(scope="session")
def redis_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RedisServer]:
    """Run one Redis server for all tests that do not disturb it."""
    server = RedisServer(free_port(), tmp_path_factory.mktemp("redis"))
    server.start()
    yield server
    server.stop()


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[Watched]:
    """Run a master, a replica and a Sentinel."""
    servers = Watched(tmp_path / "watched")
    servers.start()
    yield servers
    servers.stop()


@pytest.fixture
def settings(request: pytest.FixtureRequest) -> dict[str, str]:
    """Take a test's own settings from its marker: ``@pytest.mark.settings(LEASE="2s")``."""
    marker = request.node.get_closest_marker("settings")
    return dict(marker.kwargs) if marker else {}


@pytest.fixture
async def redis_world(redis_server: RedisServer, settings: dict[str, str]) -> AsyncIterator[RedisWorld]:
    """Make a store over an empty Redis."""
    with Redis(port=redis_server.port) as client:
        client.flushall()
    world = RedisWorld(make_config(REDIS_URL=redis_server.url, **settings))
    yield world
    await world.close()


@pytest.fixture(params=["memory", "redis"])
async def world(request: pytest.FixtureRequest, settings: dict[str, str]) -> AsyncIterator[World]:
    """Make one of the two stores."""
    if request.param == "memory":
        yield MemoryWorld(make_config(**settings))
        return
    server: RedisServer = request.getfixturevalue("redis_server")
    with Redis(port=server.port) as client:
        client.flushall()
    over_redis = RedisWorld(make_config(REDIS_URL=server.url, **settings))
    yield over_redis
    await over_redis.close()
