"""What a Redis server must be for the settings to be true."""

from __future__ import annotations

import logging
import re
from collections.abc import Sequence
from typing import Final

from parley_shared.runtime import StartError
from parley_store.redis.base import Base
from parley_store.redis.durability import Wait
from parley_store.redis.node import Node

logger = logging.getLogger(__name__)

_LEAST: Final = (7, 0)
"""The first version with ids of the form ``0-*`` and PEXPIRETIME."""
_LEAST_WAITAOF: Final = (7, 2)


async def check(base: Base, node: Node) -> Sequence[Wait]:
    """Compare a server, as it is in its present life, with the settings.

    Returns:
        How writes are confirmed; nothing when an answer promises enough.

    Raises:
        StartError: It cannot do what is asked; the text says what to change.
        ParleyError: ``unavailable``: it does not answer now.
    """
    config = base.config
    answers = await node.exchange(
        [("INFO", "server"), ("INFO", "memory"), ("INFO", "persistence"), ("INFO", "replication")]
    )
    text = b"\r\n".join(answer for answer in answers if isinstance(answer, bytes)).decode()
    info = dict(re.findall(r"^([a-z_0-9]+):(.*?)\r?$", text, re.MULTILINE))
    version = tuple(int(part) for part in re.findall(r"\d+", info.get("redis_version", "0"))[:2])
    if version < _LEAST:
        found = ".".join(map(str, version))
        raise StartError(f"Redis {found} is too old: 7.0 or later (or Valkey) is needed")
    policy = info.get("maxmemory_policy", "noeviction")
    if policy != "noeviction":
        raise StartError(f"Redis has maxmemory-policy {policy} and would drop messages: set it to noeviction")
    has_file = info.get("aof_enabled") == "1"
    if config.durability == "fast":
        if not has_file:
            logger.warning("Redis keeps no append-only file: a restart of it loses messages")
        return ()
    setting = f"DURABILITY={config.durability}"
    if not has_file:
        raise StartError(f"{setting} needs a Redis with appendonly yes")
    # Both waits together must have ended before the exchange that carries them is given up.
    timeout_ms = int(config.redis_timeout_seconds * 400)
    waits = []
    policy = await _sync_policy(node)
    if policy == "no":
        raise StartError(f"{setting} needs a Redis with appendfsync everysec or always")
    if policy != "always":
        if version < _LEAST_WAITAOF:
            raise StartError(f"{setting} needs Redis 7.2 or later, or appendfsync always")
        waits.append(Wait(("WAITAOF", 1, 0, timeout_ms), (1, 0)))
    if config.durability == "replicated":
        if info.get("connected_slaves") == "0":
            logger.warning("Redis has no replica at the moment: no message can be confirmed")
        # The replica's memory, not its disk: that it tells once a second, and one disk has the message.
        waits.append(Wait(("WAIT", 1, timeout_ms), (1,)))
    return waits


async def _sync_policy(node: Node) -> str:
    """Read when the server syncs its file; empty when it does not tell (CONFIG is forbidden)."""
    (answer,) = await node.exchange([("CONFIG", "GET", "appendfsync")])
    if not isinstance(answer, dict):
        return ""
    policy: bytes = answer.get(b"appendfsync", b"")
    return policy.decode()
