"""What the store does for people and their data, whatever it keeps them in."""

from __future__ import annotations

from typing import Protocol

from parley_shared import api, people


class People(Protocol):
    """Sessions, relations, export and erasure.

    Every method may be repeated as it was. Each raises `ParleyError` when the request failed; ``unavailable``
    leaves it open whether parts of it were carried out.
    """

    async def sessions(self, request: people.SessionsRequest) -> people.SessionsResponse:
        """List a user's sessions."""

    async def revoke(self, request: people.RevokeRequest) -> people.RevokeResponse:
        """End sessions, their recovery ids and their sockets."""

    async def relate(self, request: people.RelateRequest) -> api.Relations:
        """Block, mute, or undo it; the answer is what then holds.

        Raises:
            ParleyError: ``malformed`` (oneself), ``unknown_recipient``, ``limit_reached``.
        """

    async def standing(self, request: people.StandingRequest) -> people.StandingResponse:
        """Say what gateways must know of users they hold."""

    async def export(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read a page of all that is kept of a user.

        Raises:
            ParleyError: ``malformed``: the cursor is none of ours.
        """

    async def erase(self, request: people.EraseRequest) -> people.Erasure:
        """Begin to remove all that is kept of a user; a repeat finds what is under way."""
