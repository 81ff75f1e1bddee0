"""Admission: how many may connect, and how fast; decided before any work is done for them.

A handshake's place in the rate is also that of its first CONNECT. A further one within the session, after the
client has left or was refused, costs the store as much as a new connection, and counts as one.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from aiohttp import web

from parley_gateway.local import TokenBucket
from parley_gateway.metrics import Metrics

ADDRESSES: Final = 10_000
"""Client addresses that are remembered; the one that was quiet for longest is forgotten first."""


class Admission:
    """Says no to a handshake with 503 or 429 and Retry-After, or lets it pass.

    Args:
        metrics: Outcomes.
        begun: Tells whether the gateway has a lease; before that, nobody can be let in.
        connections: Counts the open connections.
        max_connections: At which the gateway is full.
        rate: New connections a second.
        address_rate: New connections a second from one address; 0 for no limit.
        remote: Tells a request's client address.
    """

    def __init__(
        self,
        *,
        metrics: Metrics,
        begun: Callable[[], bool],
        connections: Callable[[], int],
        max_connections: int,
        rate: float,
        address_rate: float,
        remote: Callable[[web.Request], str],
    ) -> None:
        self._metrics = metrics
        self._begun = begun
        self._connections = connections
        self._max_connections = max_connections
        self._rate = rate
        self._bucket = TokenBucket(rate)
        self._address_rate = address_rate
        self._remote = remote
        self._addresses: OrderedDict[str, TokenBucket] = OrderedDict()
        self.closed_because: str | None = None

    @property
    def full(self) -> bool:
        """Whether the gateway holds as many connections as it may."""
        return self._connections() >= self._max_connections

    def admit(self, request: web.Request) -> web.StreamResponse | None:
        """Decide about a handshake: None lets it pass."""
        if self.closed_because is not None:
            return self._refuse("draining", self.closed_because, 2)
        if not self._begun():
            return self._refuse("starting", "this server is starting", 1)
        if self.full:
            return self._refuse("full", "this server is full", 5)
        if not self._take():
            return self._refuse("rate", "too many new connections", 1)
        if not self._take_of(self._remote(request)):
            return self._refuse("rate", "too many new connections from this address", 1, status=429)
        return None

    def admit_again(self, address: str) -> bool:
        """Decide about a CONNECT that is not the first of its session."""
        if self._take() and self._take_of(address):
            return True
        self._metrics.connects.labels("rate").inc()
        return False

    def _take(self) -> bool:
        return self._bucket.take(self._rate, max(1.0, self._rate))

    def _take_of(self, address: str) -> bool:
        if not self._address_rate:
            return True
        burst = max(1.0, self._address_rate * 5)
        bucket = self._addresses.pop(address, None) or TokenBucket(burst)
        self._addresses[address] = bucket
        if len(self._addresses) > ADDRESSES:
            self._addresses.popitem(last=False)
        return bucket.take(self._address_rate, burst)

    def _refuse(self, result: str, message: str, seconds: int, status: int = 503) -> web.Response:
        self._metrics.connects.labels(result).inc()
        # Retry-After is a whole number of seconds; a little chance spreads those who come back.
        retry = seconds + int(time.monotonic() * 1000) % (seconds + 1)
        return web.json_response({"message": message}, status=status, headers={"Retry-After": str(retry)})
