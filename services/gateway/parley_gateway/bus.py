"""Reading Redis: the gateway's own stream of deliveries, and the roster's log.

Both are streams, read from a known place on: a reader that loses Redis for ten seconds goes on where it
stopped. Their entries are numbered without a gap, so a reader sees what was trimmed under it.
"""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Awaitable, Callable
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
_item = msgspec.json.Decoder(api.StreamItem)
_raw_items = msgspec.json.Decoder(list[msgspec.Raw])
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
        on_gap: Called when entries are missing before the next one, and when one could not be handled. What
            it returns is waited for before the next entry; it may set the position, to read on from there.
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
        on_gap: Callable[[], Awaitable[None] | None],
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
        self._position = 0
        self._moved = False

    @property
    def position(self) -> int:
        """The number up to which all was handled; who sets it makes the reader go on from there."""
        return self._position

    @position.setter
    def position(self, position: int) -> None:
        if position != self._position:
            self._position = position
            # A read that is under way asks from the old place: its answer is of no use.
            self._moved = True

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
            self._moved = False
            try:
                entries = await self._bus.xread(self._key, f"0-{self._position}")
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
                if self._moved:
                    break
                await self._take(int(entry_id.partition(b"-")[2]), fields)
            # Twice, for a read returns with the first entry after a pause: one that comes right then is busy.
            if now - last < 2 * self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)
            last = now

    async def _take(self, number: int, fields: list[bytes]) -> None:
        """Hand on one entry."""
        if number != self._position + 1:
            await self._gap(number - 1)
            if self._moved:
                return
        self._position = number
        try:
            self._on_entry(number, dict(zip(fields[::2], fields[1::2], strict=True)))
        except Exception:
            # One entry that cannot be handled must not stop all that follow.
            logger.exception("an entry of a stream could not be handled", extra={"number": number})
            await self._gap(number)

    async def _gap(self, last: int) -> None:
        """Say that something up to ``last`` is missing, and go on after it at the earliest."""
        waiting = self._on_gap()
        if waiting is not None:
            await waiting
        # Were it behind that, the same gap would be found again, for ever.
        self._position = max(self._position, last)


def _entries(answer: Any) -> Entries:
    """Take the entries out of XREAD's answer, in the form of either version of the protocol."""
    if not answer:
        return []
    ((_, entries),) = answer.items() if isinstance(answer, dict) else answer
    found: Entries = entries
    return found


def decode_items(fields: dict[bytes, bytes]) -> tuple[list[api.StreamItem], list[msgspec.MsgspecError]]:
    """Read the items of an entry of a gateway's stream.

    Returns:
        The items, and what is wrong with those that cannot be read: they must not take the others with them.

    Raises:
        msgspec.MsgspecError: It is no list at all.
    """
    data = fields[api.STREAM_FIELD.encode()]
    try:
        return _items.decode(data), []
    except msgspec.MsgspecError:
        found: list[api.StreamItem] = []
        wrong: list[msgspec.MsgspecError] = []
        for raw in _raw_items.decode(data):
            try:
                found.append(_item.decode(raw))
            except msgspec.MsgspecError as error:
                wrong.append(error)
        return found, wrong


def decode_change(fields: dict[bytes, bytes]) -> api.RosterChange:
    """Read an entry of the roster's log.

    Raises:
        msgspec.MsgspecError: It does not have the documented shape.
    """
    return _change.decode(fields[api.STREAM_FIELD.encode()])
