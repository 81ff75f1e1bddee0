"""Keeps the processes of a plan running: starts them in order, restarts what dies, stops them in order."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from typing import Final, NoReturn

import aiohttp

from parley_local.child import Child, ending
from parley_local.lines import reason, redis_line, service_line
from parley_local.plan import Plan, Program
from parley_shared.runtime import StartError, Stop
from parley_shared.tasks import TaskGroup

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 15.0
STEADY_SECONDS: Final = 30.0
"""A process that ran this long starts again with the first pause."""

_POLL_SECONDS: Final = 0.1


class Supervisor:
    """Owns the processes of a plan.

    Args:
        plan: What is to run.
        say: Writes a line for the person at the terminal.
        everything: Show all of Redis's output, not its warnings only.
        start_seconds: How long a process may take from its start to ready.
    """

    def __init__(
        self, plan: Plan, say: Callable[[str], None], *, everything: bool = False, start_seconds: float = 60.0
    ) -> None:
        self._plan = plan
        self._say = say
        self._everything = everything
        self._start_seconds = start_seconds
        self._children: dict[str, Child] = {}
        self._readers: dict[str, asyncio.Task[None]] = {}
        self._tasks = TaskGroup("supervisor")
        self._http: aiohttp.ClientSession | None = None
        # What was written before all was ready: shown then, or when what wrote it fails.
        self._held: list[tuple[str, str]] | None = []
        self._steady = False

    async def start(self) -> None:
        """Start Redis, then the store and the gateways, and wait until all are ready.

        Raises:
            StartError: One of them cannot start; the text is its own reason.
        """
        self._http = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=2))
        await self._launch(self._plan.redis)
        await self._until_ready(self._plan.redis)
        services = (self._plan.store, *self._plan.gateways)
        for program in services:
            await self._launch(program)
        for program in services:
            await self._until_ready(program)
        held, self._held = self._held or [], None
        for _, line in held:
            self._say(line)
        self._steady = True
        for program in self._plan.programs:
            self._tasks.start(self._keep(program), program.name)

    async def stop(self, now: asyncio.Event) -> None:
        """Stop the gateways, then the store, then Redis; everything at once when ``now`` is set."""
        self._steady = False
        await self._tasks.close()
        order = asyncio.ensure_future(self._stop_in_order())
        hurry = asyncio.ensure_future(now.wait())
        await asyncio.wait({order, hurry}, return_when=asyncio.FIRST_COMPLETED)
        if not order.done():
            self._say("stopping at once")
            for child in self._children.values():
                child.kill()
        await order
        hurry.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await hurry
        for reader in self._readers.values():
            await reader
        if self._http is not None:
            await self._http.close()

    async def _stop_in_order(self) -> None:
        for group in (self._plan.gateways, (self._plan.store,), (self._plan.redis,)):
            running = [
                (self._children[program.name], program) for program in group if program.name in self._children
            ]
            await asyncio.gather(*(child.stop(program.patience_seconds) for child, program in running))

    async def _launch(self, program: Program) -> Child:
        try:
            child = await Child.start(
                program.name, program.command, program.environ, orphan_signal=program.orphan_signal
            )
        except OSError as error:
            raise StartError(
                f"{program.name} did not start: {error.strerror}: {program.command[0]}"
            ) from error
        self._children[program.name] = child
        self._readers[program.name] = asyncio.create_task(
            child.read(lambda line: self._show(program, line)), name=f"supervisor.read.{program.name}"
        )
        return child

    def _show(self, program: Program, line: str) -> None:
        if program is not self._plan.redis:
            shown: str | None = service_line(program.name, line)
        elif self._steady or self._everything:
            shown = redis_line(program.name, line, everything=self._everything)
        else:
            return  # what Redis says of each start and stop is for those who ask for everything
        if shown is None:
            return
        if self._held is None:
            self._say(shown)
        else:
            self._held.append((program.name, shown))

    async def _until_ready(self, program: Program) -> None:
        child = self._children[program.name]
        deadline = time.monotonic() + self._start_seconds
        missing = ""
        while time.monotonic() < deadline:
            if not child.alive:
                await self._readers[program.name]
                await self._fail(child)
            missing = await (self._ask(program) if program.internal_port else _ask_redis(program))
            if not missing:
                return
            await asyncio.sleep(_POLL_SECONDS)
        raise StartError(f"{program.name} is not ready after {self._start_seconds:g} s: {missing}")

    async def _fail(self, child: Child) -> NoReturn:
        """Report a child that ended while it started: all it wrote if that is more than its reason."""
        written = [line for name, line in self._held or [] if name == child.name]
        if len(written) > 1:
            for line in written:
                self._say(line)
        why = reason(list(child.lines))
        raise StartError(f"{child.name} did not start ({ending(await child.wait())}): {why}")

    async def _ask(self, program: Program) -> str:
        """Ask ``/readyz``; returns what is missing, empty when nothing is."""
        assert self._http is not None  # noqa: S101 -- start() made it
        try:
            async with self._http.get(f"http://127.0.0.1:{program.internal_port}/readyz") as answer:
                return "" if answer.status == 200 else await answer.text()
        except (aiohttp.ClientError, TimeoutError):
            return "it does not answer on its internal port"

    async def _keep(self, program: Program) -> None:
        """Start a program again whenever it ends, with a growing pause between."""
        pause = FIRST_PAUSE_SECONDS
        while True:
            started = time.monotonic()
            status = await self._children[program.name].wait()
            if time.monotonic() - started >= STEADY_SECONDS:
                pause = FIRST_PAUSE_SECONDS
            self._say(f"{program.name} {ending(status)}; starting it again in {pause:g} s")
            await asyncio.sleep(pause)
            pause = min(pause * 2, LONGEST_PAUSE_SECONDS)
            await self._readers[program.name]
            try:
                await self._launch(program)
            except StartError as error:
                self._say(str(error))


async def _ask_redis(program: Program) -> str:
    """Ask for a PONG; returns what is missing, empty when nothing is."""
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", program.port)
    except OSError:
        return "it does not accept connections"
    try:
        writer.write(b"PING\r\n")
        answer = await asyncio.wait_for(reader.readline(), 2)
    except (OSError, TimeoutError):
        return "it does not answer"
    finally:
        writer.close()
    # While it reads its file it answers -LOADING.
    return "" if answer.startswith(b"+PONG") else answer.decode(errors="replace").strip()


async def supervise(supervisor: Supervisor, stop: Stop, ready: Callable[[], None]) -> None:
    """Start everything, call ``ready``, wait for the request to stop, and stop everything.

    Raises:
        StartError: A process cannot start; the others have been stopped.
    """
    starting = asyncio.ensure_future(supervisor.start())
    requested = asyncio.ensure_future(stop.requested.wait())
    try:
        await asyncio.wait({starting, requested}, return_when=asyncio.FIRST_COMPLETED)
        if starting.done():
            starting.result()
            ready()
            await requested
    finally:
        for task in (starting, requested):
            task.cancel()
        await asyncio.gather(starting, requested, return_exceptions=True)
        await supervisor.stop(stop.now)
