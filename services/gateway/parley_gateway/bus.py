"""Reading Redis: the gateway's own stream of deliveries, and the roster's log.

Both are streams, read from a known place on: a reader that loses Redis for ten seconds goes on where it
stopped. Their entries are numbered without a gap, so a reader sees what was trimmed under it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable
from typing import Any, Final, Protocol

import msgspec
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.redis_client import AnyRedis, connection_for

logger = logging.getLogger(__name__)

BLOCK_MS: Final = 5000
"""How long a read waits for entries."""
READ_TIMEOUT_SECONDS: Final = 8.0
"""For a whole read: longer than it waits."""
COUNT: Final = 1000
RETRY_SECONDS: Final = 0.25
RETRY_MAX_SECONDS: Final = 2.0

_items = msgspec.json.Decoder(list[api.StreamItem])
_change = msgspec.json.Decoder(api.RosterChange)

Entries = list[tuple[bytes, list[bytes]]]
"""Entries of a stream: id, and names and values in turn."""


class Bus(Protocol):
    """What a gateway asks of Redis; every method raises what redis-py raises."""

    async def xread(self, key: str, after: str) -> Entries:
        """Wait for entries of a stream after an id; empty when none came for a while."""

    async def xinfo_stream(self, key: str) -> dict[str, Any]:
        """Look at a stream."""

    async def aclose(self) -> None:
        """Close all connections; the next call makes new ones."""


class RedisBus:
    """Reads streams, each over a connection of its own.

    redis-py's client spends three times what the read itself costs: here it only connects and parses.

    Args:
        redis: Knows where Redis is.
    """

    def __init__(self, redis: AnyRedis) -> None:
        self._redis = redis
        self._connections: dict[str, AbstractConnection] = {}

    async def xread(self, key: str, after: str) -> Entries:
        """Wait for entries of a stream after an id; empty when none came for a while."""
        command: Any = ("XREAD", "COUNT", COUNT, "BLOCK", BLOCK_MS, "STREAMS", key, after)
        try:
            async with asyncio.timeout(READ_TIMEOUT_SECONDS):
                connection = self._connections.get(key)
                if connection is None:
                    connection = self._connections[key] = await connection_for(self._redis, key)
                await connection.send_packed_command(pack_command(command), check_health=False)
                return _entries(await connection.read_response(timeout=math.inf))
        except BaseException:
            # The answer may still come: the connection is of no use to the next read.
            await self._drop(key)
            raise

    async def xinfo_stream(self, key: str) -> dict[str, Any]:
        """Look at a stream."""
        info: dict[str, Any] = await self._redis.xinfo_stream(key)
        return info

    async def aclose(self) -> None:
        """Close all connections; the next call makes new ones."""
        for key in list(self._connections):
            await self._drop(key)
        await self._redis.aclose()

    async def _drop(self, key: str) -> None:
        connection = self._connections.pop(key, None)
        if connection is not None:
            await connection.disconnect(nowait=True)


class StreamReader:
    """Follows one stream whose ids are ``0-n`` with gapless n.

    Args:
        bus: Redis.
        key: The stream.
        on_entry: Called with (n, fields) for each entry, in order.
        on_gap: Called when entries are missing before the next one.
        on_state: Called with whether Redis can be read, when that changes.
        pause_seconds: Between two reads when entries come closer together than that: so a busy stream is read
            in gulps, and a quiet one at once.
    """

    def __init__(
        self,
        bus: Bus,
        key: str,
        *,
        on_entry: Callable[[int, dict[bytes, bytes]], None],
        on_gap: Callable[[], object],
        on_state: Callable[[bool], None],
        pause_seconds: float = 0.0,
    ) -> None:
        self._bus = bus
        self._key = key
        self._on_entry = on_entry
        self._on_gap = on_gap
        self._on_state = on_state
        self._pause_seconds = pause_seconds
        self._up: bool | None = None
        self.position = 0

    def _state(self, up: bool) -> None:
        if up is not self._up:
            self._up = up
            self._on_state(up)

    async def rewind(self) -> bool:
        """Go back to the stream's end when that lies before our place: Redis has lost its last writes.

        Returns:
            False when the stream is not there any more.
        """
        try:
            info = await self._bus.xinfo_stream(self._key)
        except ResponseError:
            return False
        except (RedisError, OSError, TimeoutError) as error:
            raise ParleyError(UNAVAILABLE, f"Redis does not answer ({type(error).__name__})") from error
        last = info["last-generated-id"]
        self.position = min(self.position, int(bytes(last).partition(b"-")[2]))
        return True

    async def run(self) -> None:
        """Read for ever; Redis being away is waited out."""
        retry = RETRY_SECONDS
        last = -math.inf
        while True:
            try:
                entries = await self._bus.xread(self._key, f"0-{self.position}")
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("a stream cannot be read", extra={"error_type": type(error).__name__})
                self._state(False)
                await asyncio.sleep(retry)
                retry = min(retry * 2, RETRY_MAX_SECONDS)
                continue
            now = time.monotonic()
            retry = RETRY_SECONDS
            self._state(True)
            for entry_id, fields in entries:
                number = int(entry_id.partition(b"-")[2])
                if number != self.position + 1:
                    self._on_gap()
                self.position = number
                try:
                    self._on_entry(number, dict(zip(fields[::2], fields[1::2], strict=True)))
                except Exception:
                    # One entry that cannot be handled must not stop all that follow.
                    logger.exception("an entry of a stream could not be handled", extra={"number": number})
            # Twice, for a read returns with the first entry after a pause: one that comes right then is busy.
            if now - last < 2 * self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)
            last = now


def _entries(answer: Any) -> Entries:
    """Take the entries out of XREAD's answer, in the form of either version of the protocol."""
    if not answer:
        return []
    ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
    found: Entries = entries
    return found


def decode_items(fields: dict[bytes, bytes]) -> list[api.StreamItem]:
    """Read the items of an entry of a gateway's stream.

    Raises:
        msgspec.MsgspecError: They do not have the documented shape.
    """
    return _items.decode(fields[api.STREAM_FIELD.encode()])


def decode_change(fields: dict[bytes, bytes]) -> api.RosterChange:
    """Read an entry of the roster's log.

    Raises:
        msgspec.MsgspecError: It does not have the documented shape.
    """
    return _change.decode(fields[api.STREAM_FIELD.encode()])
