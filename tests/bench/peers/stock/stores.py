"""What the guide keeps in Redis, in the shapes the guide gives it.

A hash a session, and a list of messages a user.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NotRequired, TypedDict

import orjson

if TYPE_CHECKING:
    from collections.abc import Sequence

    from redis.asyncio import Redis

TTL_SECONDS = 24 * 60 * 60
SCAN_COUNT = 100


class Session(TypedDict):
    """One user as Redis keeps them."""

    userID: str
    username: str
    connected: bool


# `from` is a Python keyword, hence the functional form.
Message = TypedDict("Message", {"content": NotRequired[object], "from": str, "to": str})


class SessionStore:
    """Sessions: hash `session:<sessionID>` with userID, username, connected."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def find(self, session_id: str) -> Session | None:
        """The session, or None when there is none (or it has expired)."""
        return _to_session(
            await self._redis.hmget(_session_key(session_id), "userID", "username", "connected")
        )

    async def save(self, session_id: str, session: Session) -> None:
        """Write the session and let it live for another day."""
        fields: dict[str, str] = {
            "userID": session["userID"],
            "username": session["username"],
            "connected": "true" if session["connected"] else "false",
        }
        async with self._redis.pipeline(transaction=True) as pipe:
            pipe.hset(_session_key(session_id), mapping=dict[Any, Any](fields))
            pipe.expire(_session_key(session_id), TTL_SECONDS)
            await pipe.execute()

    async def find_all(self) -> list[Session]:
        """Every session there is: a SCAN over the whole database, then one HMGET a session in one batch."""
        keys = {key async for key in self._redis.scan_iter(match="session:*", count=SCAN_COUNT)}
        async with self._redis.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.hmget(key, "userID", "username", "connected")
            replies = await pipe.execute()
        return [session for session in map(_to_session, replies) if session is not None]


class MessageStore:
    """Messages: list `messages:<userID>`, each message in the list of both of its users."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis

    async def save(self, message: Message) -> None:
        """Append the message to the lists of sender and recipient."""
        value = orjson.dumps(message)
        keys = (f"messages:{message['from']}", f"messages:{message['to']}")
        async with self._redis.pipeline(transaction=True) as pipe:
            for key in keys:
                pipe.rpush(key, value)
            for key in keys:
                pipe.expire(key, TTL_SECONDS)
            await pipe.execute()

    async def find_for_user(self, user_id: str) -> list[Message]:
        """All messages the user sent or got, oldest first."""
        return [orjson.loads(value) for value in await self._redis.lrange(f"messages:{user_id}", 0, -1)]


def _session_key(session_id: str) -> str:
    return f"session:{session_id}"


def _to_session(fields: Sequence[Any]) -> Session | None:
    user_id, username, connected = fields
    if user_id is None or username is None:
        return None
    return {"userID": user_id, "username": username, "connected": connected == "true"}
