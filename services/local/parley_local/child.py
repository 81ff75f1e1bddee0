"""A child process that ends with its parent, and whose output is read line by line."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from typing import Final

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_LINE_LIMIT: Final = 1 << 20
_KEPT_LINES: Final = 40


def _prctl() -> Callable[[int, int], int] | None:
    # Loaded before the fork: between fork and exec a child must not load libraries.
    if not sys.platform.startswith("linux"):
        return None
    function: Callable[[int, int], int] = ctypes.CDLL(None).prctl
    return function


def dies_with_parent(number: signal.Signals) -> Callable[[], None] | None:
    """Make a ``preexec_fn`` by which a child gets a signal when this process is killed; Linux only.

    None elsewhere, and in a thread: there the signal would come as soon as that thread ends (prctl(2)).
    """
    prctl = _prctl()
    parent = os.getpid()
    if prctl is None or threading.current_thread() is not threading.main_thread():
        return None

    def prepare() -> None:
        prctl(_PR_SET_PDEATHSIG, number)
        if os.getppid() != parent:
            os._exit(1)  # the parent died before the line above

    return prepare


class Child:
    """One run of a program.

    It has a session of its own, so that Ctrl-C in a terminal reaches only the parent, which ends its
    children in order. On Linux it gets a signal when the parent is killed.

    Attributes:
        name: What people call it.
        lines: The last lines it wrote.
    """

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self.name = name
        self.lines: deque[str] = deque(maxlen=_KEPT_LINES)
        self._process = process

    @classmethod
    async def start(
        cls,
        name: str,
        command: Sequence[str],
        environ: Mapping[str, str],
        *,
        orphan_signal: signal.Signals = signal.SIGKILL,
    ) -> Child:
        """Start the program with its output going through a pipe.

        Args:
            name: What people call it.
            command: The executable and its arguments.
            environ: Its whole environment.
            orphan_signal: What it gets when this process is killed.

        Raises:
            OSError: The executable cannot be run.
        """
        process = await asyncio.create_subprocess_exec(
            *command,
            env=dict(environ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
            limit=_LINE_LIMIT,
            preexec_fn=dies_with_parent(orphan_signal),
        )
        return cls(name, process)

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it has not ended yet."""
        return self._process.returncode is None

    async def read(self, show: Callable[[str], None]) -> None:
        """Hand each line of output to ``show``, and keep the last ones, until the output ends."""
        stream = self._process.stdout
        assert stream is not None  # noqa: S101 -- start() asked for the pipe
        while True:
            try:
                raw = await stream.readline()
            except ValueError:
                # A line over the limit; the reader has dropped what it held of it.
                continue
            if not raw:
                return
            line = raw.decode(errors="replace").rstrip()
            if line:
                self.lines.append(line)
                show(line)

    async def wait(self) -> int:
        """Wait for the end; returns the exit status, negative for a signal."""
        return await self._process.wait()

    def signal(self, number: signal.Signals) -> None:
        """Send a signal, unless it has ended."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(number)

    def kill(self) -> None:
        """End it at once."""
        self.signal(signal.SIGKILL)

    async def stop(self, patience_seconds: float) -> None:
        """Ask it to end with SIGTERM; kill it when it has not after ``patience_seconds``."""
        self.signal(signal.SIGTERM)
        try:
            await asyncio.wait_for(self._process.wait(), patience_seconds)
        except TimeoutError:
            self.signal(signal.SIGKILL)
            await self._process.wait()


def ending(status: int) -> str:
    """Say in words how a process ended."""
    if status >= 0:
        return f"exited with status {status}"
    try:
        return f"was ended by {signal.Signals(-status).name}"
    except ValueError:
        return f"was ended by signal {-status}"
