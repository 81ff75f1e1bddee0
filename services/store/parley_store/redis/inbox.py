"""Inboxes: each user's numbered events, as references to messages and as read marks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from msgspec import Raw

from parley_shared import api
from parley_shared.errors import ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys, scripts
from parley_store.redis.base import ANSWER_BYTES, Base, fresh
from parley_store.redis.history import History, body_of
from parley_store.redis.roster import Roster

ANY_TIME: Final = 2**53 - 1
"""A deadline that never passes."""

_GAP: Final = 2
_GONE: Final = 3


class Reference(NamedTuple):
    """A message on its way into one user's inbox."""

    user: str
    peer: str
    seq: int
    epoch: bytes
    """The conversation's epoch; ``before`` and ``base`` are the one before it and the seq at the change."""
    before: bytes
    base: int
    at: int
    own: bool
    """The user has sent it."""
    pid: str
    skip_to: int = 0
    """Messages up to this seq may be missing: they are too old to be sent as news."""

    @property
    def conversation(self) -> str:
        """Name its conversation."""
        return conversation_id(self.user, self.peer)

    @property
    def place(self) -> tuple[str, str, int]:
        """Name its place: whose inbox, which conversation, which message."""
        return self.user, self.peer, self.seq


class Outcome(NamedTuple):
    """What became of a `Reference`."""

    kind: int
    counter: int
    epoch: str
    gateways: list[str]
    since: int
    """For a gap: messages stored up to this time (ms) are in the inbox under another numbering."""

    @property
    def taken(self) -> bool:
        """Whether it is in the inbox now, as ``counter``."""
        return self.kind == 0

    @property
    def gap(self) -> bool:
        """Whether the messages after seq ``counter`` must come first."""
        return self.kind == _GAP

    @property
    def gone(self) -> bool:
        """Whether there is no such user (any more)."""
        return self.kind == _GONE


class Entry(NamedTuple):
    """An event as an inbox holds it."""

    counter: int
    kind: str
    peer: str
    """The peer of a message; of a read mark ``reader:peer``."""
    seq: int
    own: bool
    pid: str


def parse(counter: int, text: bytes) -> Entry:
    """Read an entry: ``kind peer seq at own pid``; of kind ``x`` when it was emptied."""
    kind, peer, seq, _, own, pid = text.decode().split(" ")
    return Entry(counter, kind, peer, int(seq), own == "1", pid)


class Contact(NamedTuple):
    """What is noted of a conversation with a peer."""

    peer: str
    seq: int
    """The last that is in the inbox."""
    at: int
    """When it was stored, in ms."""
    read: int
    """What the inbox's owner has read."""
    seen: int = 0
    """What the peer has read."""

    @property
    def unread(self) -> int:
        """Messages after the owner's read mark."""
        return max(0, self.seq - self.read)


def parse_peer(peer: str, value: bytes) -> Contact:
    """Read what is noted with a peer: ``epoch:seq:at:read:seen``."""
    _, seq, at, read, seen = value.split(b":")
    return Contact(peer, int(seq), int(at), int(read), int(seen))


class Reading(NamedTuple):
    """What `Inboxes.after` found: ``outcome`` is that of events.lua."""

    outcome: int
    epoch: str
    counter: int
    entries: list[Entry]


class Inboxes:
    """Puts messages into inboxes and reads them."""

    def __init__(self, base: Base, history: History, roster: Roster) -> None:
        self._base = base
        self._history = history
        self._roster = roster

    async def put(self, references: Sequence[Reference], deadline: int) -> list[Outcome | ParleyError]:
        """Number messages in inboxes, each once and in the order of its conversation."""
        config = self._base.config
        items = [
            (
                r.user,
                keys.for_events(r.user),
                (r.peer, r.seq, r.epoch, r.before, r.base, r.at, "1" if r.own else "0", r.pid, r.skip_to),
            )
            for r in references
        ]
        common = (fresh(), deadline, config.inbox_limit, config.contacts_limit, self._base.trim_age_ms)
        answers = await self._base.topology.call_partly(scripts.DELIVER, items, common)
        return [
            answer
            if isinstance(answer, ParleyError)
            else Outcome(answer[0], answer[1], answer[2].decode(), answer[3].decode().split(), answer[4])
            for answer in answers
        ]

    async def after(self, places: Sequence[tuple[str, str, int]], limit: int) -> list[Reading]:
        """Read the entries after places: user, epoch and counter each."""
        answers = await self._base.topology.call(
            scripts.EVENTS,
            [(user, (keys.user(user), keys.inbox(user)), (epoch, after)) for user, epoch, after in places],
            (fresh(), limit),
        )
        return [
            Reading(outcome, epoch.decode(), counter, [parse(*entry) for entry in entries])
            for outcome, epoch, counter, entries in answers
        ]

    async def events(self, user: str, entries: Sequence[Entry]) -> list[api.InboxEvent] | None:
        """Look up what entries refer to, but for emptied ones; None when a message is no longer there."""
        wanted = [(entry.peer, entry.seq) for entry in entries if entry.kind == "m"]
        bodies: dict[tuple[str, int], Any] = await self._history.bodies(user, wanted) if wanted else {}
        events = []
        for entry in entries:
            if entry.kind == "x":
                continue
            event = api.InboxEvent(counter=entry.counter, pid=entry.pid)
            if entry.kind == "m":
                found = bodies.get((entry.peer, entry.seq))
                if found is None:
                    return None
                event.message = Raw(body_of(found))
                event.from_ = user if entry.own else entry.peer
            else:
                reader, _, peer = entry.peer.partition(":")
                event.from_ = reader
                event.read = api.ReadMark(reader=reader, peer=peer, seq=entry.seq)
            events.append(event)
        return events

    async def names(self, events: Sequence[api.InboxEvent]) -> dict[str, str]:
        """Look up the usernames of those whom events are from."""
        return await self._roster.names({event.from_ for event in events})

    async def contacts(self, user: str, peers: Sequence[str]) -> list[Contact]:
        """Look up what the user has with each of some peers; all zero where there is nothing."""
        if not peers:
            return []
        (found,) = await self._base.topology.run([(user, ("HMGET", keys.peers(user), *peers))], "marks")
        return [
            parse_peer(peer, value) if value else Contact(peer, 0, 0, 0)
            for peer, value in zip(peers, found, strict=True)
        ]

    async def page(self, request: api.InboxRequest) -> api.InboxResponse:
        """Answer a gateway that fills a gap."""
        after = request.after
        while True:
            (reading,) = await self.after([(request.user, request.epoch, after)], request.limit + 1)
            more = len(reading.entries) > request.limit
            if not more or any(entry.kind != "x" for entry in reading.entries[: request.limit]):
                break
            # A page must take whoever asked for it further.
            after = reading.entries[request.limit - 1].counter
        response = api.InboxResponse(
            complete=False, epoch=reading.epoch, counter=reading.counter, events=[], names={}
        )
        if reading.outcome:
            return response
        events = await self.events(request.user, reading.entries[: request.limit])
        if events is None:
            return response
        fitting = _fitting(events)
        response.complete = True
        response.events = events[:fitting]
        response.names = await self.names(response.events)
        response.more = more or fitting < len(events)
        return response


def _fitting(events: Sequence[api.InboxEvent]) -> int:
    """Count the events that fit into one answer; the first does always."""
    left = ANSWER_BYTES
    for count, event in enumerate(events):
        left -= len(bytes(event.message))
        if left < 0 and count:
            return count
    return len(events)
