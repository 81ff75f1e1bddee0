"""What the memory store keeps."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from parley_shared import api, ids
from parley_shared.ids import conversation_id
from parley_store.config import StoreConfig


def now_ms() -> int:
    """Return the time in ms since the epoch."""
    return int(time.time() * 1000)


@dataclass(slots=True)
class Session:
    """A session: whose, until when, and when it was used last."""

    user: str
    username: str
    subject: str
    expires: float = 0
    used: int = 0


@dataclass(slots=True)
class Peer:
    """What a user has with a peer: the last seq in the inbox, its time, and both read marks."""

    seq: int = 0
    at: int = 0
    read: int = 0
    seen: int = 0


@dataclass(slots=True)
class Entry:
    """An event of an inbox: a message of a conversation, or a read mark."""

    peer: str
    seq: int
    pid: str = ""
    reader: str = ""
    emptied: bool = False


@dataclass(slots=True)
class User:
    """A user: presence by gateway, the inbox (its first entry has counter 1), and contacts."""

    username: str
    epoch: str
    inbox: list[Entry] = field(default_factory=list)
    trimmed: int = 0
    peers: dict[str, Peer] = field(default_factory=dict)
    gateways: dict[str, int] = field(default_factory=dict)
    gone: dict[str, int] = field(default_factory=dict)
    online: bool = False
    expires: float = 0

    @property
    def counter(self) -> int:
        """The newest number of the inbox."""
        return self.trimmed + len(self.inbox)


@dataclass(slots=True)
class Conversation:
    """Messages, of which the first has seq 1, and what is known by (sender, id)."""

    messages: list[bytes] = field(default_factory=list)
    ids: dict[tuple[str, str], tuple[int, int, str]] = field(default_factory=dict)


@dataclass(slots=True)
class Pid:
    """A recovery id: whose it is, who holds it, and until when it is good."""

    session: str
    user: str
    gateway: str
    version: int
    socket: str
    before: tuple[str, str] = ("", "")
    expires: float = float("inf")


@dataclass(slots=True)
class Gateway:
    """A gateway with a lease: its stream, and what it said of itself."""

    info: api.GatewayInfo
    stream: list[list[api.StreamItem]] = field(default_factory=list)
    users: set[str] = field(default_factory=set)
    pids: set[str] = field(default_factory=set)


class State:
    """All of it, and the rules that several parts need."""

    def __init__(self, config: StoreConfig) -> None:
        self.config = config
        self.sessions: dict[str, Session] = {}
        self.users: dict[str, User] = {}
        self.conversations: dict[str, Conversation] = {}
        self.pids: dict[str, Pid] = {}
        self.blocked: dict[str, dict[str, None]] = {}
        self.muted: dict[str, dict[str, None]] = {}
        self.gateways: dict[str, Gateway] = {}
        self.roster_epoch = ids.epoch()
        self.log: list[api.RosterChange] = []
        self.roster: dict[str, api.RosterEntry] = {}
        self.due: dict[str, float] = {}

    def session(self, session_id: str, subject: str) -> Session | None:
        """Find a session that has not expired and belongs to the subject; it is renewed."""
        session = self.sessions.get(session_id)
        if session is None or session.expires < now_ms() or session.subject != subject:
            return None
        session.expires = self.session_end()
        session.used = now_ms()
        return session

    def session_end(self) -> float:
        """Return when a session that is used now expires."""
        return now_ms() + self.config.session_ttl_seconds * 1000

    def user(self, user_id: str) -> User | None:
        """Find a user who has not expired."""
        user = self.users.get(user_id)
        return user if user is not None and user.expires >= now_ms() else None

    def conversation(self, one: str, other: str) -> Conversation:
        """Find or make the conversation of two users."""
        return self.conversations.setdefault(conversation_id(one, other), Conversation())

    def blocks(self, one: str, other: str) -> bool:
        """Whether one of two users blocks the other."""
        return other in self.blocked.get(one, ()) or one in self.blocked.get(other, ())

    def relations(self, user_id: str) -> api.Relations:
        """Say whom a user has blocked and muted, and who is hidden."""
        blocked = list(self.blocked.get(user_id, ()))
        blockers = [other for other, peers in self.blocked.items() if user_id in peers]
        return api.Relations(
            blocked=blocked,
            muted=list(self.muted.get(user_id, ())),
            hidden=list(dict.fromkeys([*blocked, *blockers])),
        )

    def publish(self, gateway: str, items: Sequence[api.StreamItem]) -> bool:
        """Append an entry to a gateway's stream, if it has one."""
        if gateway not in self.gateways:
            return False
        self.gateways[gateway].stream.append(list(items))
        return True

    def publish_all(self, items: Mapping[str, Sequence[api.StreamItem]]) -> None:
        """Append an entry to each gateway's stream."""
        for gateway, list_ in items.items():
            self.publish(gateway, list_)

    def note_presence(self, user_id: str) -> None:
        """Put a user's presence into the roster, if it is another than the roster has."""
        user = self.user(user_id)
        old = self.roster.get(user_id)
        if user is None:
            if old is not None:
                del self.roster[user_id]
                self._log(user_id, "", -1)
            return
        state = 1 if user.online else 0
        if old is None or (old.state, old.username) != (state, user.username):
            version = len(self.log) + 1
            self.roster[user_id] = api.RosterEntry(user_id, user.username, state, version)
            self._log(user_id, user.username, state)

    def names(self, users: Iterable[str]) -> dict[str, str]:
        """Look up usernames."""
        return {user: self.roster[user].username for user in users if user in self.roster}

    def _log(self, user_id: str, username: str, state: int) -> None:
        self.log.append(api.RosterChange(user_id, username, state, len(self.roster)))
