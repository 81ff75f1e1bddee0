"""Who is known: asked of Redis once a minute for each recipient, or more often when erasures are quick."""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final

from parley_shared.errors import UNKNOWN_RECIPIENT, Code, ParleyError
from parley_store.redis import keys
from parley_store.redis.base import Base, is_identifier

_MOST_SECONDS: Final = 60.0
_LIMIT: Final = 50_000
"""Users remembered: a few MB."""


class Recipients:
    """Remembers for a while which users exist. That one does not is never remembered."""

    def __init__(self, base: Base) -> None:
        self._base = base
        # An erasure removes the user first, and is done after this. By then nobody must remember the user.
        delay, window = base.config.erasure_delay_seconds, base.config.recovery_window_seconds
        self._seconds = min(_MOST_SECONDS, (delay + max(delay, window)) / 2)
        self._known: dict[str, float] = {}

    async def refused(self, users: Iterable[str]) -> dict[str, Code | ParleyError]:
        """Find those whom nothing can be sent: they do not exist, or it is not known now whether they do."""
        now = time.monotonic()
        asked = [user for user in set(users) if self._known.get(user, 0.0) < now]
        if not asked:
            return {}
        refused: dict[str, Code | ParleyError] = dict.fromkeys(asked, UNKNOWN_RECIPIENT)
        possible = [user for user in asked if is_identifier(user)]
        work = [(user, ("EXISTS", keys.user(user))) for user in possible]
        there = []
        for user, answer in zip(
            possible, await self._base.topology.run_partly(work, "recipients"), strict=True
        ):
            if isinstance(answer, ParleyError):
                refused[user] = answer
            elif answer:
                there.append(user)
                del refused[user]
        if len(self._known) + len(there) > _LIMIT:
            self._known = {user: until for user, until in self._known.items() if until > now}
            if len(self._known) + len(there) > _LIMIT:
                self._known.clear()
        for user in there:
            self._known[user] = now + self._seconds
        return refused

    def forget(self, user: str) -> None:
        """Note that a user has turned out to be gone."""
        self._known.pop(user, None)
