"""Connecting and leaving: sessions are opened, recovered and given up in batches, and nothing is left over.

A request to open is repeated until the store has answered, also when the client has long gone: only then it
is known what must be undone.
"""

from __future__ import annotations

import asyncio
import functools
import itertools
import logging
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeVar

from parley_gateway import offsets
from parley_gateway.batcher import Batcher
from parley_gateway.greeting import greet
from parley_gateway.hub import Hub
from parley_gateway.local import SocketState
from parley_gateway.login import Identity, Login
from parley_gateway.metrics import RECOVERY_RESULTS, Metrics
from parley_gateway.roster import Roster
from parley_gateway.sio import ConnectRefused, TransportRefused
from parley_gateway.store_client import Store
from parley_shared import api, ids
from parley_shared.errors import INTERNAL, INVALID_USERNAME, LAPSED, UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup

if TYPE_CHECKING:
    from parley_gateway.sio import ClientSocket

logger = logging.getLogger(__name__)

_SECRET: Final = re.compile(r"[A-Za-z0-9_\-]{1,128}")

BATCH: Final = 64
WAITING: Final = 20_000
PACE_SECONDS: Final = 0.02
"""Batches begin so far apart: a batch costs as much as several of its items. A lone connect does not wait."""
FAULTS: Final = 4
"""So often a request is repeated on which the store itself fails: more would fail the same way."""

ATTEMPTS: Final = 6
"""So often a batch is repeated as a whole that is not answered; the answer may be too large to be taken."""

T = TypeVar("T")
Item = TypeVar("Item")
AnyResult = TypeVar("AnyResult", bound=Any)

_ABANDONED: Final = api.Failure(code=UNAVAILABLE.name, message="abandoned", retryable=True)
_FAILED: Final = api.Failure(code=INTERNAL.name, message=INTERNAL.message, retryable=True)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a client claimed at connect, beside who it is.

    Attributes:
        session: A sessionID to resume.
        pid: The recovery id of a lost socket, with ``position``.
        position: What that socket had seen.
        recovery: False when the client wants no pid and no offsets.
    """

    session: str | None
    pid: str | None
    position: api.Position | None
    recovery: bool


def claims(auth: dict[str, Any]) -> Claims:
    """Read the CONNECT payload; what does not have its shape counts as not given."""
    session, pid = auth.get("sessionID"), auth.get("pid")
    return Claims(
        session if isinstance(session, str) and _SECRET.fullmatch(session) else None,
        pid if isinstance(pid, str) and _SECRET.fullmatch(pid) else None,
        offsets.decode(auth.get("offset")),
        auth.get("recovery") is not False,
    )


class Request:
    """A socket's wish on its way to the store: to open a session, or to recover one."""

    __slots__ = ("abandoned", "sent", "wish")

    def __init__(self, wish: api.Open | api.Recover) -> None:
        self.wish = wish
        self.sent = False
        self.abandoned = False


