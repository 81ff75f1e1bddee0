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


class Filled(NamedTuple):
    """A message that was put into an inbox on behalf of another batch."""

    reference: Reference
    missing: _Missing
    outcome: Outcome


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
    ) -> tuple[list[Outcome | ParleyError], list[Filled]]:
        """Put in what is missing, then what was refused.

        Returns:
            The outcomes, now without gaps; and what was missing and is in now, for `deliver`.
        """
        refused = {
            index: outcome
            for index, outcome in enumerate(outcomes)
            if isinstance(outcome, Outcome) and outcome.gap
        }
        if not refused:
            return outcomes, []
        # In the order of seq, each message once: some that are missing to one are refused themselves.
        queue: dict[tuple[str, str, int], Reference] = {}
        found: list[tuple[Reference, _Missing]] = []
        looked_up = await self._missing([(references[index], gap) for index, gap in refused.items()])
        for index, some in zip(list(refused), looked_up, strict=True):
            if isinstance(some, ParleyError):
                # What is missing is not known, so nothing may be skipped.
                outcomes[index] = some
                del refused[index]
            else:
                queue[references[index].place] = references[index]
                found += some
        missing = {}
        for reference, message in found:
            if reference.place not in queue:
                queue[reference.place] = reference
                missing[reference.place] = message
        # In this order nothing is missing but what is too old, so each may skip what is before it.
        ordered = [queue[place]._replace(skip_to=queue[place].seq - 1) for place in sorted(queue)]
        filled = await self._inboxes.put(ordered, deadline)
        by_place = {reference.place: outcome for reference, outcome in zip(ordered, filled, strict=True)}
        for index in refused:
            outcomes[index] = by_place[references[index].place]
        return outcomes, [
            Filled(queue[place], message, outcome)
            for place, message in missing.items()
            if isinstance(outcome := by_place[place], Outcome) and outcome.taken
        ]

    async def _missing(
        self, gaps: Sequence[tuple[Reference, Outcome]]
    ) -> list[list[tuple[Reference, _Missing]] | ParleyError]:
        """Look up the messages of each gap, as far as they are still news."""
        work = []
        for reference, gap in gaps:
            conversation = reference.conversation
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
        found: list[list[tuple[Reference, _Missing]] | ParleyError] = []
        answers = await self._base.topology.run_partly(work, "gaps")
        for (reference, gap), entries in zip(gaps, answers, strict=True):
            if isinstance(entries, ParleyError):
                found.append(entries)
                continue
            news: list[tuple[Reference, _Missing]] = []
            found.append(news)
            for entry in entries:
                message = _decode(body_of(entry))
                if reference.at - message.at > NEWS_MS or message.at <= gap.since:
                    break
                pid = pid_of(entry)
                own = message.from_ == reference.user
                lacking = reference._replace(seq=seq_of(entry), at=message.at, own=own, pid=pid)
                news.append((lacking, _Missing(body_of(entry), message)))
        return found

    async def deliver(self, filled: Sequence[Filled], deliveries: Deliveries) -> None:
        """Add what gateways get of it."""
        try:
            names = await self._roster.names({missing.message.from_ for _, missing, _ in filled})
        except ParleyError:
            return  # The gateways find that something is missing, and ask for it.
        for reference, missing, outcome in filled:
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
