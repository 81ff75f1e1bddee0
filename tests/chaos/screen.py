"""What one client's screen shows, folded from its journal, and what is wrong with it.

The rules are those of the contract. Between two `users` events lies one *life* of the screen: `users` sets it
anew, every later message is added. In a life, the messages of a conversation must follow each other without a
gap and without a repeat, starting behind the last one that `users` counted. A message of one's own is shown
when it is sent: it must not come back in the same life.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from tests.harness.journal import Entry

INVALID_USERNAME: Final = "invalid username"


@dataclass(frozen=True, slots=True)
class Violation:
    """A broken promise.

    Attributes:
        kind: ``lost``, ``doubled``, ``gap``, ``order``, ``echo``, ``altered``, ``refused``, ``greeting``,
            ``presence``, ``behind``, ``stuck`` or ``help``.
        who: The client or process.
        text: What was seen.
    """

    kind: str
    who: str
    text: str


@dataclass(slots=True)
class Sent:
    """A message that a client sent until it was acknowledged.

    Attributes:
        id: Its id.
        to: The recipient's userID.
        content: Its text, unique.
        life: The life of the screen in which it was sent first.
        seq: From the acknowledgement; 0 without one.
    """

    id: str
    to: str
    content: str
    life: int
    seq: int = 0


@dataclass(slots=True)
class Thread:
    """One conversation in one life: what `users` counted, and what events added."""

    base: int = 0
    seen: set[int] = field(default_factory=set)
    newest: int = 0


class Screen:
    """Folds the entries of one client.

    Args:
        name: The client's.
        user_id: Its user.

    Attributes:
        life: How many `users` events there were.
        sent: What the client has sent, by id.
        presence: Who it believes to be online, by userID.
        violations: What was wrong so far.
        returns: How often it came back, by whether it was recovered.
    """

    def __init__(self, name: str, user_id: str) -> None:
        self.name = name
        self.user_id = user_id
        self.life = 0
        self.sent: dict[str, Sent] = {}
        self.presence: dict[str, bool] = {}
        self.violations: list[Violation] = []
        self.returns = {"recovered": 0, "afresh": 0}
        self.received = 0
        self._threads: dict[str, Thread] = {}
        self._own: dict[str, set[int]] = {}
        self._connections = 0
        self._expected: list[str] | None = None
        self._ended: list[tuple[str, Thread]] = []

    def feed(self, entries: Iterable[Entry]) -> None:
        """Take in entries, in order."""
        for entry in entries:
            if entry.kind == "connect":
                self._connect(recovered=bool(entry.details.get("recovered")))
            elif entry.kind == "connect_error" and entry.details.get("reason") == INVALID_USERNAME:
                self._note("refused", "a session was not known any more")
            elif entry.kind == "event":
                self._event(entry.name, entry.args)

    def acknowledged(self, sent: Sent) -> None:
        """Note that a message was acknowledged under ``sent.seq``."""
        own = self._own.setdefault(sent.to, set())
        if sent.seq in own:
            self._note("doubled", f"two messages were acknowledged as number {sent.seq}")
        own.add(sent.seq)

    def reached(self, peer: str) -> int:
        """The seq up to which the conversation with a peer is on the screen without a gap."""
        thread = self._threads.get(peer, Thread())
        own = self._own.get(peer, set())
        seq = thread.base
        while seq + 1 in thread.seen or seq + 1 in own:
            seq += 1
        return seq

    def gaps(self) -> list[Violation]:
        """What is missing before the newest message, in every life; for when nothing is under way."""
        found = []
        for peer, thread in [*self._ended, *self._threads.items()]:
            own = self._own.get(peer, set())
            missing = [
                seq
                for seq in range(thread.base + 1, thread.newest)
                if seq not in thread.seen and seq not in own
            ]
            if missing:
                found.append(
                    Violation("gap", self.name, f"messages {missing[:5]} never came, later ones did")
                )
        return found

    def _note(self, kind: str, text: str) -> None:
        self.violations.append(Violation(kind, self.name, text))

    def _connect(self, *, recovered: bool) -> None:
        if self._connections:
            self.returns["recovered" if recovered else "afresh"] += 1
        self._connections += 1
        self._expected = [] if recovered else ["session", "users"]

    def _event(self, name: str, args: tuple[Any, ...]) -> None:
        if self._expected:
            if name != self._expected.pop(0):
                self._note("greeting", f"{name!r} came before `session` and `users`")
                self._expected = []
        elif name in {"session", "users"}:
            self._note("greeting", f"{name!r} came to a client that has had it, or was recovered")
        if name == "users":
            self._users(args[0])
        elif name == "user connected":
            self.presence[args[0]["userID"]] = True
        elif name == "user disconnected":
            self.presence[args[0]] = False
        elif name == "private message":
            self._message(args[0])

    def _users(self, users: list[dict[str, Any]]) -> None:
        self.life += 1
        self._ended += self._threads.items()
        self._threads = {}
        self.presence = {user["userID"]: user["connected"] for user in users}
        for user in users:
            seqs = [message["seq"] for message in user["messages"]]
            last = user.get("seq", 0)
            if seqs and seqs != list(range(last - len(seqs) + 1, last + 1)):
                self._note("gap", f"`users` counts {last} messages and shows {seqs}")
            self._threads[user["userID"]] = Thread(base=last, newest=last)

    def _message(self, message: dict[str, Any]) -> None:
        self.received += 1
        own = message["from"] == self.user_id
        peer = message["to"] if own else message["from"]
        if not own and message["to"] != self.user_id:
            self._note("altered", "a message for somebody else came")
            return
        if not own and peer not in self.presence:
            # The contract: `user connected` reaches a socket before that user's first message does.
            self._note("order", "a message came before its sender was made known")
        sent = self.sent.get(message["id"])
        if sent is not None and own and sent.life == self.life:
            self._note("echo", f"{message['id']} came back to the socket that sent it")
        thread = self._threads.setdefault(peer, Thread())
        seq = message["seq"]
        if seq in thread.seen or seq <= thread.base:
            self._note("doubled", f"message {seq} of a conversation came again")
        elif seq < thread.newest:
            self._note("order", f"message {seq} came after {thread.newest}")
        thread.seen.add(seq)
        thread.newest = max(thread.newest, seq)


def check_histories(
    histories: Mapping[tuple[str, str], list[dict[str, Any]]], screens: Iterable[Screen]
) -> list[Violation]:
    """Compare what was acknowledged with what the store has.

    Args:
        histories: All messages of each conversation, oldest first, by its two userIDs in order.
        screens: All clients.
    """
    found = []
    stored: dict[tuple[str, str, str], dict[str, Any]] = {}
    for pair, messages in histories.items():
        seqs = [message["seq"] for message in messages]
        if seqs != list(range(1, len(seqs) + 1)):
            found.append(Violation("gap", "history", f"the numbers are {seqs[:20]}..."))
        found += [
            Violation("doubled", "history", f"{message['id']} is stored twice")
            for message in messages
            if stored.setdefault((*pair, message["id"]), message) is not message
        ]
    for screen in screens:
        for sent in screen.sent.values():
            if not sent.seq:
                found.append(Violation("stuck", screen.name, f"{sent.id} was never acknowledged"))
                continue
            pair = (min(screen.user_id, sent.to), max(screen.user_id, sent.to))
            match = stored.get((*pair, sent.id))
            if match is None:
                found.append(Violation("lost", screen.name, f"{sent.id} was acknowledged and is not stored"))
            elif (match["seq"], match["content"], match["from"]) != (sent.seq, sent.content, screen.user_id):
                found.append(
                    Violation("altered", screen.name, f"{sent.id} is stored otherwise than acknowledged")
                )
    return found


def check_ends(screen: Screen, histories: Mapping[tuple[str, str], list[dict[str, Any]]]) -> list[Violation]:
    """Find the conversations of which the screen lacks the end."""
    found = []
    for (one, other), messages in histories.items():
        if screen.user_id not in (one, other) or not messages:
            continue
        peer = other if screen.user_id == one else one
        reached, last = screen.reached(peer), messages[-1]["seq"]
        if reached < last:
            found.append(Violation("behind", screen.name, f"shows {reached} of {last} messages"))
    return found


def check_presence(screen: Screen, truth: Mapping[str, bool]) -> list[Violation]:
    """Compare who a client believes to be online with who is."""
    return [
        Violation("presence", screen.name, f"believes {user} to be {'offline' if online else 'online'}")
        for user, online in truth.items()
        if user != screen.user_id and screen.presence.get(user, False) != online
    ]
