"""What the gateway knows of its users beside messages: whom they block and mute, and whether sessions ended.

News of it comes as items of the gateway's stream that only say whose has changed; the present state is then
asked of the store. So it does not matter how often or in which order the news arrives, and whoever may have
missed some simply asks.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Final

from parley_gateway.batcher import Batcher
from parley_gateway.local import LocalUser
from parley_gateway.store_client import Store
from parley_shared import people
from parley_shared.errors import ParleyError
from parley_shared.tasks import TaskGroup

logger = logging.getLogger(__name__)

_BATCH: Final = 200
_WAITING: Final = 1_000_000
_PAUSE_SECONDS: Final = 0.1
_PAUSE_MAX_SECONDS: Final = 5.0


class Standings:
    """Asks the store how local users stand, again and again until it answers.

    Args:
        store: Answers.
        tasks: Owns the asking.
        take: Gets each answer, for a user who may have left meanwhile.
    """

    def __init__(
        self, store: Store, tasks: TaskGroup, take: Callable[[LocalUser, people.Standing], None]
    ) -> None:
        self._store = store
        self._take = take
        self._batcher: Batcher[LocalUser, None] = Batcher(
            "standing", self._send, limit=_BATCH, waiting_limit=_WAITING, tasks=tasks
        )

    def ask(self, user: LocalUser) -> None:
        """Ask how a user stands from now on; once for all who ask before the question leaves."""
        if not user.asked:
            user.asked = True
            self._batcher.submit(user)

    async def _send(self, batch: list[LocalUser]) -> list[None]:
        pause = _PAUSE_SECONDS
        while True:
            asks = []
            for user in batch:
                user.asked = False
                sessions = list(dict.fromkeys(socket.data.session for socket in user.sockets))
                asks.append(people.StandingAsk(user=user.user, sessions=sessions))
            try:
                answer = await self._store.standing(people.StandingRequest(users=asks))
                break
            except ParleyError as error:
                logger.warning("users' standing cannot be asked", extra={"code": error.code.name})
            await asyncio.sleep(pause)
            pause = min(pause * 2, _PAUSE_MAX_SECONDS)
        for user, standing in zip(batch, answer.results, strict=True):
            self._take(user, standing)
        return [None] * len(batch)
