"""Read marks: kept on both sides of a conversation, and an event of both inboxes when they move."""

from __future__ import annotations

from typing import Final

from parley_shared import api
from parley_shared.errors import ParleyError
from parley_store.redis import keys, scripts
from parley_store.redis.base import Base, fresh
from parley_store.redis.deliveries import Deliveries, Place, by_gateway

_MOVED: Final = 1
_REPEAT: Final = 2


class Marks:
    """Moves read marks forward."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Move marks; what has not moved on one side does nothing there, so a repeat completes the other.

        The gateways of a side that had been moved before are told where its inbox stands: the request before
        this one may have failed when it was to tell them.

        Raises:
            ParleyError: ``unavailable``: some could not be moved, or not be told of. All others were.
        """
        sides = [
            (mark, user, user == mark.reader)
            for mark in request.marks
            for user in dict.fromkeys((mark.reader, mark.reader if mark.quiet else mark.peer))
        ]
        answers = await self._base.topology.call_partly(
            scripts.READ,
            [
                (
                    user,
                    keys.for_events(user),
                    (mark.reader, mark.peer, mark.seq, "1" if is_reader else "0"),
                )
                for mark, user, is_reader in sides
            ],
            (fresh(), self._base.config.inbox_limit, self._base.trim_age_ms),
        )
        places: dict[tuple[str, str, int], list[tuple[Place, list[str]]]] = {}
        repeats: dict[str, tuple[api.Nudge, list[str]]] = {}
        failures: list[ParleyError] = []
        for (mark, user, _), answer in zip(sides, answers, strict=True):
            if isinstance(answer, ParleyError):
                failures.append(answer)
                continue
            moved, seq, counter, epoch, gateways = answer
            if moved == _REPEAT:
                repeats[user] = (api.Nudge(user, epoch.decode(), counter), gateways.decode().split())
            elif moved == _MOVED:
                place = (user, epoch.decode(), counter)
                places.setdefault((mark.reader, mark.peer, seq), []).append(
                    (place, gateways.decode().split())
                )
        deliveries = Deliveries()
        for (reader, peer, seq), found in places.items():
            for gateway, to in by_gateway(found).items():
                deliveries.add(gateway, api.ReadDelivery(reader, peer, seq, to))
        for nudge, to_all in repeats.values():
            for gateway in to_all:
                deliveries.add(gateway, nudge)
        failures += (await deliveries.publish(self._base)).values()
        for failure in failures:
            raise failure
        return api.Done()
