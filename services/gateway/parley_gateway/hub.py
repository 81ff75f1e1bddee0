"""The hub: hands numbered events to the sockets of local users, in order and once.

The inbox counter is the spine. For each local user the hub knows the counter that was delivered last: the
next one is delivered, a lower one is a duplicate, a higher one waits a moment and then the gap is fetched
from the store. Whatever happens on the way (a store replica overtaking another, a trimmed stream, a repeat)
ends in one of these three.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

import msgspec

from parley_gateway import offsets
from parley_gateway.local import LocalUser, SocketState, TokenBucket
from parley_gateway.metrics import Metrics
from parley_gateway.roster import Roster, user_entry
from parley_gateway.sio import Frame
from parley_gateway.standings import Standings
from parley_gateway.store_client import Store
from parley_shared import api, people
from parley_shared.errors import ParleyError
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from parley_gateway.sio import ClientSocket

logger = logging.getLogger(__name__)

GAP_SECONDS: Final = 0.1
"""How long an event that came too early waits for the ones before it."""
GAP_MAX_SECONDS: Final = 5.0
"""Longest pause before the store is asked again."""
LOOKERS: Final = 8
"""So many users are looked up at a time when all may lack something, beside those of whom it is known."""
LIMBO_LIMIT: Final = 10_000
"""Most items kept for users whose session is just being opened."""
RECENT_LIMIT: Final = 10_000
"""Most deliveries kept for the sockets that are just connecting to users who are here already."""
BUCKETS_LIMIT: Final = 10_000
"""Most users who have left whose token buckets are kept."""

_encode = msgspec.json.Encoder().encode


class Event:
    """A numbered event, encoded once for everybody.

    Attributes:
        head: The packet up to where the offset goes: ``42["name",{...}``.
        origin: The socket that caused it and has shown it already (see `SocketState`); or empty.
        sender: (userID, username) of a message's sender; None for other events.
        at: When the message was stored, in ms; 0 for other events.
    """

    __slots__ = ("at", "head", "origin", "plain", "sender")

    def __init__(
        self, head: bytes, origin: str = "", sender: tuple[str, str] | None = None, at: int = 0
    ) -> None:
        self.head = head
        self.origin = origin
        self.sender = sender
        self.at = at
        self.plain: Frame | None = None

    def frame(self, offset: bytes | None) -> Frame:
        """Finish the frame for one user; without an offset, one frame serves all."""
        if offset is not None:
            return Frame.text(b"%b,%b]" % (self.head, offset))
        if self.plain is None:
            self.plain = Frame.text(self.head + b"]")
        return self.plain


def message_event(
    message: bytes, origin: str = "", sender: tuple[str, str] | None = None, at: int = 0
) -> Event:
    """Make the event that carries a message (a ready JSON object)."""
    return Event(b'42["private message",' + message, origin, sender, at)


def read_event(reader: str, peer: str, seq: int) -> Event:
    """Make the event that tells how far ``reader`` has read the conversation with ``peer``."""
    return Event(b'42["read",{"from":%b,"to":%b,"seq":%d}' % (_encode(reader), _encode(peer), seq))


def presence_event(user_id: str, username: str, *, online: bool) -> Event:
    """Make the event that tells that somebody came or went."""
    if online:
        return Event(b'42["user connected",' + user_entry(user_id, username, online=True))
    return Event(b'42["user disconnected",' + _encode(user_id))


def relations_frame(relations: api.Relations) -> Frame:
    """Make the event that tells users whom they have blocked and muted, on all their sockets."""
    return Frame.event("relations", _encode({"blocked": relations.blocked, "muted": relations.muted}))


class Hub:
    """All local users, and what reaches them.

    Args:
        store: To fill gaps.
        roster: The presence that clients were told.
        metrics: Deliveries, gaps.
        tasks: Owns the tasks that fetch.
        burst: Size of a user's token bucket.
    """

    def __init__(
        self, *, store: Store, roster: Roster, metrics: Metrics, tasks: TaskGroup, burst: float
    ) -> None:
        self._store = store
        self._roster = roster
        self._metrics = metrics
        self._tasks = tasks
        self._burst = burst
        self.users: dict[str, LocalUser] = {}
        self._followers: dict[str, set[LocalUser]] = {}
        self._opening = 0
        self._limbo: dict[str, list[api.UserItem]] = {}
        self._limbo_size = 0
        self._recent: deque[tuple[LocalUser, int, Event]] = deque(maxlen=RECENT_LIMIT)
        self._fetches = asyncio.Semaphore(16)
        self._buckets: dict[str, TokenBucket] = {}
        self._doubted: dict[LocalUser, None] = {}
        self._lookers = 0
        self._standings = Standings(store, tasks, self._stand)
        self._told_early: dict[str, set[LocalUser]] = {}

    # --- who is here --------------------------------------------------------------------------

    def opening(self) -> None:
        """Note that a session is being opened: items for unknown users are kept until it is answered."""
        self._opening += 1

    def opened(self) -> None:
        """Note that one opening has ended (after `join`, when it succeeded)."""
        self._opening -= 1
        if self._opening == 0:
            self._limbo.clear()
            self._limbo_size = 0
            self._recent.clear()

    def join(
        self,
        socket: ClientSocket,
        opened: api.Opened | api.Recovered,
        pid: str | None,
        version: int,
        contacts: Iterable[str],
    ) -> SocketState:
        """Enter a socket whose session the store has opened; its events wait until `release`."""
        user = self.users.get(opened.user)
        if user is None:
            user = LocalUser(opened, self._burst)
            # Who leaves and comes back, even within one WebSocket, has no more events for it.
            user.bucket = self._buckets.pop(opened.user, user.bucket)
            self.users[opened.user] = user
            self._metrics.users.set(len(self.users))
        elif user.epoch != opened.epoch:
            # The numbers started over while older sockets were here: those must connect afresh.
            for other in list(user.sockets):
                other.close_transport("reset")
            user.restart(opened.epoch, opened.counter)
        user.version = max(user.version, version)
        for contact in contacts:
            self._follow(user, contact)
        state = SocketState(user, opened.session, pid, pid or socket.sid, opened.counter)
        user.sockets.append(socket)
        socket.data = state
        if opened.counter < user.delivered:
            self._make_up(socket, state)
        limbo = self._limbo.pop(opened.user, ())
        self._limbo_size -= len(limbo)
        for item in limbo:
            self.handle(item)
        self._expect(user, opened.epoch, opened.counter)
        return state

    def _make_up(self, socket: ClientSocket, state: SocketState) -> None:
        """Give a new socket what its user's others were sent since the store answered for it."""
        user = state.user
        recent = [
            (counter, event)
            for other, counter, event in self._recent
            if other is user and counter > state.start
        ]
        if len(recent) == user.delivered - state.start:
            state.waiting = [(counter, event) for counter, event in recent if event.origin != state.origin]
        else:
            socket.close_transport("reset")  # it took too long to connect, and tries again

    def leave(self, socket: ClientSocket) -> LocalUser | None:
        """Forget a socket; returns its user when that was the last one."""
        state: SocketState = socket.data
        user = state.user
        user.sockets.remove(socket)
        if user.sockets:
            return None
        del self.users[user.user]
        self._buckets[user.user] = user.bucket
        if len(self._buckets) > BUCKETS_LIMIT:
            del self._buckets[next(iter(self._buckets))]
        self._doubted.pop(user, None)
        self._metrics.users.set(len(self.users))
        for contact in user.contacts:
            followers = self._followers.get(contact)
            if followers is not None:
                followers.discard(user)
                if not followers:
                    del self._followers[contact]
        return user

    def _follow(self, user: LocalUser, contact: str) -> None:
        if contact not in user.contacts and contact != user.user:
            user.contacts.add(contact)
            self._followers.setdefault(contact, set()).add(user)

    def followed(self) -> list[str]:
        """List with whom somebody here has a conversation."""
        return list(self._followers)

    # --- what comes from the stream -----------------------------------------------------------

    def handle(self, item: api.UserItem) -> None:
        """Take in one item of the gateway's stream."""
        match item:
            case api.Delivery():
                event = message_event(bytes(item.message), item.pid, (item.from_, item.from_name), item.at)
                for user_id, epoch, counter in item.to:
                    if (user := self._local(user_id, item)) is not None:
                        if user_id == item.from_:
                            self._write_to(user, item.peer)
                        self._number(user, epoch, counter, event)
            case api.ReadDelivery():
                event = read_event(item.reader, item.peer, item.seq)
                for user_id, epoch, counter in item.to:
                    if (user := self._local(user_id, item)) is not None:
                        self._number(user, epoch, counter, event)
            case api.TypingDelivery():
                user = self.users.get(item.to)
                if user is not None and not (item.from_ in user.hidden or item.from_ in user.relations.muted):
                    frame = Frame.event("typing", _encode({"from": item.from_}))
                    for socket in user.sockets:
                        if socket.data.waiting is None:
                            socket.send(frame)
            case api.Nudge():
                if (user := self._local(item.user, item)) is not None:
                    self._expect(user, item.epoch, item.counter)
            case api.Changed():
                if (user := self._local(item.user, item)) is not None:
                    self._standings.ask(user)
            case api.EndSockets():
                if (user := self._local(item.user, item)) is not None:
                    self._end_sessions(user, set(item.sessions), item.reason)

    def _local(self, user_id: str, item: api.UserItem) -> LocalUser | None:
        user = self.users.get(user_id)
        # Perhaps a socket of this user is about to join. What does not fit is found as a gap later.
        if user is None and self._opening and self._limbo_size < LIMBO_LIMIT:
            self._limbo.setdefault(user_id, []).append(item)
            self._limbo_size += 1
        return user

    def _number(self, user: LocalUser, epoch: str, counter: int, event: Event) -> None:
        if epoch == user.epoch and counter == user.delivered + 1:
            self._deliver(user, counter, event)
            if user.held:
                self._deliver_held(user)
            return
        if epoch == user.epoch and counter > user.delivered:
            if user.held is None:
                user.held = {}
            user.held[counter] = event
        self._expect(user, epoch, counter)

    def _expect(self, user: LocalUser, epoch: str, counter: int) -> None:
        """See to it that the user gets everything up to ``counter``; another epoch is looked into at once."""
        if epoch != user.epoch:
            user.stale = True
            self._fill_later(user)
        elif counter > user.delivered:
            user.expected = max(user.expected, counter)
            self._fill_later(user)

    def _deliver_held(self, user: LocalUser) -> None:
        held = user.held
        while held and (event := held.pop(user.delivered + 1, None)) is not None:
            self._deliver(user, user.delivered + 1, event)
        if not held:
            user.held = None

    def _deliver(self, user: LocalUser, counter: int, event: Event) -> None:
        user.delivered = counter
        if self._opening:
            self._recent.append((user, counter, event))
        if event.sender is not None:
            self._introduce(user, *event.sender)
        offset: bytes | None = None
        for socket in user.sockets:
            state: SocketState = socket.data
            if counter <= state.start or event.origin == state.origin:
                continue
            if state.waiting is not None:
                state.waiting.append((counter, event))
                continue
            if state.pid is None:
                socket.send(event.frame(None))
            else:
                if offset is None:
                    offset = self._offset(user, counter)
                socket.send(event.frame(offset))
            if event.sender is not None:
                self._metrics.messages_delivered.inc()
            if event.at:
                self._metrics.delivery.observe(max(0.0, time.time() - event.at / 1000))

    def _offset(self, user: LocalUser, counter: int) -> bytes:
        """Name the place up to which a socket of this user was told."""
        return offsets.encode(user.epoch, counter, self._roster.epoch, self._roster.version)

    # --- gaps ---------------------------------------------------------------------------------

    def check_all(self) -> None:
        """Ask the store for every local user: the gateway's own stream had a gap."""
        self.doubt()
        self.check_standings()

    def doubt(self, users: Iterable[str] | None = None) -> None:
        """Ask the store for local users who may lack something; for all of them when none are given."""
        if users is None:
            for user in self.users.values():
                user.stale = True
                self._doubted[user] = None
            while self._lookers < min(LOOKERS, len(self._doubted)):
                self._lookers += 1
                self._tasks.start(self._look_up(), "look up")
            return
        for user_id in users:
            if (found := self.users.get(user_id)) is not None:
                found.stale = True
                self._fill_later(found)

    async def _look_up(self) -> None:
        """Ask for those who may lack something, one after the other.

        A store that is away is asked now and then for somebody, not for everybody again and again.
        """
        pause = GAP_SECONDS
        try:
            while self._doubted:
                user = next(iter(self._doubted))
                del self._doubted[user]
                if user.filling or not user.stale or self.users.get(user.user) is not user:
                    continue
                user.filling = True
                answered = False
                try:
                    await self._fetch(user)
                    answered = True
                except ParleyError as error:
                    logger.warning("a user cannot be looked up yet", extra={"code": error.code.name})
                except Exception:
                    # It must not keep the others from being looked up.
                    logger.exception("a user cannot be looked up")
                    answered = True
                finally:
                    user.filling = False
                if user.expected > user.delivered or (answered and user.stale):
                    self._fill_later(user)
                if answered:
                    pause = GAP_SECONDS
                    continue
                if self.users.get(user.user) is user:
                    self._doubted[user] = None
                await asyncio.sleep(pause)
                pause = min(pause * 2, GAP_MAX_SECONDS)
        finally:
            self._lookers -= 1

    def _fill_later(self, user: LocalUser) -> None:
        if not user.filling:
            user.filling = True
            self._tasks.start(self._fill(user), "fill")

    async def _fill(self, user: LocalUser) -> None:
        pause = GAP_SECONDS
        try:
            while True:
                if not user.stale:
                    # What is missing may be on its way.
                    await asyncio.sleep(pause)
                if self.users.get(user.user) is not user or not (
                    user.stale or user.expected > user.delivered
                ):
                    return
                self._metrics.bus_gaps.inc()
                try:
                    async with self._fetches:
                        await self._fetch(user)
                    pause = GAP_SECONDS
                except ParleyError as error:
                    logger.warning("a gap cannot be filled yet", extra={"code": error.code.name})
                    await asyncio.sleep(pause)
                    pause = min(pause * 2, GAP_MAX_SECONDS)
        finally:
            user.filling = False

    async def _fetch(self, user: LocalUser) -> None:
        epoch, after, expected = user.epoch, user.delivered, user.expected
        user.stale = False
        try:
            page = await self._store.inbox(api.InboxRequest(user=user.user, epoch=epoch, after=after))
        except ParleyError:
            user.stale = True
            raise
        if user.epoch != epoch:
            return
        if not page.complete:
            logger.info("an inbox no longer reaches back; its sockets connect afresh")
            self.reset(user)
            return
        if page.epoch != epoch:
            # The numbers go on under another epoch, without a loss.
            user.epoch = page.epoch
            user.held = None
        for item in page.events:
            if item.counter > user.delivered:
                self._deliver(user, item.counter, self.inbox_event(item, page.names))
        if page.more:
            user.stale = True
            return
        user.delivered = max(user.delivered, page.counter)
        if user.held:
            for counter in [number for number in user.held if number <= user.delivered]:
                del user.held[counter]
            self._deliver_held(user)
        if user.expected == expected:
            # The store knows of no more; what was heard of during the fetch is still to come.
            user.expected = max(user.held) if user.held else user.delivered

    def inbox_event(self, item: api.InboxEvent, names: dict[str, str]) -> Event:
        """Make the event of an inbox entry."""
        if item.read is not None:
            return read_event(item.read.reader, item.read.peer, item.read.seq)
        return message_event(bytes(item.message), item.pid, (item.from_, names.get(item.from_, "")), 0)

    def attached(self, user: LocalUser, answer: api.Attached) -> None:
        """Go on with the numbers that the store has after an incarnation of Redis ended."""
        if answer.lost:
            logger.info("the numbers of an inbox were lost; its sockets connect afresh")
            self.reset(user)
            return
        if answer.epoch != user.epoch:
            user.epoch = answer.epoch
            user.held = None
        self._expect(user, answer.epoch, answer.counter)

    def reset(self, user: LocalUser) -> None:
        """Close the user's sockets without a word: they come back and are told everything anew."""
        for socket in list(user.sockets):
            socket.close_transport("reset")

    # --- sessions and relations ---------------------------------------------------------------

    def check_standings(self) -> None:
        """Ask the store how every local user stands: something may have been missed."""
        for user in self.users.values():
            self._standings.ask(user)

    def _stand(self, user: LocalUser, standing: people.Standing) -> None:
        """Take in how a user stands: end what has ended, show and hide people."""
        if self.users.get(user.user) is not user:
            return
        for session in standing.ended:
            self._end_sessions(user, {people.handle_of(session)}, "revoked")
        if standing.relations == user.relations:
            return
        before, had, user.relations = user.hidden, user.relations, standing.relations
        user.hidden = frozenset(standing.relations.hidden)
        for other in before ^ user.hidden:
            entry = self._roster.get(other)
            if entry is not None and entry.online and (not self._roster.capped or other in user.contacts):
                self._tell(user, presence_event(other, entry.username, online=other not in user.hidden))
        if (had.blocked, had.muted) == (user.relations.blocked, user.relations.muted):
            return
        frame = relations_frame(user.relations)
        for socket in user.sockets:
            if socket.data.waiting is None:
                socket.send(frame)

    def _end_sessions(self, user: LocalUser, handles: set[str], reason: str) -> None:
        """End the sockets of some sessions of a user; of all when none is named."""
        for socket in list(user.sockets):
            if not handles or people.handle_of(socket.data.session) in handles:
                self.end(socket, reason)

    def end(self, socket: ClientSocket, reason: str) -> None:
        """Tell a client that its session has ended, and end the socket; the client does not come back.

        A socket that was not greeted yet, or waits for the answer to its log out, is ended after that.
        """
        state: SocketState = socket.data
        if state.waiting is not None or state.leaving:
            state.ended = reason
            return
        socket.send(Frame.event("session ended", _encode({"reason": reason})))
        socket.disconnect()

    # --- presence -----------------------------------------------------------------------------

    def presence(self, user_id: str, username: str, *, online: bool) -> None:
        """Tell clients that a user came or went."""
        early = self._told_early.pop(user_id, ()) if online else ()
        event = presence_event(user_id, username, online=online)
        audience = self._followers.get(user_id, set()) if self._roster.capped else self.users.values()
        for user in audience:
            if user.user == user_id or user in early or user_id in user.hidden:
                continue
            if online:
                user.untold.discard(user_id)
            self._tell(user, event)

    def _tell(self, user: LocalUser, event: Event) -> None:
        """Send an event without a number; a socket that is still waiting for ``users`` finds it there."""
        for socket in user.sockets:
            state: SocketState = socket.data
            if state.waiting is not None:
                continue
            if state.pid is None:
                socket.send(event.frame(None))
            else:
                # A new socket may have been told more at its connect than has been delivered since.
                socket.send(event.frame(self._offset(user, max(user.delivered, state.start))))

    def _write_to(self, user: LocalUser, peer: str) -> None:
        """Note that the user has written to somebody, of whom clients need not have been told."""
        if peer not in user.contacts and peer != user.user:
            self._follow(user, peer)
            user.untold.add(peer)

    def _introduce(self, user: LocalUser, sender: str, username: str) -> None:
        """See to it that clients know a message's sender before the message."""
        if sender == user.user or sender in user.hidden:
            return
        if sender in user.contacts and sender not in user.untold:
            return
        user.untold.discard(sender)
        known = not self._roster.capped and self._roster.get(sender) is not None
        self._follow(user, sender)
        if known or not username:
            return
        if not self._roster.capped:
            # The roster's log will bring the same news in a moment.
            self._told_early.setdefault(sender, set()).add(user)
        self._tell(user, presence_event(sender, username, online=True))
