"""Reading conversations."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from msgspec import Raw

from parley_shared import api
from parley_shared.ids import conversation_id
from parley_store.redis import keys
from parley_store.redis.base import Base, is_identifier

SENT_AT_CONNECT: Final = 50
"""Messages of a conversation that are sent when a session is opened."""
_CHUNK: Final = 16
"""Conversations read at a time, so that little is read beyond the budget of bytes."""


class History:
    """Reads messages in the order of their seq."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def page(self, request: api.HistoryRequest) -> api.HistoryResponse:
        """Read the page before a seq, or the newest."""
        if not is_identifier(request.peer):
            return api.HistoryResponse(messages=[], before=None)
        conversation = conversation_id(request.user, request.peer)
        newest = "+" if request.before is None else f"0-{request.before - 1}"
        # One more than asked for tells whether there is another page.
        command = ("XREVRANGE", keys.messages(conversation), newest, "-", "COUNT", request.limit + 1)
        if newest == "0-0":
            return api.HistoryResponse(messages=[], before=None)
        (entries,) = await self._base.topology.run([(conversation, command)], "history")
        page = entries[: request.limit]
        before = seq_of(page[-1]) if len(entries) > request.limit else None
        return api.HistoryResponse(messages=[Raw(body_of(entry)) for entry in reversed(page)], before=before)

    async def newest(self, user: str, peers: Sequence[tuple[str, int]], most_bytes: int) -> list[list[bytes]]:
        """Read the newest messages of conversations, each up to a seq, within a number of bytes in all.

        Returns:
            Per peer the JSON of its messages, oldest first; for those beyond the budget the newest that
            fit, or none.
        """
        left = most_bytes
        histories: list[list[bytes]] = []
        for first in range(0, len(peers), _CHUNK):
            if left <= 0:
                break
            work = []
            for peer, seq in peers[first : first + _CHUNK]:
                conversation = conversation_id(user, peer)
                stream = keys.messages(conversation)
                command = ("XREVRANGE", stream, f"0-{max(seq, 1)}", "-", "COUNT", SENT_AT_CONNECT)
                work.append((conversation, command))
            for entries in await self._base.topology.run(work, "history"):
                messages: list[bytes] = []
                for entry in entries:
                    body = body_of(entry)
                    left -= len(body)
                    if left < 0:
                        break
                    messages.append(body)
                histories.append(messages[::-1])
        return histories + [[] for _ in range(len(peers) - len(histories))]

    async def bodies(self, user: str, wanted: Sequence[tuple[str, int]]) -> dict[tuple[str, int], list[Any]]:
        """Look up messages by peer and seq: the entries (see `body_of`) of those that are still there."""
        spans: dict[str, tuple[int, int]] = {}
        for peer, seq in wanted:
            least, most = spans.get(peer, (seq, seq))
            spans[peer] = (min(least, seq), max(most, seq))
        work = []
        for peer, (least, most) in spans.items():
            conversation = conversation_id(user, peer)
            # An inbox holds a conversation without gaps, so a span holds little that is not wanted.
            command = ("XRANGE", keys.messages(conversation), f"0-{least}", f"0-{most}")
            work.append((conversation, command))
        answers = await self._base.topology.run(work, "bodies")
        return {
            (peer, seq_of(entry)): entry
            for peer, entries in zip(spans, answers, strict=True)
            for entry in entries
        }


def seq_of(entry: Any) -> int:
    """Read the seq of an entry of a conversation."""
    return int(entry[0][2:])


def body_of(entry: Any) -> bytes:
    """Make the JSON object of an entry of a conversation."""
    number, fields = entry
    return finish(fields[1], int(number[2:]), int(fields[3]))


def finish(start: bytes, seq: int, at: int) -> bytes:
    """End a message's JSON object with what is known once it is stored."""
    return b'%b,"seq":%d,"at":%d}' % (start, seq, at)


def pid_of(entry: Any) -> str:
    """Read the pid of the socket that sent an entry of a conversation."""
    pid: bytes = entry[1][5]
    return pid.decode()
