"""One Redis server that takes writes: its connections, its scripts, and which life it is in."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import math
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ReadOnlyError, RedisError, ResponseError

from parley_shared.errors import UNAVAILABLE, ParleyError
from parley_shared.tasks import TaskGroup
from parley_store.redis.channel import Channel, Command
from parley_store.redis.faults import is_unknown_script, translate
from parley_store.redis.scripts import SCRIPTS, Script

logger = logging.getLogger(__name__)

_CHANNELS: Final = 4
"""Connections for commands: enough that a large exchange does not hold up all others."""


class Node:
    """One server.

    Its *incarnation* is another whenever it may have lost its last writes: after a restart (its run id), and
    after having been somebody's replica (its replication id).

    Args:
        name: ``host:port`` or the service's name.
        make: Makes an unconnected connection.
        timeout_seconds: For one exchange.
        tasks: Owns the connections' tasks.
        alone: It is the only server.

    Attributes:
        memory_bytes: What its data took at the last look.
        memory_limit_bytes: Its maxmemory; 0 without one.
    """

    def __init__(
        self,
        name: str,
        make: Callable[[], AbstractConnection],
        timeout_seconds: float,
        tasks: TaskGroup,
        *,
        alone: bool,
    ) -> None:
        self.name = name
        self._alone = alone
        self.incarnation = ""
        self._last_life = ""
        self._away = False
        self.memory_bytes = 0
        self.memory_limit_bytes = 0
        self._make = make
        self._timeout_seconds = timeout_seconds
        self._channels = [Channel(make, timeout_seconds, tasks) for _ in range(_CHANNELS)]
        self._hashes: dict[str, str] = {}
        self._tasks = tasks
        self._refreshing: asyncio.Task[ParleyError | None] | None = None
        self._waiting = Channel(make, timeout_seconds, tasks)

    async def exchange(self, commands: Sequence[Command]) -> list[Any]:
        """Send commands in one piece; a `Script` in the place of its hash is resolved here.

        Returns:
            One answer each; an error of Redis is an exception among them.

        Raises:
            ParleyError: ``unavailable``, ``busy``.
        """
        await self.find()
        try:
            answers = await self._submit(self._resolved(commands))
        except ParleyError as error:
            self.incarnation = ""
            self._away = error.code is UNAVAILABLE
            raise
        if any(isinstance(answer, ReadOnlyError) for answer in answers):
            # It is a replica. Should it become a master again, it is in another life.
            self.incarnation = ""
        unknown = [index for index, answer in enumerate(answers) if is_unknown_script(answer)]
        if unknown:
            # Another life, or somebody flushed the scripts: nothing of these commands was done.
            await self.refresh()
            again = await self._submit(self._resolved([commands[index] for index in unknown]))
            for index, answer in zip(unknown, again, strict=True):
                answers[index] = answer
        return answers

    async def confirm(
        self, script: Script, key: str, incarnation: str, waits: Sequence[Command]
    ) -> list[Any]:
        """Run a script only if the server is still in the life given, and then commands that wait.

        All go over one connection: WAIT and WAITAOF are about what this connection has written.

        Returns:
            The answers of the waiting commands.

        Raises:
            ParleyError: ``unavailable``, also when the life is another: what was written in it may be lost.
        """
        if incarnation != self.incarnation:
            raise ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
        run = ("EVALSHA", self._hashes[script.name], 1, key)
        _, *confirmed = answers = await self._waiting.submit([run, *waits])
        for answer in answers:
            if is_unknown_script(answer):
                raise ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
            if isinstance(answer, ResponseError):
                raise translate(answer)
        return confirmed

    async def find(self) -> None:
        """See that it is known which life the server is in.

        Nobody waits for one of several that was away just now; it is looked at meanwhile. One that hangs
        would hold up what lies on others until that is too late as well.

        Raises:
            ParleyError: ``unavailable``.
        """
        if self.incarnation:
            return
        if self._alone or not self._away:
            await self.refresh()
            return
        self._look_anew()
        raise ParleyError(UNAVAILABLE, "Redis does not answer")

    async def refresh(self) -> None:
        """Look which life the server is in, and load the scripts for it.

        Whoever asks during a look gets its result: a server that is away is not asked by everybody in turn.

        Raises:
            ParleyError: ``unavailable``: it does not answer, or is a replica.
        """
        failure = await asyncio.shield(self._look_anew())
        if failure is not None:
            raise failure

    def _look_anew(self) -> asyncio.Task[ParleyError | None]:
        if self._refreshing is None or self._refreshing.done():
            self._refreshing = self._tasks.start(self._refresh(), "refresh")
        return self._refreshing

    async def _refresh(self) -> ParleyError | None:
        failure = None
        connection = self._make()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                await connection.connect()  # type: ignore[no-untyped-call]
                await self._refresh_over(connection)
        except (RedisError, OSError, TimeoutError) as error:
            failure = ParleyError(UNAVAILABLE, f"Redis does not answer ({type(error).__name__})")
        except ParleyError as error:
            failure = error
        finally:
            await connection.disconnect(nowait=True)
        self._away = failure is not None
        return failure

    async def look(self) -> None:
        """Refresh if the server is in another life than known.

        Raises:
            ParleyError: ``unavailable``: it does not answer, or is a replica.
        """
        if not self.incarnation:
            await self.refresh()
            return
        sections = [("INFO", "server"), ("INFO", "replication"), ("INFO", "memory")]
        try:
            *life, memory = await self._channels[0].submit(sections)
            found = _incarnation(life)
        except ParleyError:
            self.incarnation = ""
            raise
        if found != self.incarnation:
            await self.refresh()
        fields = _fields([memory])
        self.memory_bytes = int(fields.get("used_memory", 0))
        self.memory_limit_bytes = int(fields.get("maxmemory", 0))

    async def close(self) -> None:
        """Close the connections."""
        for channel in (*self._channels, self._waiting):
            await channel.close()

    async def _refresh_over(self, connection: AbstractConnection) -> None:
        info = [("INFO", "server"), ("INFO", "replication")]
        before = _incarnation(await _talk(connection, info))
        loads = [("SCRIPT", "LOAD", script.text(before)) for script in SCRIPTS]
        *hashes, server, replication = await _talk(connection, [*loads, *info])
        for answer in hashes:
            if isinstance(answer, ResponseError):
                raise translate(answer)
        if _incarnation([server, replication]) != before:
            # It ended in between, and the scripts may be in a server whose name they do not carry. They are
            # of no use to anybody: this name is never used again.
            raise ParleyError(UNAVAILABLE, "Redis was started anew meanwhile")
        self._hashes = {script.name: hash_.decode() for script, hash_ in zip(SCRIPTS, hashes, strict=True)}
        # After a mere interruption it is in the same life as before.
        if self._last_life not in {"", before}:
            logger.info("Redis is in another life", extra={"node": self.name, "incarnation": before})
        self.incarnation = self._last_life = before

    def _resolved(self, commands: Sequence[Command]) -> list[Command]:
        hashes = self._hashes
        return [
            (command[0], hashes[command[1].name], *command[2:])
            if len(command) > 1 and isinstance(command[1], Script)
            else command
            for command in commands
        ]

    def _submit(self, commands: Sequence[Command]) -> asyncio.Future[list[Any]]:
        # Whatever begins in the same turn of the event loop goes out in one piece: most of what an exchange
        # costs is a system call at either end.
        for channel in self._channels:
            if channel.gathering:
                return channel.submit(commands)
        return min(self._channels, key=_load).submit(commands)


def _load(channel: Channel) -> int:
    return channel.load


async def _talk(connection: AbstractConnection, commands: Sequence[Command]) -> list[Any]:
    await connection.send_packed_command(connection.pack_commands(commands), check_health=False)
    answers: list[Any] = []
    for _ in commands:
        try:
            answers.append(await connection.read_response(timeout=math.inf))
        except ResponseError as error:
            answers.append(error)
    return answers


def _incarnation(info: Sequence[Any]) -> str:
    """Name the life that INFO's sections ``server`` and ``replication`` tell of.

    Raises:
        ParleyError: ``unavailable``: the server is a replica.
    """
    fields = _fields(info)
    if fields.get("role") != "master":
        raise ParleyError(UNAVAILABLE, "this Redis is a replica")
    life = f"{fields.get('run_id')}:{fields.get('master_replid')}"
    return hashlib.blake2b(life.encode(), digest_size=6).hexdigest()


def _fields(info: Sequence[Any]) -> dict[str, str]:
    """Read INFO's sections.

    Raises:
        ParleyError: Redis answered with an error instead.
    """
    for answer in info:
        if isinstance(answer, ResponseError):
            raise translate(answer)
    text = b"\r\n".join(info).decode()
    return dict(re.findall(r"^([a-z_0-9]+):(.*?)\r?$", text, re.MULTILINE))
