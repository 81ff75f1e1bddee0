"""Which conversations there are, and how long each is kept.

A conversation is noted with both users and in one list of all when its first message is stored, before
anybody is told of the message. Until then its life is short: one whose store died at that moment goes by
itself. So whoever looks for all of a user's conversations, or tends all, misses none.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final, NamedTuple

from parley_shared.errors import MALFORMED, UNKNOWN_RECIPIENT, Code, ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, is_identifier, texts

FIRST_VISIT_MS: Final = 600_000
"""A conversation that was noted is looked after so soon: its retention may be short."""
VISIT_MS: Final = 6 * 3_600_000
"""How often one is looked after of which nothing grows too old."""
_AGAIN_MS: Final = 1000

_GONE: Final = 0
_THERE: Final = 1


class Rules(NamedTuple):
    """What was decided about a conversation."""

    keep_ms: int | None
    """How old its messages may become; 0: any age; None: as RETENTION and CONVERSATION_TTL say."""
    hold: bool
    """Nothing of it is removed, by age, by number, or with its users."""


class Conversations:
    """Notes conversations, and removes what is too old."""

    def __init__(self, base: Base) -> None:
        self._base = base
        self._ttl_ms = int(base.config.conversation_ttl_seconds * 1000)
        self._retention_ms = int(base.config.retention_seconds * 1000)

    async def note(self, found: Mapping[str, tuple[str, str]]) -> dict[str, Code | ParleyError]:
        """Note conversations with their users, then give them their full life.

        Returns:
            Those that are not noted, each with the reason. ``unknown_recipient``: they may not be, as a user
            is being erased, and have been removed again.
        """
        # The visit first: it strikes the users' notes off again, should this store die before the end.
        delay_ms = min(FIRST_VISIT_MS, self._retention_ms or FIRST_VISIT_MS)
        try:
            await self._visit_in(delay_ms, list(found))
        except ParleyError as error:
            return dict.fromkeys(found, error)
        items = [
            (user, (keys.conversations(user), keys.erased(user)), (peer,))
            for one, other in found.values()
            for user, peer in dict.fromkeys(((one, other), (other, one)))
        ]
        answers = await self._base.topology.call_partly(scripts.NOTE, items)
        erased = {item[0] for item, answer in zip(items, answers, strict=True) if answer == 0}
        failed = {item[0]: a for item, a in zip(items, answers, strict=True) if isinstance(a, ParleyError)}
        refused: dict[str, Code | ParleyError] = {}
        wiped, noted = [], []
        for name, users in found.items():
            if erased.intersection(users):
                refused[name] = UNKNOWN_RECIPIENT
                wiped.append((name, keys.of_conversation(name), ()))
            elif reasons := [failed[user] for user in users if user in failed]:
                refused[name] = reasons[0]
            else:
                noted.append((name, keys.kept(name), ()))
        answers = [
            *await self._base.topology.call_partly(scripts.WIPE, wiped, (0,)),
            *await self._base.topology.call_partly(scripts.NOTED, noted, (self._ttl_ms,)),
        ]
        for (name, *_), answer in zip([*wiped, *noted], answers, strict=True):
            if isinstance(answer, ParleyError):
                refused[name] = answer
        return refused

    async def of(self, user: str) -> list[str]:
        """List those a user has a conversation with, in a fixed order."""
        (peers,) = await self._base.topology.run(
            [(user, ("ZRANGE", keys.conversations(user), 0, -1))], "conversations"
        )
        return sorted(texts(peers))

    async def wipe(self, names: Sequence[str], mark_ms: int) -> list[str]:
        """Remove conversations, and let nothing be appended to them for a while (0: lift that).

        Returns:
            Those that a legal hold keeps.
        """
        results = await self._base.topology.call(
            scripts.WIPE, [(name, keys.of_conversation(name), ()) for name in names], (mark_ms,)
        )
        return [name for name, held in zip(names, results, strict=True) if held]

    async def strike(self, names: Sequence[str]) -> None:
        """Strike conversations off the list of all."""
        if names:
            await self._base.topology.run(
                [(keys.CONVERSATIONS, ("ZREM", keys.VISITS, *names))], "conversations"
            )

    # --- retention ----------------------------------------------------------------------------

    async def rules(self, one: str, other: str) -> Rules:
        """Read the rules of two users' conversation."""
        return await self._rule(one, other, "", "")

    async def rule(
        self, one: str, other: str, *, keep_ms: int | None, own_keep: bool | None, hold: bool | None
    ) -> Rules:
        """Change the rules of two users' conversation, which need not be there yet.

        Args:
            one: A user.
            other: The other.
            keep_ms: The age its messages may reach; 0: any. Counts when ``own_keep`` is true.
            own_keep: Whether it has a retention of its own; None: as it is.
            hold: Whether a legal hold lies on it; None: as it is.

        Raises:
            ParleyError: ``malformed``: no userIDs.
        """
        if not is_identifier(one) or not is_identifier(other):
            raise ParleyError(MALFORMED, "expected two userIDs")
        name = conversation_id(one, other)
        pairs = dict.fromkeys(((one, other), (other, one)))
        items = [(user, (keys.conversations(user), keys.erased(user)), (peer,)) for user, peer in pairs]
        await self._base.topology.call(scripts.NOTE, items)
        keep = "" if own_keep is None else str(keep_ms or 0) if own_keep else "-"
        rules = await self._rule(one, other, keep, "" if hold is None else "1" if hold else "0")
        await self._visit_in(0, [name])
        return rules

    async def _rule(self, one: str, other: str, keep: str, hold: str) -> Rules:
        name = conversation_id(one, other)
        kept, held, is_erased = await self._base.topology.call_once(
            scripts.RULE, name, keys.kept(name), (keep, hold, self._ttl_ms)
        )
        if is_erased and hold == "0":
            # The hold was all that kept it when one of its users was erased.
            await self.wipe([name], 0)
            work = [
                (user, ("ZREM", keys.conversations(user), peer))
                for user, peer in ((one, other), (other, one))
            ]
            await self._base.topology.run(work, "conversations")
        return Rules(int(kept) if kept else None, bool(held))

    async def tend(self, names: Sequence[str]) -> tuple[dict[str, int], int]:
        """Look after conversations: remove what is too old, and strike off those that are gone.

        Returns:
            In how many ms each is to be visited next (-1: never), and how many messages were removed.
        """
        users = [name.split(":") for name in names]
        noted = await self._base.topology.run(
            [
                (user, ("ZSCORE", keys.conversations(user), peer))
                for one, other in users
                for user, peer in ((one, other), (other, one))
            ],
            "conversations",
        )
        items = [(name, keys.kept(name), ()) for name in names]
        results = await self._base.topology.call(scripts.TEND, items, (self._retention_ms,))
        visits: dict[str, int] = {}
        struck = []
        for index, (name, (state, left_ms, _)) in enumerate(zip(names, results, strict=True)):
            visits[name] = min(VISIT_MS, max(left_ms, _AGAIN_MS)) if left_ms else VISIT_MS
            if state == _GONE:
                one, other = users[index]
                visits[name] = -1
                for (user, peer), at in zip(
                    ((one, other), (other, one)), noted[2 * index : 2 * index + 2], strict=True
                ):
                    struck.append((user, (keys.conversations(user),), (peer, int(at or 0))))
        await self._base.topology.call(scripts.FORGET, struck)
        return visits, sum(removed for _, _, removed in results)

    async def _visit_in(self, delay_ms: int, names: Sequence[str]) -> None:
        await self._base.topology.call_once(
            scripts.SOON, keys.CONVERSATIONS, (keys.VISITS,), (delay_ms, *names)
        )
