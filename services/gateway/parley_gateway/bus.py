"""Reading Redis: the gateway's own stream of deliveries, and the roster's log.

Both are streams, read from a known place on: a reader that loses Redis for ten seconds goes on where it
stopped. Their entries are numbered without a gap, so a reader sees what was trimmed under it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any, Final

import msgspec
from redis.exceptions import RedisError, ResponseError

from parley_shared import api
from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.redis_client import AnyRedis

logger = logging.getLogger(__name__)

BLOCK_MS: Final = 5000
"""How long a read waits for entries. The client's own time-out must be longer."""
READ_TIMEOUT_SECONDS: Final = 8.0
COUNT: Final = 1000
RETRY_SECONDS: Final = 0.25
RETRY_MAX_SECONDS: Final = 2.0

_items = msgspec.json.Decoder(list[api.StreamItem])
_change = msgspec.json.Decoder(api.RosterChange)


class StreamReader:
    """Follows one stream whose ids are ``0-n`` with gapless n.

    Args:
        redis: A client for blocking reads alone.
        key: The stream.
        on_entry: Called with (n, fields) for each entry, in order.
        on_gap: Called when entries are missing before the next one.
        on_state: Called with whether Redis can be read, when that changes.
        pause_seconds: Waits this long after each read, so that more comes with the next one.
    """

    def __init__(
        self,
        redis: AnyRedis,
        key: str,
        *,
        on_entry: Callable[[int, dict[bytes, bytes]], None],
        on_gap: Callable[[], object],
        on_state: Callable[[bool], None],
        pause_seconds: float = 0.0,
    ) -> None:
        self._redis = redis
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
            info = await self._redis.xinfo_stream(self._key)
        except ResponseError:
            return False
        except (RedisError, OSError, TimeoutError) as error:
            raise ParleyError(UNAVAILABLE, f"Redis does not answer ({type(error).__name__})") from error
        last = info["last-generated-id"]
        self.position = min(self.position, int(bytes(last).partition(b"-")[2]))
        return True

    async def run(self) -> None:
        """Read for ever; Redis being away is waited out."""
        pause = RETRY_SECONDS
        while True:
            try:
                answer = await self._redis.xread(
                    {self._key: f"0-{self.position}"}, count=COUNT, block=BLOCK_MS
                )
            except (RedisError, OSError, TimeoutError) as error:
                logger.warning("a stream cannot be read", extra={"error_type": type(error).__name__})
                self._state(False)
                await asyncio.sleep(pause)
                pause = min(pause * 2, RETRY_MAX_SECONDS)
                continue
            pause = RETRY_SECONDS
            self._state(True)
            for entry_id, fields in _entries(answer):
                number = int(entry_id.partition(b"-")[2])
                if number != self.position + 1:
                    self._on_gap()
                self.position = number
                try:
                    self._on_entry(number, fields)
                except Exception:
                    # One entry that cannot be handled must not stop all that follow.
                    logger.exception("an entry of a stream could not be handled", extra={"number": number})
            if self._pause_seconds:
                await asyncio.sleep(self._pause_seconds)


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Take the entries out of XREAD's answer, in either of the forms redis-py gives it."""
    if not answer:
        return []
    if isinstance(answer, dict):
        (entries,) = answer.values()
        # RESP3 wraps them once more.
        return entries[0] if entries and isinstance(entries[0], list) else entries
    entries = answer[0][1]
    return list(entries)


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
