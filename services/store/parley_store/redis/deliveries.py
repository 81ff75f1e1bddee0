"""What a batch sends to gateways: collected per gateway, one stream entry each."""

from __future__ import annotations

from collections.abc import Iterable

from parley_shared import api
from parley_shared.errors import ParleyError
from parley_store.redis.base import Base

Place = tuple[str, str, int]
"""A user, the epoch of the user's inbox, and the event's number there."""


class Deliveries:
    """Collects the items for each gateway's stream, in the order they were added."""

    def __init__(self) -> None:
        self._items: dict[str, list[api.StreamItem]] = {}

    def add(self, gateway: str, item: api.StreamItem) -> None:
        """Add an item for one gateway."""
        self._items.setdefault(gateway, []).append(item)

    def take(self, gateways: Iterable[str]) -> dict[str, list[api.StreamItem]]:
        """Remove and return the items of some gateways; those without any are left out."""
        return {gateway: self._items.pop(gateway) for gateway in gateways if gateway in self._items}

    async def publish(self, base: Base) -> dict[str, ParleyError]:
        """Append to all streams; returns the gateways whose stream could not be written."""
        told = await base.publish_partly(self._items)
        return {
            gateway: answer
            for gateway, answer in zip(self._items, told, strict=True)
            if isinstance(answer, ParleyError)
        }


def by_gateway(places: Iterable[tuple[Place, Iterable[str]]]) -> dict[str, list[Place]]:
    """Turn places with their users' gateways into gateways with their places."""
    found: dict[str, list[Place]] = {}
    for place, gateways in places:
        for gateway in gateways:
            found.setdefault(gateway, []).append(place)
    return found
