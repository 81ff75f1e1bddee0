"""What clients can ask for: one method an event, found by its name in `EVENTS`.

Every event is checked before anything is done; an acknowledgement, when the client wants one, is
``{ok: true, ...}`` or ``{ok: false, code, message, retryable}`` with a row of the table of errors.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Coroutine
from typing import TYPE_CHECKING, Any, Final

import msgspec

from parley_gateway.batcher import Batcher
from parley_gateway.hub import Hub
from parley_gateway.lanes import Lanes, Outgoing
from parley_gateway.local import SocketState
from parley_gateway.metrics import Metrics
from parley_gateway.people_events import PEOPLE_EVENTS
from parley_gateway.sio import Frame
from parley_gateway.store_client import Store
from parley_shared import api, ids
from parley_shared.errors import (
    BUSY,
    INTERNAL,
    MALFORMED,
    RATE_LIMITED,
    TOO_LONG,
    UNKNOWN_EVENT,
    Code,
    ParleyError,
)
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from parley_gateway.sio import ClientSocket

logger = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode
_OK: Final = b'{"ok":true'


class PrivateMessage(msgspec.Struct):
    """``private message``: in ``{content, to, id?}``."""

    content: str
    to: api.Target
    id: api.MessageId | None = None


class History(msgspec.Struct, rename={"peer": "with"}):
    """``history``: ``{with, before?, limit?}`` -> ``{messages, before}``."""

    peer: api.Target
    before: api.Seq | None = None
    limit: api.PageSize = 50


class Users(msgspec.Struct):
    """``users``: ``{query?, after?, limit?}`` -> ``{users, after}``."""

    query: api.Query = ""
    after: api.Cursor | None = None
    limit: api.PageSize = 50


class Typing(msgspec.Struct):
    """``typing``: ``{to}``, relayed and forgotten."""

    to: api.Identifier


class Read(msgspec.Struct, rename={"peer": "with"}):
    """``read``: ``{with, seq}``: the conversation was read up to there."""

    peer: api.Identifier
    seq: api.Seq


class Events:
    """Handles the events of all sockets.

    Args:
        hub: Knows the users.
        lanes: Takes the messages.
        store: Answers pages.
        metrics: Outcomes.
        tasks: Owns the tasks that wait for the store.
        gateway_id: Gives the gateway's current id.
        rate: Events a second of one user, in the long run.
        burst: Events of one user at once.
        max_content: Longest content, in characters.
    """

    def __init__(
        self,
        *,
        hub: Hub,
        lanes: Lanes,
        store: Store,
        metrics: Metrics,
        tasks: TaskGroup,
        gateway_id: Callable[[], str],
        rate: float,
        burst: int,
        max_content: int,
    ) -> None:
        self.hub = hub
        self._lanes = lanes
        self.store = store
        self._metrics = metrics
        self._tasks = tasks
        self._gateway_id = gateway_id
        self._rate = rate
        self._burst = burst
        self._max_content = max_content
        self.stored = metrics.messages_received.labels("stored")
        self._duplicate = metrics.messages_received.labels("duplicate")
        self._reads: Batcher[api.ReadMark, None] = Batcher(
            "read", self._send_reads, limit=200, waiting_limit=10_000, tasks=tasks
        )
        self._typings: Batcher[api.Typing, None] = Batcher(
            "typing", self._send_typings, limit=200, waiting_limit=1000, tasks=tasks
        )

    def handle(self, socket: ClientSocket, event: str, args: list[object], ack_id: int | None) -> None:
        """Handle one event; the server's `Handler.on_event`."""
        known = EVENTS.get(event)
        if known is None:
            refuse(socket, ack_id, UNKNOWN_EVENT)
            return
        shape, method = known
        state: SocketState = socket.data
        if not state.user.bucket.take(self._rate, self._burst):
            if event == "private message":
                self._metrics.messages_received.labels("limited").inc()
            refuse(socket, ack_id, RATE_LIMITED)
            return
        try:
            # More arguments than one are no object either, and say so in the same words.
            asked = msgspec.convert(args[0] if len(args) == 1 else args or {}, shape)
            _require_unicode(asked)
            method(self, socket, state, asked, ack_id)
        except (msgspec.ValidationError, UnicodeEncodeError) as error:
            if event == "private message":
                self._metrics.messages_received.labels("refused").inc()
            # The latter's text quotes what the client sent; msgspec raises it too, for keys and patterns.
            detail = str(error) if isinstance(error, msgspec.ValidationError) else None
            refuse(socket, ack_id, MALFORMED, detail)
        except ParleyError as error:
            refuse(socket, ack_id, error.code, error.detail)

    # --- private message ----------------------------------------------------------------------

    def _private_message(
        self, socket: ClientSocket, state: SocketState, asked: PrivateMessage, ack_id: int | None
    ) -> None:
        if len(asked.content) > self._max_content:
            self._metrics.messages_received.labels("refused").inc()
            refuse(socket, ack_id, TOO_LONG)
            return
        identifier = asked.id or ids.message_id()
        send = api.Send(
            id=identifier,
            from_=state.user.user,
            from_name=state.user.username,
            to=asked.to,
            content=asked.content,
            pid=state.origin,
            socket=socket.sid,
        )
        started = time.monotonic()

        def finish(result: api.Appended | Code) -> None:
            self._metrics.ack.observe(time.monotonic() - started)
            if isinstance(result, Code):
                self._metrics.messages_received.labels("unavailable").inc()
                refuse(socket, ack_id, result)
            elif result.failure is not None:
                outcome = "unavailable" if result.failure.retryable else "refused"
                self._metrics.messages_received.labels(outcome).inc()
                if ack_id is not None:
                    socket.send(Frame.ack(ack_id, _failure(result.failure)))
            else:
                (self._duplicate if result.duplicate else self.stored).inc()
                if ack_id is not None:
                    body = b'{"ok":true,"id":%b,"seq":%d,"at":%d}' % (
                        _encode(identifier),
                        result.seq,
                        result.at,
                    )
                    socket.send(Frame.ack(ack_id, body))

        if not self._lanes.submit(Outgoing(send, finish)):
            self._metrics.messages_received.labels("unavailable").inc()
            refuse(socket, ack_id, BUSY)

    # --- pages --------------------------------------------------------------------------------

    def _history(self, socket: ClientSocket, state: SocketState, asked: History, ack_id: int | None) -> None:
        async def answer() -> bytes:
            request = api.HistoryRequest(
                user=state.user.user, peer=asked.peer, before=asked.before, limit=asked.limit
            )
            page = await self.store.history(request)
            messages = b",".join([bytes(message) for message in page.messages])
            before = b"null" if page.before is None else b"%d" % page.before
            return b'%b,"messages":[%b],"before":%b}' % (_OK, messages, before)

        self.answer_later(socket, ack_id, answer())

    def _users(self, socket: ClientSocket, state: SocketState, asked: Users, ack_id: int | None) -> None:
        async def answer() -> bytes:
            request = api.UsersRequest(
                user=state.user.user, query=asked.query, after=asked.after, limit=asked.limit
            )
            page = await self.store.users(request)
            users = [
                {
                    "userID": entry.user,
                    "username": entry.username,
                    "connected": entry.connected and entry.user not in state.user.hidden,
                    "messages": [],
                    "unread": entry.unread,
                    "seq": entry.seq,
                    "read": entry.read,
                }
                for entry in page.users
            ]
            return _encode({"ok": True, "users": users, "after": page.after})

        self.answer_later(socket, ack_id, answer())

    def answer_later(
        self, socket: ClientSocket, ack_id: int | None, answer: Coroutine[Any, Any, bytes]
    ) -> None:
        """Answer when the store has; a question without an acknowledgement is not asked."""
        if ack_id is None:
            answer.close()  # nobody would see it
            return
        self.do_later(socket, ack_id, answer)

    def do_later(
        self,
        socket: ClientSocket,
        ack_id: int | None,
        answer: Coroutine[Any, Any, bytes],
        answered: Callable[[], None] | None = None,
    ) -> None:
        """Have something done, answer if the client waits for it, and then call ``answered``."""

        async def run() -> None:
            try:
                body = await answer
            except ParleyError as error:
                if error.code is INTERNAL:
                    logger.exception("an event could not be answered")
                refuse(socket, ack_id, error.code, None if error.code.retryable else error.detail)
            else:
                if ack_id is not None:
                    socket.send(Frame.ack(ack_id, body))
            finally:
                if answered is not None:
                    answered()

        self._tasks.start(run(), "answer")

    # --- typing, read -------------------------------------------------------------------------

    def _typing(self, socket: ClientSocket, state: SocketState, asked: Typing, ack_id: int | None) -> None:
        self._typings.submit(api.Typing(from_=state.user.user, to=asked.to))
        if ack_id is not None:
            socket.send(Frame.ack(ack_id, _OK + b"}"))

    async def _send_typings(self, batch: list[api.Typing]) -> list[None]:
        await self.store.typing(api.TypingRequest(gateway=self._gateway_id(), events=batch))
        return [None] * len(batch)

    def _read(self, socket: ClientSocket, state: SocketState, asked: Read, ack_id: int | None) -> None:
        quiet = asked.peer in state.user.hidden
        mark = api.ReadMark(reader=state.user.user, peer=asked.peer, seq=asked.seq, quiet=quiet)
        future = self._reads.submit(mark)
        if ack_id is None:
            return

        async def answer() -> bytes:
            await future
            return _OK + b"}"

        self.answer_later(socket, ack_id, answer())

    async def _send_reads(self, batch: list[api.ReadMark]) -> list[None]:
        await self.store.read(api.ReadRequest(gateway=self._gateway_id(), marks=batch))
        return [None] * len(batch)


