"""One connection to a Redis server, shared: what arrives during an exchange travels in the next.

redis-py's pool lends a connection to one caller for a whole round trip, with locks and bookkeeping that
cost more than the commands. Here callers queue; each exchange writes everything that waits in one piece and
reads as many answers. redis-py still does what it is good at: connecting, signing in, TLS, asking Sentinel,
parsing.
"""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection
from redis.exceptions import RedisError, ResponseError

from parley_shared.errors import BUSY, UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup

Command = tuple[Any, ...]
"""A command and its arguments: str, bytes or int each."""

_EXCHANGE_COMMANDS: Final = 512
"""Commands in one exchange: Redis answers the first while it still reads, and others get their turn."""
_WAITING_LIMIT: Final = 20_000
"""Commands that may wait for one connection; beyond it Redis is far too slow and callers must know."""


class _Request(NamedTuple):
    """Packed commands of one caller, and where the answers go."""

    packed: list[bytes]
    future: asyncio.Future[list[Any]]


class Channel:
    """Sends commands over one connection, in order, one exchange at a time.

    A connection that turns out to be closed is made anew and the exchange sent again, once: every command
    here may be repeated. One that times out is not, because Redis may be about to carry it out.

    Args:
        make: Makes an unconnected connection.
        timeout_seconds: For one exchange, connecting included.
        tasks: Owns the task that runs the exchanges.
    """

    def __init__(
        self, make: Callable[[], AbstractConnection], timeout_seconds: float, tasks: TaskGroup
    ) -> None:
        self._make = make
        self._timeout_seconds = timeout_seconds
        self._tasks = tasks
        self._connection: AbstractConnection | None = None
        self._waiting: deque[_Request] = deque()
        self._queued = 0
        self._running = False
        self._gathering = False

    @property
    def load(self) -> int:
        """Commands that wait or are under way."""
        return self._queued

    @property
    def gathering(self) -> bool:
        """Whether an exchange is about to begin: what is submitted now travels with it."""
        return self._gathering and self._queued < _EXCHANGE_COMMANDS

    def submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        """Queue commands; the future gets one answer each, an error of Redis among them as an exception.

        Raises:
            ParleyError: ``busy`` when too much waits. The future raises ``unavailable`` when there is no
                answer.
        """
        if self._queued > _WAITING_LIMIT:
            raise ParleyError(BUSY)
        future: asyncio.Future[list[Any]] = asyncio.get_running_loop().create_future()
        # Packed here, so that a value that cannot be is the fault of this caller alone.
        packed = [pack_command(command) for command in commands]
        self._waiting.append(_Request(packed, future))
        self._queued += len(packed)
        if not self._running:
            self._running = self._gathering = True
            self._tasks.start(self._run(), "channel")
        return future

    async def close(self) -> None:
        """Close the connection; what waits fails."""
        self._fail(list(self._waiting), ParleyError(UNAVAILABLE, "the store is closing"))
        self._waiting.clear()
        await self._disconnect()

    async def _run(self) -> None:
        self._gathering = False
        try:
            while self._waiting:
                batch: list[_Request] = []
                packed: list[bytes] = []
                while self._waiting and len(packed) < _EXCHANGE_COMMANDS:
                    batch.append(self._waiting.popleft())
                    packed.extend(batch[-1].packed)
                try:
                    answers = await self._exchange(packed)
                except (RedisError, OSError, TimeoutError) as error:
                    reason = f"Redis does not answer ({type(error).__name__})"
                    self._fail(batch, ParleyError(UNAVAILABLE, reason))
                except BaseException:
                    self._fail(batch, ParleyError(UNAVAILABLE, "the store is closing"))
                    raise
                else:
                    self._resolve(batch, answers)
                self._queued -= len(packed)
        finally:
            self._running = False

    async def _exchange(self, packed: list[bytes]) -> list[Any]:
        async with asyncio.timeout(self._timeout_seconds):
            reused = self._connection is not None
            try:
                return await self._round_trip(packed)
            except TimeoutError:
                raise
            except (RedisError, OSError):
                if not reused:
                    raise
                return await self._round_trip(packed)

    async def _round_trip(self, packed: list[bytes]) -> list[Any]:
        try:
            connection = self._connection or await self._connect()
            await connection.send_packed_command(packed, check_health=False)
            answers: list[Any] = []
            for _ in packed:
                try:
                    answers.append(await connection.read_response(timeout=math.inf))
                except ResponseError as error:
                    answers.append(error)
        except BaseException:
            # Answers of this exchange may still come: the connection is of no use to the next.
            await self._disconnect()
            raise
        return answers

    async def _connect(self) -> AbstractConnection:
        connection = self._make()
        await connection.connect()  # type: ignore[no-untyped-call]
        # The exchange has a timeout of its own; one for each answer would make a task of it.
        connection.socket_timeout = None
        self._connection = connection
        return connection

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.disconnect(nowait=True)

    @staticmethod
    def _resolve(batch: list[_Request], answers: list[Any]) -> None:
        position = 0
        for request in batch:
            end = position + len(request.packed)
            if not request.future.done():
                request.future.set_result(answers[position:end])
            position = end

    @staticmethod
    def _fail(batch: list[_Request], error: ParleyError) -> None:
        for request in batch:
            if not request.future.done():
                request.future.set_exception(error)
                request.future.exception()  # seen: a waiter that has left must not make the loop complain
