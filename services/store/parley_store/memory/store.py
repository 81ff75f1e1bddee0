"""The memory store, put together: leases, the roster and the clock, and the parts for the rest."""

from __future__ import annotations

import base64
import binascii

from parley_shared import api
from parley_shared.errors import LAPSED, MALFORMED, ParleyError
from parley_store.answers import gateway_info
from parley_store.config import StoreConfig
from parley_store.memory.messages import Messages
from parley_store.memory.people import MemoryPeople
from parley_store.memory.sessions import Sessions
from parley_store.memory.state import Gateway, Peer, State, now_ms

_ALL_VERSIONS = 2**53 - 1


class MemoryStore:
    """Implements `parley_store.store.Store` in memory.

    Time passes only when `tick` is called: it does what is due.

    Attributes:
        state: What is kept, for tests to look at.
        people: Sessions, relations, export and erasure.
    """

    def __init__(self, config: StoreConfig) -> None:
        self.state = State(config)
        self._messages = Messages(self.state)
        self._sessions = Sessions(self.state, self._messages)
        self.people = MemoryPeople(self.state)

    def tick(self) -> None:
        """Settle users who are due and reap gateways whose leases have lapsed."""
        now = now_ms()
        oldest = now - self.state.config.lease_seconds * 1000
        for gateway in [name for name, held in self.state.gateways.items() if held.info.beat < oldest]:
            self._reap(gateway)
        for user_id in [name for name, due in self.state.due.items() if due <= now]:
            del self.state.due[user_id]
            user = self.state.user(user_id)
            if user is not None:
                user.online = bool(user.gateways)
            self.state.note_presence(user_id)
        for user_id in [name for name in self.state.roster if self.state.user(name) is None]:
            self.state.note_presence(user_id)

    def _reap(self, gateway: str) -> None:
        held = self.state.gateways.pop(gateway, None)
        if held is None:
            return
        for user_id in held.users:
            self._sessions.detach(gateway, user_id, _ALL_VERSIONS)
        window_end = now_ms() + self.state.config.recovery_window_seconds * 1000
        for pid in held.pids:
            if pid in self.state.pids and self.state.pids[pid].gateway == gateway:
                self.state.pids[pid].expires = min(self.state.pids[pid].expires, window_end)

    def missing(self) -> dict[str, str]:
        """Say what is not ready: nothing."""
        return {}

    async def open(self, request: api.OpenRequest) -> api.OpenResponse:
        """Find or make sessions and register the gateway with their users."""
        return self._sessions.open(request)

    async def recover(self, request: api.RecoverRequest) -> api.RecoverResponse:
        """Take over lost sockets, with all that they have missed."""
        return self._sessions.recover(request)

    async def attach(self, request: api.AttachRequest) -> api.AttachResponse:
        """Register the gateway again with users it holds."""
        return self._sessions.attach(request)

    async def presence(self, request: api.PresenceRequest) -> api.Done:
        """Take users off a gateway, start recovery windows, renew what is in use."""
        return self._sessions.presence(request)

    async def append(self, request: api.AppendRequest) -> api.AppendResponse:
        """Store messages and put them on their way."""
        return self._messages.append(request)

    async def read(self, request: api.ReadRequest) -> api.Done:
        """Move read marks forward."""
        return self._messages.read(request)

    async def typing(self, request: api.TypingRequest) -> api.Done:
        """Relay who is typing."""
        for event in request.events:
            user = self.state.user(event.to)
            for gateway in user.gateways if user else ():
                self.state.publish(gateway, [api.TypingDelivery(event.from_, event.to)])
        return api.Done()

    async def history(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read a page of a conversation."""
        return self._messages.history(request)

    async def inbox(self, request: api.InboxRequest) -> api.InboxResponse:
        """Read a user's events after a place."""
        return self._messages.inbox(request)

    async def users(self, request: api.UsersRequest) -> api.UsersResponse:
        """Search users by the beginning of their names."""
        after = _from_cursor(request.after) if request.after is not None else ""
        prefix = request.query.casefold()
        found = sorted(
            (entry.username.casefold().encode(), user) for user, entry in self.state.roster.items()
        )
        matching = [
            (name, user)
            for name, user in found
            if name.startswith(prefix.encode())
            and (request.after is None or f"{name.decode()}\0{user}" > after)
        ]
        page = matching[: request.limit]
        asker = self.state.user(request.user)
        entries = []
        for _, user in page:
            entry = self.state.roster[user]
            peer = (asker.peers.get(user) if asker else None) or Peer()
            entries.append(
                api.UserEntry(
                    user=user,
                    username=entry.username,
                    connected=entry.state == 1,
                    seq=peer.seq,
                    unread=max(0, peer.seq - peer.read),
                    read=peer.seen,
                )
            )
        more = len(matching) > len(page)
        cursor = _to_cursor(f"{page[-1][0].decode()}\0{page[-1][1]}") if more else None
        return api.UsersResponse(users=entries, after=cursor)

    async def roster(self) -> api.RosterResponse:
        """Take a snapshot of the roster."""
        entries = sorted(self.state.roster.values(), key=lambda entry: (-entry.state, -entry.version))
        return api.RosterResponse(
            epoch=self.state.roster_epoch,
            version=len(self.state.log),
            total=len(entries),
            entries=entries[: self.state.config.roster_limit],
        )

    async def states(self, request: api.StatesRequest) -> api.StatesResponse:
        """Look up users in the roster."""
        return api.StatesResponse(
            entries=[
                self.state.roster.get(user) or api.RosterEntry(user=user, username="", state=-1, version=0)
                for user in request.users
            ]
        )

    async def lease(self, request: api.LeaseRequest) -> api.LeaseResponse:
        """Take or renew a gateway's lease."""
        info = gateway_info(request, beat=now_ms())
        held = self.state.gateways.get(request.gateway)
        if held is None and request.first:
            held = self.state.gateways[request.gateway] = Gateway(info)
        if held is not None:
            held.info = info
        config = self.state.config
        return api.LeaseResponse(
            held=held is not None,
            now=now_ms(),
            lease_ms=int(config.lease_seconds * 1000),
            incarnation="memory",
            roster_epoch=self.state.roster_epoch,
            roster_version=len(self.state.log),
            gateways=self._gateways(),
            session_ttl_ms=int(config.session_ttl_seconds * 1000),
        )

    async def release(self, request: api.ReleaseRequest) -> api.Done:
        """End a gateway's lease and reap its users."""
        self._reap(request.gateway)
        return api.Done()

    async def gateways(self) -> api.GatewaysResponse:
        """List the gateways that hold a lease."""
        return api.GatewaysResponse(gateways=self._gateways())

    async def probe(self, request: api.ProbeRequest) -> api.Done:
        """Put a nonce into a gateway's stream."""
        if not self.state.publish(request.gateway, [api.Probe(request.nonce)]):
            raise ParleyError(LAPSED)
        return api.Done()

    def _gateways(self) -> list[api.GatewayInfo]:
        return [held.info for held in self.state.gateways.values()]


def _to_cursor(text: str) -> str:
    return base64.urlsafe_b64encode(text.encode()).decode()


def _from_cursor(cursor: str) -> str:
    try:
        return base64.b64decode(cursor, altchars=b"-_", validate=True).decode()
    except (binascii.Error, ValueError) as error:
        raise ParleyError(MALFORMED, "after: this is not a cursor of a page before") from error
