"""Reading every key of Redis, to see where something is still told of somebody."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any


async def marks_of(redis: Any, marks: Sequence[str]) -> dict[str, list[str]]:
    """Find all keys whose name or value holds one of the marks: key -> the marks it holds.

    A mark that ends with a digit is not followed by another: ``user-1`` is not in ``user-10``.
    """
    patterns = {mark: re.compile(re.escape(mark) + r"(?!\d)") for mark in marks if mark}
    found: dict[str, list[str]] = {}
    for name in await redis.keys("*"):
        text = name.decode() + " " + repr(await _value(redis, name))
        held = [mark for mark, pattern in patterns.items() if pattern.search(text)]
        if held:
            found[name.decode()] = held
    return found


async def _value(redis: Any, name: bytes) -> object:
    match (await redis.type(name)).decode():
        case "none":
            return None  # gone since
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
