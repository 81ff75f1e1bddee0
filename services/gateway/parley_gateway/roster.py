"""The gateway's replica of the roster: who exists and who is online, ready to be sent.

It holds at most ROSTER_LIMIT users: those online first, then the most recent. States are absolute and
versioned: of two, the one with the greater version is true, in whatever order they arrive.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import msgspec

from parley_shared.api import RosterChange, RosterEntry, RosterResponse

ONLINE, OFFLINE, FORGOTTEN = 1, 0, -1

_encode = msgspec.json.Encoder().encode


class Entry:
    """One user of the replica.

    Attributes:
        username: The name, as clients see it.
        online: Whether the user has a connection anywhere.
        version: Of the state.
        json: The ready entry of ``users``, with no messages.
    """

    __slots__ = ("json", "online", "username", "version")

    def __init__(self, user: str, username: str, *, online: bool, version: int) -> None:
        self.username = username
        self.online = online
        self.version = version
        self.json = user_entry(user, username, online=online)


def user_entry(
    user: str,
    username: str,
    *,
    online: bool,
    messages: bytes = b"",
    unread: int | None = None,
    seq: int | None = None,
    read: int = 0,
) -> bytes:
    """Encode an entry of ``users``.

    Args:
        user: The userID.
        username: The name.
        online: Presence.
        messages: JSON objects, separated by commas.
        unread: Messages of this conversation the reader has not read; left out when None.
        seq: The conversation's last seq; left out when None.
        read: The seq up to which this user has read the conversation; left out with ``seq``.
    """
    extra = b"" if seq is None else b',"unread":%d,"seq":%d,"read":%d' % (unread or 0, seq, read)
    return b'{"userID":%b,"username":%b,"connected":%b,"messages":[%b]%b}' % (
        _encode(user),
        _encode(username),
        b"true" if online else b"false",
        messages,
        extra,
    )


class Roster:
    """The replica. Not loaded until the first `load`."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        # Insertion order is recency: a user whose state changes moves to the end.
        self._online: dict[str, Entry] = {}
        self._offline: dict[str, Entry] = {}
        # All that have changed since version ``_floor``, the snapshot's, in the order of their versions.
        self._changed: dict[str, Entry] = {}
        self._floor = 0
        self._joined: bytes | None = None
        self.epoch = ""
        self.version = 0
        self.total = 0
        self.loaded = False

    @property
    def capped(self) -> bool:
        """Whether there are more users than a client is told of: then presence goes to contacts only."""
        return self.total > self.limit

    def __len__(self) -> int:
        return len(self._online) + len(self._offline)

    def get(self, user: str) -> Entry | None:
        """Return what is known of a user."""
        return self._online.get(user) or self._offline.get(user)

    def changes(
        self, snapshot: RosterResponse, others: Iterable[RosterEntry] | None = None
    ) -> list[RosterEntry]:
        """List what clients must be told before the replica is replaced by a snapshot.

        They are told it under the place before: one that loses its connection in the midst of it will be told
        all of it again. (Under the snapshot's where that is older: what comes after it is still to be read.)

        Args:
            snapshot: The new states.
            others: The states of contacts who are not in it; None: nobody else is known.

        Returns:
            The states that differ from what was known, or may. Empty before the first load.
        """
        if not self.loaded:
            return []
        before = {user: entry.online for user, entry in self}
        # Versions of another numbering say nothing about whether a state is news.
        since = self.version if snapshot.epoch == self.epoch else -1
        if snapshot.epoch == self.epoch:
            self.version = min(self.version, snapshot.version)
        news = [item for item in snapshot.entries if before.pop(item.user, None) != (item.state == ONLINE)]
        if others is None:
            others = [RosterEntry(user, "", OFFLINE, snapshot.version) for user in before]
        for item in others:
            was_online = before.get(item.user)
            if item.version > since if was_online is None else was_online != (item.state == ONLINE):
                news.append(item)
        return news

    def load(self, snapshot: RosterResponse) -> None:
        """Replace the replica by a snapshot."""
        self._online.clear()
        self._offline.clear()
        self._changed.clear()
        # The snapshot is ordered newest first; the replica keeps the newest last.
        for item in reversed(snapshot.entries[: self.limit]):
            self._put(
                item.user, Entry(item.user, item.username, online=item.state == ONLINE, version=item.version)
            )
        self.epoch, self.version, self.total = snapshot.epoch, snapshot.version, snapshot.total
        self._floor = snapshot.version
        self.loaded = True
        self._joined = None

    def apply(self, version: int, change: RosterChange) -> bool:
        """Apply an entry of the log.

        Returns:
            Whether it is news: False when a newer state of this user is known, or the same one.
        """
        in_order = version > self.version
        self.version = max(self.version, version)
        self.total = change.total
        known = self.get(change.user)
        if known is not None and known.version >= version:
            return False
        self._online.pop(change.user, None)
        self._offline.pop(change.user, None)
        self._changed.pop(change.user, None)
        self._joined = None
        if change.state != FORGOTTEN:
            entry = Entry(change.user, change.username, online=change.state == ONLINE, version=version)
            self._put(change.user, entry)
            if in_order:
                self._changed[change.user] = entry
            else:
                self._floor = max(self._floor, version)
            self._trim()
        return known is None or known.online != (change.state == ONLINE)

    def _put(self, user: str, entry: Entry) -> None:
        (self._online if entry.online else self._offline)[user] = entry

    def _trim(self) -> None:
        while len(self) > self.limit:
            oldest = self._offline or self._online
            user = next(iter(oldest))
            del oldest[user]
            self._changed.pop(user, None)

    def since(self, version: int) -> list[tuple[str, Entry]]:
        """List (userID, entry) of those who have changed since a version.

        It costs by what has changed, unless the version is older than the last snapshot.
        """
        if version < self._floor:
            return [item for item in self if item[1].version > version]
        found = []
        for user, entry in reversed(self._changed.items()):
            if entry.version <= version:
                break
            found.append((user, entry))
        return found

    def __iter__(self) -> Iterator[tuple[str, Entry]]:
        """Yield (userID, entry): online users first, each group newest first."""
        for group in (self._online, self._offline):
            yield from reversed(group.items())

    def joined(self) -> bytes:
        """Return all entries of ``users``, separated by commas; kept until something changes."""
        if self._joined is None:
            self._joined = b",".join([entry.json for _, entry in self])
        return self._joined
