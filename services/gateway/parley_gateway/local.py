"""What the gateway keeps of the users and sockets it holds."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from parley_shared.api import Contact, Opened, Position, Recovered, Relations

if TYPE_CHECKING:
    from parley_gateway.hub import Event
    from parley_gateway.sio.client import ClientSocket


class TokenBucket:
    """Limits events: ``burst`` at once, ``rate`` a second in the long run."""

    __slots__ = ("_at", "_tokens")

    def __init__(self, burst: float) -> None:
        self._tokens = burst
        self._at = time.monotonic()

    def take(self, rate: float, burst: float) -> bool:
        """Take a token; False when there is none."""
        now = time.monotonic()
        self._tokens = min(burst, self._tokens + (now - self._at) * rate)
        self._at = now
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True


class LocalUser:
    """A user with at least one socket on this gateway.

    Attributes:
        user: The userID.
        username: The name.
        epoch: Of the inbox's numbers.
        delivered: The inbox counter up to which everything was handed to the user's sockets.
        version: The newest version under which the gateway is registered for the user.
        sockets: The user's sockets here.
        contacts: Users this one has a conversation with, as far as they matter here (presence above the cap).
        untold: Contacts the user has written to, of whom clients need not have been told.
        held: Events that came before their turn, by counter.
        expected: The greatest counter heard of; above ``delivered``, something is missing.
        stale: Whether the store must be asked whatever the counters say.
        filling: Whether a task sees to what is missing.
        bucket: Of the user's events.
        relations: Whom the user has blocked and muted.
        hidden: Users who are not seen by this one, nor see this one.
        asked: Whether the store is about to be asked how the user stands.
    """

    __slots__ = (
        "asked",
        "bucket",
        "contacts",
        "delivered",
        "epoch",
        "expected",
        "filling",
        "held",
        "hidden",
        "relations",
        "sockets",
        "stale",
        "untold",
        "user",
        "username",
        "version",
    )

    def __init__(self, opened: Opened | Recovered, burst: float) -> None:
        self.user = opened.user
        self.username = opened.username
        self.epoch = opened.epoch
        self.delivered = opened.counter
        self.version = 0
        self.sockets: list[ClientSocket] = []
        self.contacts: set[str] = set()
        self.untold: set[str] = set()
        self.held: dict[int, Event] | None = None
        self.expected = opened.counter
        self.stale = False
        self.filling = False
        self.bucket = TokenBucket(burst)
        self.relations = opened.relations or Relations()
        self.hidden = frozenset(self.relations.hidden)
        self.asked = False

    @property
    def told(self) -> int:
        """The counter up to which at least one socket was told: a new one begins ahead of the others."""
        starts: list[int] = [socket.data.start for socket in self.sockets]
        return max([self.delivered, *starts])

    def restart(self, epoch: str, delivered: int) -> None:
        """Begin a new numbering."""
        self.epoch = epoch
        self.delivered = self.expected = delivered
        self.held = None


class SocketState:
    """What the core keeps of one socket, in the socket's ``data``.

    Attributes:
        user: Its user.
        session: Its sessionID.
        pid: Its recovery id; None when recovery is off for it.
        origin: What its messages are marked with, so that they do not come back to it: the pid, which it
            shares with the socket it was recovered from, or else its own id.
        start: The inbox counter up to which the client was told at connect.
        waiting: Events that came before the greeting was written; None once it was.
        contacts: For the greeting of a fresh socket: its conversations.
        missed: For the greeting of a recovered socket: what it missed since ``position``.
        position: The place that a recovered client had reached.
        ended: Why the socket is to be ended once it was greeted and answered; empty: it is not.
        leaving: Requests to log out that have not been answered yet.
    """

    __slots__ = (
        "contacts",
        "ended",
        "leaving",
        "missed",
        "origin",
        "pid",
        "position",
        "session",
        "start",
        "user",
        "waiting",
    )

    def __init__(self, user: LocalUser, session: str, pid: str | None, origin: str, start: int) -> None:
        self.user = user
        self.session = session
        self.pid = pid
        self.origin = origin
        self.start = start
        self.waiting: list[tuple[int, Event]] | None = []
        self.contacts: list[Contact] = []
        self.missed: Recovered | None = None
        self.position: Position | None = None
        self.ended = ""
        self.leaving = 0
