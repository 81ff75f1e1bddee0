"""What the store does, whatever it keeps its data in."""

from __future__ import annotations

from typing import Protocol

from parley_shared import api
from parley_store.people import People


class Store(Protocol):
    """Sessions, messages, inboxes, presence and leases.

    Every method may be repeated as it was: nothing is made twice. Each raises `ParleyError` when the request
    as a whole failed; ``unavailable`` and ``late`` leave it open whether parts of it were carried out.
    """

    @property
    def people(self) -> People:
        """What is done for people and their data."""

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions and register the gateway with their users."""

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets, with all that they have missed."""

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again with users it holds.

        Raises:
            ParleyError: ``lapsed``.
        """

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off a gateway, start recovery windows, renew what is in use."""

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store messages and put them on their way.

        Raises:
            ParleyError: ``late``.
        """

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Move read marks forward."""

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay who is typing."""

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Read a user's events after a place."""

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """Search users by the beginning of their names.

        Raises:
            ParleyError: ``malformed``: the cursor is none of ours.
        """

    async def roster(self) -> api.RosterResponse:
        """Take a snapshot of the roster."""

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """Look up users in the roster."""

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew a gateway's lease."""

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """End a gateway's lease and have its users reaped."""

    async def gateways(self) -> api.GatewaysResponse:
        """List the gateways that hold a lease."""

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a nonce into a gateway's stream.

        Raises:
            ParleyError: ``lapsed``: the gateway has no stream.
        """

    def missing(self) -> dict[str, str]:
        """Say what is not ready: part -> why."""
