"""Filling the gaps that batches leave which are still under way, or died half-way.

A conversation's message 5 may be stored by one store and not be in the inboxes yet when another puts in
message 6. Then 5 goes in first, by whoever finds it missing: an inbox never holds a conversation out of
order.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec import Raw

from parley_shared import api
from parley_shared.errors import ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys
from parley_store.redis.base import Base
from parley_store.redis.deliveries import Deliveries
from parley_store.redis.history import body_of, pid_of, seq_of
from parley_store.redis.inbox import Inboxes, Outcome, Reference
from parley_store.redis.roster import Roster

NEWS_MS: Final = 60_000
"""A missing message older than this is history: nobody waits for it, and it was never acknowledged."""
_LIMIT: Final = 1000
"""Messages looked up for one gap."""

_decode: Final = msgspec.json.Decoder(api.Message).decode


class _Missing(NamedTuple):
    """A message that was stored and did not reach an inbox."""

    body: bytes
    message: api.Message


class Gaps:
    """Completes what `Inboxes.put` could not take because something before it was missing."""

    def __init__(self, base: Base, inboxes: Inboxes, roster: Roster) -> None:
        self._base = base
        self._inboxes = inboxes
        self._roster = roster

    async def fill(
        self,
        references: Sequence[Reference],
        outcomes: list[Outcome | ParleyError],
        deadline: int,
        deliveries: Deliveries,
    ) -> list[Outcome | ParleyError]:
        """Put in what is missing, then what was refused; deliveries of the former are added.

        Returns:
            The outcomes, now without gaps.
        """
        refused = {
            index: outcome
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Outcome) and outcome.gap
        }
        if not refused:
            return outcomes
        # In the order of seq, each message once: some that are missing to one are refused themselves.
        queue = {references[index].place: references[index] for index in refused}
        missing = {}
        for reference, message in await self._missing([(references[i], gap) for i, gap in refused.items()]):
            if reference.place not in queue:
                queue[reference.place] = reference
                missing[reference.place] = (reference, message)
        # In this order nothing is missing but what is too old, so each may skip what is before it.
        ordered = [queue[place]._replace(skip_to=queue[place].seq - 1) for place in sorted(queue)]
        filled = await self._inboxes.put(ordered, deadline)
        by_place = {reference.place: outcome for reference, outcome in zip(ordered, filled, strict=True)}
        for index in refused:
            outcomes[index] = by_place[references[index].place]
        await self._deliver([(*each, by_place[place]) for place, each in missing.items()], deliveries)
        return outcomes

    async def _missing(self, gaps: Sequence[tuple[Reference, Outcome]]) -> list[tuple[Reference, _Missing]]:
        """Look up the messages of gaps, as far as they are still news."""
        work = []
        for reference, gap in gaps:
            conversation = conversation_id(reference.user, reference.peer)
            last = f"0-{reference.seq - 1}"
            command = (
                "XREVRANGE",
                keys.messages(conversation),
                last,
                f"0-{gap.counter + 1}",
                "COUNT",
                _LIMIT,
            )
            work.append((conversation, command))
        found = []
        for (reference, gap), entries in zip(gaps, await self._base.topology.run(work, "gaps"), strict=True):
            for entry in entries:
                message = _decode(body_of(entry))
                if reference.at - message.at > NEWS_MS or message.at <= gap.since:
                    break
                pid = pid_of(entry)
                own = message.from_ == reference.user
                lacking = reference._replace(seq=seq_of(entry), at=message.at, own=own, pid=pid)
                found.append((lacking, _Missing(body_of(entry), message)))
        return found

    async def _deliver(
        self, filled: Sequence[tuple[Reference, _Missing, Outcome | ParleyError]], deliveries: Deliveries
    ) -> None:
        names = await self._roster.names({missing.message.from_ for _, missing, _ in filled})
        for reference, missing, outcome in filled:
            if isinstance(outcome, ParleyError) or not outcome.taken:
                continue
            self._base.metrics.gaps_filled.inc()
            message = missing.message
            for gateway in outcome.gateways:
                delivery = api.Delivery(
                    from_=message.from_,
                    from_name=names.get(message.from_, ""),
                    peer=message.to,
                    seq=message.seq,
                    pid=reference.pid,
                    message=Raw(missing.body),
                    to=[(reference.user, outcome.epoch, outcome.counter)],
                    at=message.at,
                )
                deliveries.add(gateway, delivery)
