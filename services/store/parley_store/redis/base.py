"""What every part of the Redis store works with."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import msgspec

from parley_shared import api, ids
from parley_shared.errors import ParleyError
from parley_store.config import StoreConfig
from parley_store.metrics import Metrics
from parley_store.redis.topology import Topology

STREAM_MAXLEN: Final = 10_000
"""Entries of a gateway's stream: minutes of batches for one that is paused; it refetches when it is late."""
ROSTER_MAXLEN: Final = 100_000
"""Entries of the presence log."""
GATEWAY_LIFE_MS: Final = 86_400_000
"""Life of a gateway's keys after its last beat, should no store be there to reap it."""

ANSWER_BYTES: Final = 32 * 1024 * 1024
"""Messages in one answer: half of what a gateway reads, as the rest of the answer needs room too. One that is
too large is no answer to it, and it asks again for ever."""

_IDENTIFIER: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")

encode: Final = msgspec.json.Encoder().encode


def is_identifier(text: str) -> bool:
    """Whether a text can be an id; anything else must not become part of a key."""
    return _IDENTIFIER.fullmatch(text) is not None


@dataclass(frozen=True, slots=True)
class Base:
    """The settings, the metrics and the way to Redis."""

    config: StoreConfig
    metrics: Metrics
    topology: Topology

    @property
    def session_ttl_ms(self) -> int:
        """SESSION_TTL in ms."""
        return int(self.config.session_ttl_seconds * 1000)

    @property
    def trim_age_ms(self) -> int:
        """Age below which nothing is trimmed: twice the recovery window, so that recovery finds it."""
        return int(self.config.recovery_window_seconds * 2000)

    async def now_ms(self) -> int:
        """Ask Redis for the time."""
        (answer,) = await self.topology.run([("clock", ("TIME",))], "time")
        return int(answer[0]) * 1000 + int(answer[1]) // 1000

    async def publish(self, items: Mapping[str, Sequence[api.StreamItem]]) -> list[bool]:
        """Append to gateways' streams, one entry each.

        Returns:
            For each gateway whether it has a stream; one without has gone, and nobody misses the entry.
        """
        told = await self.publish_partly(items)
        for answer in told:
            if isinstance(answer, ParleyError):
                raise answer
        return [answer is True for answer in told]

    async def publish_partly(self, items: Mapping[str, Sequence[api.StreamItem]]) -> list[bool | ParleyError]:
        """Append as `publish` does, each stream for itself."""
        work = [
            (
                gateway,
                (
                    "XADD",
                    api.gateway_stream(gateway),
                    "NOMKSTREAM",
                    "MAXLEN",
                    "~",
                    STREAM_MAXLEN,
                    "0-*",
                    api.STREAM_VERSION_FIELD,
                    "1",
                    api.STREAM_FIELD,
                    encode(list_),
                ),
            )
            for gateway, list_ in items.items()
        ]
        return [
            answer if isinstance(answer, ParleyError) else answer is not None
            for answer in await self.topology.run_partly(work, "publish")
        ]


def fresh() -> str:
    """Make the epoch for numberings that turn out to need a new one."""
    return ids.epoch()


def texts(values: Iterable[bytes]) -> list[str]:
    """Decode what Redis returned as UTF-8."""
    return [value.decode() for value in values]