class Sessions:
    """Lets sockets in and out.

    Args:
        store: Keeps the sessions.
        login: Tells who a client is.
        hub: Holds the users.
        roster: For `users`.
        metrics: Outcomes.
        tasks: Owns the batches' tasks.
        gateway_id: Gives the gateway's current id.
        roster_limit: Entries of `users`.
        users_bytes: Size of `users`.
        on_lapsed: Called with the gateway's id when the store says that its lease is gone.
    """

    def __init__(
        self,
        *,
        store: Store,
        login: Login,
        hub: Hub,
        roster: Roster,
        metrics: Metrics,
        tasks: TaskGroup,
        gateway_id: Callable[[], str],
        roster_limit: int,
        users_bytes: int,
        on_lapsed: Callable[[str], None],
    ) -> None:
        self._store = store
        self._login = login
        self._hub = hub
        self._roster = roster
        self._metrics = metrics
        self._gateway_id = gateway_id
        self._roster_limit = roster_limit
        self._users_bytes = users_bytes
        self._on_lapsed = on_lapsed
        self._versions = itertools.count(1)
        self._opens: Batcher[Request, api.OpenResult] = Batcher(
            "open",
            self._send_opens,
            limit=BATCH,
            waiting_limit=WAITING,
            tasks=tasks,
            pace_seconds=PACE_SECONDS,
        )
        self._recovers: Batcher[Request, api.RecoverResult] = Batcher(
            "recover",
            self._send_recovers,
            limit=BATCH,
            waiting_limit=WAITING,
            tasks=tasks,
            pace_seconds=PACE_SECONDS,
        )
        self._departures: Batcher[api.Detach | api.LostSocket, None] = Batcher(
            "presence", self._send_departures, limit=500, waiting_limit=1_000_000, tasks=tasks
        )

    # --- in -----------------------------------------------------------------------------------

    async def connect(self, socket: ClientSocket, auth: object) -> dict[str, object] | None:
        """Let a socket in; its `Handler.on_connect`.

        Raises:
            ConnectRefused: ``invalid username``.
            TransportRefused: Not now; the client tries again.
        """
        given: dict[str, Any] = auth if isinstance(auth, dict) else {}
        asked = claims(given)
        try:
            who = await self._login.identify(given)
            if asked.session is None and who.username is None:
                raise ConnectRefused(INVALID_USERNAME.message)
        except ConnectRefused:
            self._metrics.connects.labels("refused").inc()
            raise
        self._hub.opening()
        try:
            if asked.recovery and asked.pid is not None:
                reply = await self._recover(socket, asked.pid, asked, who.subject)
                if reply is not None:
                    return reply
            return await self._open(socket, asked, who)
        except ParleyError as error:
            self._metrics.connects.labels("unavailable").inc()
            raise TransportRefused(error.code.name) from error
        finally:
            self._hub.opened()

    async def _open(self, socket: ClientSocket, asked: Claims, who: Identity) -> dict[str, object] | None:
        wish = api.Open(
            version=next(self._versions),
            session=asked.session,
            username=who.username,
            subject=who.subject,
            recovery=asked.recovery,
            new_session=ids.secret_id(),
            new_user=ids.user_id(),
            new_pid=ids.secret_id(),
            socket=socket.sid,
        )
        result = await self._answer(self._opens, Request(wish))
        if result.failure is not None:
            if result.failure.code == INVALID_USERNAME.name:
                self._metrics.connects.labels("refused").inc()
                raise ConnectRefused(INVALID_USERNAME.message)
            raise ParleyError(UNAVAILABLE, result.failure.code)
        opened = result.opened
        if opened is None:
            raise ParleyError(UNAVAILABLE, "an answer without a session")
        state = self._hub.join(
            socket, opened, opened.pid, wish.version, [item.user for item in opened.contacts]
        )
        state.contacts = opened.contacts
        self._metrics.connects.labels("opened" if opened.new else "resumed").inc()
        return None if opened.pid is None else {"pid": opened.pid}

    async def _recover(
        self, socket: ClientSocket, pid: str, asked: Claims, subject: str | None
    ) -> dict[str, object] | None:
        position = asked.position
        if position is None:
            self._metrics.recoveries.labels("malformed").inc()
            return None
        wish = api.Recover(
            version=next(self._versions),
            pid=pid,
            session=asked.session,
            position=position,
            socket=socket.sid,
            subject=subject,
        )
        result = await self._answer(self._recovers, Request(wish))
        if result.failure is not None:
            raise ParleyError(UNAVAILABLE, result.failure.code)
        recovered = result.recovered
        if recovered is None:
            reason = result.reason if result.reason in RECOVERY_RESULTS else "failed"
            self._metrics.recoveries.labels(reason).inc()
            return None
        state = self._hub.join(socket, recovered, pid, wish.version, recovered.contacts)
        state.missed = recovered
        state.position = position
        # A contact may be one whom the user has only written to, of whom the client knows nothing.
        self._hub.users[recovered.user].untold.update(recovered.contacts)
        self._metrics.recoveries.labels("recovered").inc()
        self._metrics.connects.labels("recovered").inc()
        return {"pid": pid}

    async def _answer(self, batcher: Batcher[Request, Any], request: Request) -> Any:
        """Wait for a request's result; when the wait is cut short, its result is undone."""
        future = batcher.submit(request)
        try:
            result = await asyncio.shield(future)
        except asyncio.CancelledError:
            request.abandoned = True
            if request.sent:
                future.add_done_callback(lambda done: self._undo(request, done))
            raise
        self._take_back(request, result)
        return result

    def _undo(self, request: Request, done: asyncio.Future[Any]) -> None:
        if done.cancelled() or done.exception() is not None:
            return
        result = done.result()
        self._take_back(request, result)
        opened = result.opened if isinstance(result, api.OpenResult) else result.recovered
        if opened is None:
            return
        self._gone(opened.user, request.wish.version)
        pid = opened.pid if isinstance(opened, api.Opened) else getattr(request.wish, "pid", None)
        if pid:
            self._depart(api.LostSocket(pid=pid, socket=request.wish.socket))

    def _take_back(self, request: Request, result: api.OpenResult | api.RecoverResult) -> None:
        """Give up a registration from which no session came, unless other sockets of the user need it."""
        if result.registered is not None:
            self._gone(result.registered, request.wish.version)

    async def _send_opens(self, batch: list[Request]) -> list[api.OpenResult]:
        async def ask(live: list[Request]) -> list[api.OpenResult]:
            opens = [request.wish for request in live if isinstance(request.wish, api.Open)]
            gateway = self._gateway_id()
            answer = await self._store.open(api.OpenRequest(gateway=gateway, opens=opens))
            self._notice_lapse(gateway, answer.results)
            return answer.results

        return await self._send(
            batch, ask, api.OpenResult(failure=_FAILED), api.OpenResult(failure=_ABANDONED)
        )

    async def _send_recovers(self, batch: list[Request]) -> list[api.RecoverResult]:
        async def ask(live: list[Request]) -> list[api.RecoverResult]:
            recovers = [request.wish for request in live if isinstance(request.wish, api.Recover)]
            gateway = self._gateway_id()
            answer = await self._store.recover(api.RecoverRequest(gateway=gateway, recovers=recovers))
            self._notice_lapse(gateway, answer.results)
            return answer.results

        # What cannot be recovered because of a fault starts afresh, or it would try the same for ever.
        failed = api.RecoverResult(reason="failed")
        return await self._send(batch, ask, failed, api.RecoverResult(failure=_ABANDONED))

    async def _send(
        self,
        batch: list[Request],
        ask: Callable[[list[Request]], Awaitable[list[AnyResult]]],
        failed: AnyResult,
        abandoned: AnyResult,
    ) -> list[AnyResult]:
        """Carry out a batch but for what nobody waits for any more; one result per item."""
        live = _mark_sent(batch)
        answers = iter(await self._each(live, ask, failed) if live else [])
        return [next(answers) if request.sent else abandoned for request in batch]

    def _notice_lapse(self, gateway: str, results: list[Any]) -> None:
        if any(result.failure is not None and result.failure.code == LAPSED.name for result in results):
            self._on_lapsed(gateway)

    async def _each(
        self,
        items: list[Item],
        ask: Callable[[list[Item]], Awaitable[list[AnyResult]]],
        failed: AnyResult,
    ) -> list[AnyResult]:
        """Ask until there is an answer; an item on which the store fails does not take the others with it."""
        try:
            return await self._until_answered(lambda: ask(items), ATTEMPTS if len(items) > 1 else None)
        except ParleyError as error:
            if not error.code.retryable:
                raise
            if error.code is not INTERNAL:
                half = len(items) // 2
                return [
                    result
                    for part in (items[:half], items[half:])
                    for result in await self._each(part, ask, failed)
                ]
            logger.error("the store fails on a batch", extra={"size": len(items), "detail": error.message})  # noqa: TRY400
        if len(items) == 1:
            return [failed]
        return [result for item in items for result in await self._each([item], ask, failed)]

    async def _until_answered(self, call: Callable[[], Awaitable[T]], attempts: int | None = None) -> T:
        """Repeat a call until it is answered.

        Raises:
            ParleyError: The store will not have it, or fails on it again and again, or the attempts are over.
        """
        pause, faults, attempt = 0.1, 0, 0
        while True:
            attempt += 1
            try:
                return await call()
            except ParleyError as error:
                if not error.code.retryable:
                    logger.error("the store refused a batch of sessions", extra={"code": error.code.name})  # noqa: TRY400
                    raise
                faults += error.code is INTERNAL
                if faults == FAULTS or attempt == attempts:
                    raise
            await asyncio.sleep(pause)
            pause = min(pause * 2, 2.0)

    # --- greeting -----------------------------------------------------------------------------

    def greet(self, socket: ClientSocket) -> None:
        """Write what a new socket is told first; its `Handler.on_connected`."""
        greet(socket, self._hub, self._roster, self._roster_limit, self._users_bytes)
        state: SocketState = socket.data
        if state.ended:
            self._hub.end(socket, state.ended)

    # --- out ----------------------------------------------------------------------------------

    def disconnect(self, socket: ClientSocket) -> None:
        """Let a socket go; its `Handler.on_disconnect`."""
        state: SocketState = socket.data
        user = self._hub.leave(socket)
        if state.pid is not None:
            # Named, as the client may be back here already, and its new socket have taken over the pid.
            self._depart(api.LostSocket(pid=state.pid, socket=socket.sid))
        if user is not None:
            self._gone(user.user, user.version)

    def _gone(self, user_id: str, version: int) -> None:
        """Report that the user is not here as of ``version``, unless another socket is."""
        user = self._hub.users.get(user_id)
        if user is not None:
            user.version = max(user.version, version)
            return
        self._depart(api.Detach(user=user_id, version=version))

    def _depart(self, item: api.Detach | api.LostSocket) -> None:
        self._departures.submit(item)

    async def _send_departures(self, batch: list[api.Detach | api.LostSocket]) -> list[None]:
        async def ask(items: list[api.Detach | api.LostSocket]) -> list[Any]:
            request = api.PresenceRequest(
                gateway=self._gateway_id(),
                detaches=[item for item in items if isinstance(item, api.Detach)],
                lost=[item for item in items if isinstance(item, api.LostSocket)],
            )
            await self._store.presence(request)
            return [None] * len(items)

        try:
            await self._until_answered(lambda: ask(batch), ATTEMPTS)
        except ParleyError as error:
            if error.code is INTERNAL and len(batch) > 1:
                # It fails on one of them, which must not take the others with it.
                for item in batch:
                    await self._send_departures([item])
            elif error.code is not INTERNAL and error.code.retryable:
                # The store has done what it could. Who leaves from now on does not wait for the rest.
                for item in batch:
                    self._depart(item)
            else:
                # Lapsed: the reaper does the same for all users of this gateway.
                logger.info("departures were not taken", extra={"code": error.code.name, "size": len(batch)})
        return [None] * len(batch)

    async def touch_all(self) -> None:
        """Renew the sessions and recovery ids of all local sockets."""
        states = [socket.data for user in self._hub.users.values() for socket in user.sockets]
        for start in range(0, len(states), 500):
            chunk = states[start : start + 500]
            request = api.PresenceRequest(
                gateway=self._gateway_id(),
                touches=list(dict.fromkeys(state.session for state in chunk)),
                pids=[state.pid for state in chunk if state.pid is not None],
            )
            await self._store.presence(request)

    async def reattach_all(self) -> None:
        """Register all local users again, after Redis came back as another incarnation.

        A user whose numbers were lost is reset: its sockets connect afresh.
        """
        users = list(self._hub.users.values())
        for start in range(0, len(users), 200):
            chunk = users[start : start + 200]
            wishes = [
                api.Attach(user=user.user, version=next(self._versions), epoch=user.epoch, counter=user.told)
                for user in chunk
            ]
            request = api.AttachRequest(gateway=self._gateway_id(), users=wishes)
            response = await self._until_answered(functools.partial(self._store.attach, request))
            for user, wish, result in zip(chunk, wishes, response.results, strict=True):
                if self._hub.users.get(user.user) is not user:
                    self._gone(user.user, wish.version)
                    continue
                user.version = max(user.version, wish.version)
                self._hub.attached(user, result)

    async def settled(self) -> None:
        """Wait until all departures were reported."""
        await self._departures.idle()


def _mark_sent(batch: list[Request]) -> list[Request]:
    """Leave out what nobody waits for any more; the rest counts as sent from now on."""
    live = [request for request in batch if not request.abandoned]
    for request in live:
        request.sent = True
    return live
