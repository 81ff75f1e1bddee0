"""The gateways and the store, as the operator asks them: counts, drains, sheds, leases."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Sequence
from typing import Annotated, Final, TypeVar

import aiohttp
import msgspec
from msgspec import Meta, Struct

from parley_shared import auth
from parley_shared.api import PREFIX, GatewayInfo, GatewaysResponse

T = TypeVar("T")

_SAMPLE: Final = re.compile(rb"^parley_gateway_connections(?:\{[^}]*\})? ([0-9.eE+]+)(?: .*)?$", re.MULTILINE)


class NoAnswerError(Exception):
    """A gateway or the store did not answer as it should; the text says who and how."""


class DrainState(Struct, kw_only=True, frozen=True):
    """What ``/drain`` answers."""

    draining: bool
    connections: Annotated[int, Meta(ge=0)]


class Gateways:
    """Asks gateways by the address of their internal port, and the store by its URL.

    Args:
        session: For the requests; closed by whoever made it.
        tokens: The service tokens; the first is sent.
        timeout_seconds: How long an answer may take.
        at_once: How many are asked at the same time.
    """

    def __init__(
        self, session: aiohttp.ClientSession, tokens: Sequence[str], timeout_seconds: float, at_once: int
    ) -> None:
        self._session = session
        self._headers = auth.bearer(tokens)
        self._timeout = aiohttp.ClientTimeout(total=timeout_seconds)
        self._slots = asyncio.Semaphore(at_once)

    async def connections(self, address: str) -> int:
        """Count a gateway's connections, from its metrics.

        Raises:
            NoAnswerError: It did not answer, or without that metric.
        """
        body = await self._request("GET", f"http://{address}/metrics")
        samples = _SAMPLE.findall(body)
        if not samples:
            raise NoAnswerError(f"the metrics of {address} have no parley_gateway_connections")
        return round(sum(map(float, samples)))

    async def drain_state(self, address: str) -> DrainState:
        """Ask how far a drain has come.

        Raises:
            NoAnswerError: The gateway did not answer as it should.
        """
        return await self._drain("GET", address)

    async def drain(self, address: str) -> DrainState:
        """Have a gateway become unready and empty; asked again it goes on.

        Raises:
            NoAnswerError: The gateway did not answer as it should.
        """
        return await self._drain("POST", address)

    async def undrain(self, address: str) -> DrainState:
        """Have a gateway take clients again.

        Raises:
            NoAnswerError: The gateway did not answer as it should.
        """
        return await self._drain("DELETE", address)

    async def shed(self, address: str, count: int) -> None:
        """Have a gateway close ``count`` connections in paced batches.

        Raises:
            NoAnswerError: The gateway did not answer as it should.
        """
        await self._request("POST", f"http://{address}/shed", {"count": count})

    async def leases(self, store_url: str) -> list[GatewayInfo]:
        """List all gateways that hold a lease, from the store.

        Raises:
            NoAnswerError: The store did not answer as it should.
        """
        url = f"{store_url}{PREFIX}/gateways"
        return _decode(await self._request("GET", url), GatewaysResponse, url).gateways

    async def _drain(self, method: str, address: str) -> DrainState:
        url = f"http://{address}/drain"
        return _decode(await self._request(method, url), DrainState, url)

    async def _request(self, method: str, url: str, body: object = None) -> bytes:
        try:
            async with (
                self._slots,
                self._session.request(
                    method,
                    url,
                    json=body,
                    headers=self._headers,
                    timeout=self._timeout,
                    allow_redirects=False,
                ) as response,
            ):
                answer = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise NoAnswerError(f"{method} {url} failed: {type(error).__name__}") from error
        if response.status not in {200, 202}:
            raise NoAnswerError(f"{method} {url} answered {response.status}")
        return answer


def orphaned(leases: Iterable[GatewayInfo], addresses: set[str]) -> int:
    """Count the connections of gateways that hold a lease and are not among ``addresses``."""
    return sum(lease.connections for lease in leases if lease.address not in addresses)


def _decode(body: bytes, shape: type[T], url: str) -> T:
    try:
        return msgspec.json.decode(body, type=shape)
    except msgspec.MsgspecError as error:
        raise NoAnswerError(f"{url} is not understood: {error}") from error
