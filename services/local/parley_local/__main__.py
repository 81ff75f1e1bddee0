"""`python -m parley_local`: what `make run` starts."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from parley_local.config import LocalConfig
from parley_local.plan import Plan, make_plan, port_in_use
from parley_local.supervisor import Supervisor, supervise
from parley_shared import config, log
from parley_shared.runtime import StartError, Stop, run

_PORT_PATIENCE_SECONDS: Final = 3.0
"""Processes of a supervisor that was killed a moment ago may take this long to leave their ports."""


async def main(stop: Stop) -> None:
    """Run everything until asked to stop.

    Raises:
        ConfigError: A setting is wrong.
        StartError: A port is in use, the data folder too, or a process cannot start.
    """
    settings = config.load(LocalConfig)
    log.configure("local", settings.log_level)
    plan = make_plan(settings)
    with _only_user(plan.folder):
        await _wait_for_ports(settings)
        _say(f"starting Redis, the store and {_count(settings.gateways, 'gateway')} ...")
        supervisor = Supervisor(plan, _say, everything=settings.log_level == "debug")
        await supervise(supervisor, stop, lambda: _welcome(settings, plan))
        _say("stopped")


def _welcome(settings: LocalConfig, plan: Plan) -> None:
    first, last = plan.gateways[0].port, plan.gateways[-1].port
    each = f"port {first}" if first == last else f"ports {first} to {last}"
    page = plan.gateways[0].environ["WEB_ROOT"]
    _say(f"\nParley is running: open http://localhost:{settings.port}/ in two browser windows and sign in.")
    if not page:
        _say("  (the page is not built, so only the Socket.IO endpoint answers there; `make page` builds it)")
    _say(
        f"  Socket.IO    http://localhost:{settings.port}/socket.io/ shared by {len(plan.gateways)} of them,"
    )
    _say(f"               and {each}, one for each gateway")
    _say(f"  metrics      http://localhost:{plan.gateways[0].internal_port}/metrics (gateway-1), /readyz")
    _say(f"  data         {plan.folder}")
    _say("Ctrl-C stops it.\n")


async def _wait_for_ports(settings: LocalConfig) -> None:
    deadline = time.monotonic() + _PORT_PATIENCE_SECONDS
    while (problem := port_in_use(settings)) is not None:
        if time.monotonic() > deadline:
            raise StartError(problem)
        await asyncio.sleep(0.2)


@contextlib.contextmanager
def _only_user(folder: Path) -> Iterator[None]:
    with (folder / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StartError(f"another run uses {folder}; DATA=... chooses another folder") from error
        yield


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(run(main))
