"""All of Parley for a test: Redis, stores and gateways as real processes on free ports."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final, Self

from parley_local.redis_server import RedisServer
from tests.harness.ports import free_port
from tests.harness.process import Service

TOKEN: Final = "integration-test-service-token"
"""The service token of every stack."""

RUNNING: Final[set[Stack]] = set()
"""The stacks that run now: their logs are shown when a test fails."""


class Stack:
    """Redis, stores and gateways; as a context manager it starts and stops them.

    Args:
        folder: Where data and logs go.
        gateways: How many gateways; each has a port of its own, and all share one.
        stores: How many stores; gateway number n uses store n modulo that.
        settings: Environment variables for all services, over what the stack sets.
        redis: Further arguments of Redis.
        gateway_module: The package that is run as a gateway; another one for a broken build.
    """

    def __init__(
        self,
        folder: Path,
        *,
        gateways: int = 2,
        stores: int = 1,
        settings: Mapping[str, str] | None = None,
        redis: tuple[str, ...] = (),
        gateway_module: str = "parley_gateway",
    ) -> None:
        self.folder = folder
        self._gateway_module = gateway_module
        self.redis = RedisServer(free_port(), folder / "redis", extra=redis)
        self.port = free_port()
        common = {
            "SERVICE_TOKENS": TOKEN,
            "REDIS_URL": self.redis.url,
            "INTERNAL_HOST": "127.0.0.1",
            "LOG_LEVEL": "info",
            # A test that is not about the grace need not wait for it.
            "OFFLINE_GRACE": "200ms",
        }
        self.stores = [
            Service(
                f"store-{number}",
                "parley_store",
                {
                    **common,
                    "STORE_HOST": "127.0.0.1",
                    "STORE_PORT": str(free_port()),
                    "INTERNAL_PORT": str(free_port()),
                    **(settings or {}),
                },
                folder,
            )
            for number in range(stores)
        ]
        self.gateways = [self._gateway(number, common, settings or {}) for number in range(gateways)]

    def _gateway(self, number: int, common: Mapping[str, str], settings: Mapping[str, str]) -> Service:
        own = free_port()
        store = self.stores[number % len(self.stores)]
        return Service(
            f"gateway-{number}",
            self._gateway_module,
            {
                **common,
                "HOST": "127.0.0.1",
                "PORT": str(self.port),
                "OWN_PORT": str(own),
                "ADDRESS": f"127.0.0.1:{own}",
                "INTERNAL_PORT": str(free_port()),
                "STORE_URL": f"http://127.0.0.1:{store.settings['STORE_PORT']}",
                "DRAIN_SECONDS": "1",
                **settings,
            },
            self.folder,
        )

    @property
    def url(self) -> str:
        """The address that all gateways share."""
        return f"http://127.0.0.1:{self.port}"

    def gateway_url(self, number: int) -> str:
        """The address of one gateway alone."""
        return f"http://127.0.0.1:{self.gateways[number].settings['OWN_PORT']}"

    @property
    def services(self) -> list[Service]:
        """Stores and gateways."""
        return [*self.stores, *self.gateways]

    def errors(self) -> list[str]:
        """What the services have logged at level error, with who did."""
        return [
            f"{service.name}: {record.get('message')} {record.get('error', '')}"
            for service in self.services
            for record in service.records("error")
        ]

    def start(self) -> None:
        """Start everything and wait until it is ready; blocks."""
        RUNNING.add(self)
        self.redis.start()
        for service in self.services:
            service.spawn()
        for service in self.services:
            service.wait_ready()

    def stop(self) -> None:
        """Kill everything: what a test has to say about an orderly end it says itself."""
        for service in reversed(self.services):
            service.kill()
        self.redis.kill()
        RUNNING.discard(self)

    def __enter__(self) -> Self:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