EVENTS: Final[
    dict[str, tuple[type[Any], Callable[[Events, ClientSocket, SocketState, Any, int | None], None]]]
] = {
    "private message": (PrivateMessage, Events._private_message),  # noqa: SLF001 - the table of this class
    "history": (History, Events._history),  # noqa: SLF001
    "users": (Users, Events._users),  # noqa: SLF001
    "typing": (Typing, Events._typing),  # noqa: SLF001
    "read": (Read, Events._read),  # noqa: SLF001
    **PEOPLE_EVENTS,
}
"""Every event a client can send: its shape, and what handles it."""


def refuse(socket: ClientSocket, ack_id: int | None, code: Code, detail: str | None = None) -> None:
    """Acknowledge an event with an error, if the client waits for an acknowledgement."""
    if ack_id is not None:
        failure = api.Failure(code=code.name, message=detail or code.message, retryable=code.retryable)
        socket.send(Frame.ack(ack_id, _failure(failure)))


def _failure(failure: api.Failure) -> bytes:
    return _encode(
        {"ok": False, "code": failure.code, "message": failure.message, "retryable": failure.retryable}
    )


def _require_unicode(asked: msgspec.Struct) -> None:
    """Refuse half a surrogate pair, which JavaScript can send and UTF-8 cannot hold.

    Raises:
        UnicodeEncodeError: A text has one.
    """
    for value in msgspec.structs.astuple(asked):
        if isinstance(value, str) and not value.isascii():
            value.encode()
