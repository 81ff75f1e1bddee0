"""What clients can ask about themselves: sessions, log out, block, mute, export, erase."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parley_gateway.local import SocketState
from parley_shared import api, people
from parley_shared.errors import MALFORMED, ParleyError

if TYPE_CHECKING:
    from parley_gateway.events import Events
    from parley_gateway.sio import ClientSocket

_encode = msgspec.json.Encoder().encode


class Nothing(msgspec.Struct):
    """An event without arguments: ``sessions``, ``relations``."""


class LogOut(msgspec.Struct):
    """``log out``: ``{}`` this session, ``{session}`` another by its handle, ``{all: true}`` every one."""

    session: people.Handle | None = None
    all: bool = False


class Person(msgspec.Struct):
    """``block``, ``unblock``, ``mute``, ``unmute``: ``{user}``."""

    user: api.Target


class Export(msgspec.Struct):
    """``export``: ``{after?}`` -> ``{lines, after}``, a page of all that is kept of the user."""

    after: api.Cursor | None = None


class Erase(msgspec.Struct):
    """``erase``: ``{userID}``, the user's own id, so that nobody does it by mistake."""

    user: api.Target = msgspec.field(name="userID")


def _sessions(
    events: Events, socket: ClientSocket, state: SocketState, _asked: Nothing, ack_id: int | None
) -> None:
    async def answer() -> bytes:
        found = await events.store.sessions(people.SessionsRequest(user=state.user.user))
        own = people.handle_of(state.session)
        sessions = [
            {"session": each.session, "used": each.used, "current": each.session == own}
            for each in found.sessions
        ]
        return _encode({"ok": True, "sessions": sessions})

    events.answer_later(socket, ack_id, answer())


def _log_out(
    events: Events, socket: ClientSocket, state: SocketState, asked: LogOut, ack_id: int | None
) -> None:
    session = None if asked.all else asked.session or people.handle_of(state.session)
    # The news that the session has ended may be here before the answer, which the client waits for.
    state.leaving += 1

    async def answer() -> bytes:
        request = people.RevokeRequest(user=state.user.user, session=session, reason="log out")
        done = await events.store.revoke(request)
        return _encode({"ok": True, "ended": done.ended})

    events.do_later(socket, ack_id, answer(), lambda: _answered(events, socket, state))


def _relate(
    *, block: bool | None = None, mute: bool | None = None
) -> Callable[[Events, ClientSocket, SocketState, Person, int | None], None]:
    def handle(
        events: Events, socket: ClientSocket, state: SocketState, asked: Person, ack_id: int | None
    ) -> None:
        async def answer() -> bytes:
            request = people.RelateRequest(user=state.user.user, peer=asked.user, block=block, mute=mute)
            found = await events.store.relate(request)
            return _encode({"ok": True, "blocked": found.blocked, "muted": found.muted})

        events.do_later(socket, ack_id, answer())

    return handle


def _relations(
    events: Events, socket: ClientSocket, state: SocketState, _asked: Nothing, ack_id: int | None
) -> None:
    async def answer() -> bytes:
        ask = people.StandingAsk(user=state.user.user)
        (standing,) = (await events.store.standing(people.StandingRequest(users=[ask]))).results
        found = standing.relations
        return _encode({"ok": True, "blocked": found.blocked, "muted": found.muted})

    events.answer_later(socket, ack_id, answer())


def _export(
    events: Events, socket: ClientSocket, state: SocketState, asked: Export, ack_id: int | None
) -> None:
    async def answer() -> bytes:
        page = await events.store.export(people.ExportRequest(user=state.user.user, after=asked.after))
        return _encode({"ok": True, "lines": page.lines, "after": page.after})

    events.answer_later(socket, ack_id, answer())


def _erase(
    events: Events, socket: ClientSocket, state: SocketState, asked: Erase, ack_id: int | None
) -> None:
    if asked.user != state.user.user:
        raise ParleyError(MALFORMED, "userID: expected the user's own")
    state.leaving += 1

    async def answer() -> bytes:
        erasure = await events.store.erase(people.EraseRequest(user=state.user.user))
        return _encode({"ok": True, "job": erasure.job})

    events.do_later(socket, ack_id, answer(), lambda: _answered(events, socket, state))


def _answered(events: Events, socket: ClientSocket, state: SocketState) -> None:
    """End the socket, if its session has ended while it waited for the answer."""
    state.leaving -= 1
    if state.ended and not state.leaving:
        events.hub.end(socket, state.ended)


PEOPLE_EVENTS: Final[
    dict[str, tuple[type[Any], Callable[[Events, ClientSocket, SocketState, Any, int | None], None]]]
] = {
    "sessions": (Nothing, _sessions),
    "log out": (LogOut, _log_out),
    "block": (Person, _relate(block=True)),
    "unblock": (Person, _relate(block=False)),
    "mute": (Person, _relate(mute=True)),
    "unmute": (Person, _relate(mute=False)),
    "relations": (Nothing, _relations),
    "export": (Export, _export),
    "erase": (Erase, _erase),
}
"""These events: their shapes, and what handles them."""
