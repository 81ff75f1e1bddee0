"""Reading every key of Redis, to see where something is still told of somebody."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


async def marks_of(redis: Any, marks: Sequence[str]) -> dict[str, list[str]]:
    """Find all keys whose name or value holds one of the marks: key -> the marks it holds."""
    found: dict[str, list[str]] = {}
    for name in await redis.keys("*"):
        text = name.decode() + " " + repr(await _value(redis, name))
        held = [mark for mark in marks if mark and mark in text]
        if held:
            found[name.decode()] = held
    return found


async def _value(redis: Any, name: bytes) -> object:
    match (await redis.type(name)).decode():
        case "string":
            return await redis.get(name)
        case "hash":
            return await redis.hgetall(name)
        case "set":
            return await redis.smembers(name)
        case "zset":
            return await redis.zrange(name, 0, -1)
        case "stream":
            return await redis.xrange(name)
        case other:
            raise AssertionError(f"a key of a type that is not used: {other}")
