"""Export: all that is kept of a user, as JSON objects, in pages."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Raw

from parley_shared import people
from parley_shared.errors import MALFORMED, ParleyError
from parley_shared.ids import conversation_id
from parley_store.redis import keys
from parley_store.redis.accounts import Accounts
from parley_store.redis.base import Base
from parley_store.redis.conversations import Conversations
from parley_store.redis.history import body_of, seq_of
from parley_store.redis.inbox import parse_peer
from parley_store.redis.relations import Relations
from parley_store.redis.roster import Roster

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(dict[str, Any]).decode
_decode_cursor: Final = msgspec.json.Decoder(tuple[str, Annotated[int, Meta(ge=0, le=2**53)]]).decode


class Exports:
    """Reads a user's data: first what is about the user, then conversation after conversation.

    Of a conversation the user's own messages are given: those of the other are the other's.
    """

    def __init__(
        self,
        base: Base,
        *,
        accounts: Accounts,
        relations: Relations,
        conversations: Conversations,
        roster: Roster,
    ) -> None:
        self._base = base
        self._accounts = accounts
        self._relations = relations
        self._conversations = conversations
        self._roster = roster

    async def page(self, request: people.ExportRequest) -> people.ExportResponse:
        """Read a page.

        Raises:
            ParleyError: ``malformed``: the cursor is none of ours.
        """
        lines: list[Raw] = []
        if request.after is None:
            lines = [Raw(_encode(line)) for line in await self._about(request.user)]
            peer, after = "", 0
        else:
            peer, after = _from_cursor(request.after)
        left = request.limit
        for other in await self._conversations.of(request.user):
            if other < peer:
                continue
            seq = after if other == peer else 0
            if left <= 0:
                return people.ExportResponse(lines=lines, after=_to_cursor(other, seq))
            read, more = await self._messages(request.user, other, seq, left)
            left -= max(1, len(read))
            if seq == 0:
                lines.append(Raw(_encode({"kind": "conversation", "with": other})))
            lines += [line for _, line in read if line is not None]
            if more:
                return people.ExportResponse(lines=lines, after=_to_cursor(other, read[-1][0]))
        return people.ExportResponse(lines=lines, after=None)

    async def _about(self, user: str) -> list[dict[str, Any]]:
        """List what is kept of the user beside conversations."""
        run = self._base.topology.run
        name, contacts = await run(
            [(user, ("HGET", keys.user(user), "name")), (user, ("HGETALL", keys.peers(user)))], "export"
        )
        (found,) = await self._relations.peers([user], 1)
        names = await self._roster.names([peer.decode() for peer in contacts])
        lines: list[dict[str, Any]] = [
            {"kind": "user", "userID": user, "username": name.decode() if name else None}
        ]
        sessions = await self._accounts.list(user)
        lines += [{"kind": "session", "session": each.session, "used": each.used} for each in sessions]
        for peer, value in contacts.items():
            contact = parse_peer(peer.decode(), value)
            lines.append(
                {
                    "kind": "contact",
                    "userID": contact.peer,
                    "username": names.get(contact.peer),
                    "seq": contact.seq,
                    "read": contact.read,
                    "at": contact.at,
                }
            )
        for other, flags in found.noted.items():
            lines += [{"kind": "blocked", "userID": other}] if "b" in flags else []
            lines += [{"kind": "muted", "userID": other}] if "m" in flags else []
        return lines

    async def _messages(
        self, user: str, peer: str, after: int, limit: int
    ) -> tuple[list[tuple[int, Raw | None]], bool]:
        """Read messages after a seq: seq and line each (None: the other's), and whether there are more."""
        name = conversation_id(user, peer)
        command = ("XRANGE", keys.messages(name), f"0-{after + 1}", "+", "COUNT", limit + 1)
        (entries,) = await self._base.topology.run([(name, command)], "export")
        read: list[tuple[int, Raw | None]] = []
        for entry in entries[:limit]:
            message = _decode(body_of(entry))
            own = message["from"] == user
            read.append((seq_of(entry), Raw(_encode({"kind": "message", **message})) if own else None))
        return read, len(entries) > limit


def _to_cursor(peer: str, seq: int) -> str:
    return base64.urlsafe_b64encode(_encode((peer, seq))).decode()


def _from_cursor(cursor: str) -> tuple[str, int]:
    try:
        return _decode_cursor(base64.b64decode(cursor, altchars=b"-_", validate=True))
    except (binascii.Error, ValueError, msgspec.MsgspecError) as error:
        raise ParleyError(MALFORMED, "after: this is not a cursor of a page before") from error
