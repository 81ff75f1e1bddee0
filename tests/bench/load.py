"""A crowd of users and the two kinds of load they make: at a given rate, and as much as the servers take."""

from __future__ import annotations

import asyncio
import math
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.bench.client import Tally, User

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CONTENT_SIZE: Final = 100
"""Characters in a message."""

TICK_SECONDS: Final = 0.001
"""How often the open loop looks for messages that are due: the resolution of libuv's timers."""


@dataclass(frozen=True, slots=True)
class Window:
    """What the crowd saw between two moments. Times in milliseconds."""

    seconds: float
    sent: int
    delivered: int
    disordered: int
    refused: int
    receipt_p50_ms: float
    receipt_p99_ms: float
    ack_p50_ms: float
    ack_p99_ms: float
    generator_cpu: float
    """The generator's own share of one core."""
    late_ms: float
    """The longest the open loop ran behind its plan."""


class Crowd:
    """Users spread evenly over servers; everybody sends to one other, who is always on another server.

    With one server there is no other, and sender and recipient share it.
    """

    def __init__(self, addresses: Sequence[tuple[str, int]], seed: int = 1) -> None:
        self.tally = Tally()
        self.users: list[User] = []
        self._addresses = addresses
        self._random = random.Random(seed)
        self._late_ns = 0

    async def join(self, count: int, *, at_once: int = 20) -> None:
        """Sign in ``count`` more new users, ``at_once`` at a time."""
        first = len(self.users)
        newcomers = [
            User(self._address(i), {"username": f"user {i}"}, self.tally) for i in range(first, first + count)
        ]
        await _each(newcomers, at_once)
        self.users += newcomers

    async def drop(self) -> None:
        """Lose all connections."""
        await asyncio.gather(*(user.drop() for user in self.users))

    async def come_back(self, *, at_once: int = 20) -> int:
        """Reconnect everybody who was dropped, each to the next server; returns how many were recovered."""
        self.users = [user.returning(self._address(i + 1)) for i, user in enumerate(self.users)]
        await _each(self.users, at_once)
        return sum(user.recovered for user in self.users)

    def pair_up(self) -> None:
        """Give everybody a peer on another server: a ring in which neighbours sit on different servers.

        Raises:
            ValueError: The users do not spread evenly, so that two neighbours would share a server.
        """
        servers, count = len(self._addresses), len(self.users)
        if servers > 1 and count % servers == 1:
            raise ValueError(f"{count} users on {servers} servers leave a sender beside its recipient")
        for i, user in enumerate(self.users):
            peer = self.users[(i + 1) % count]
            user.peer, peer.source = peer, user

    async def at_rate(self, per_second: float, seconds: float, *, with_ack: bool = False) -> Window:
        """Send at a rate whatever happens (an open loop): random users at random moments (Poisson)."""
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()
        gap_ns = 1e9 / per_second
        due = float(time.monotonic_ns())
        until = due + seconds * 1e9

        def tick() -> None:
            nonlocal due
            now = time.monotonic_ns()
            self._late_ns = max(self._late_ns, now - int(due))
            try:
                while due <= now:
                    user = self.users[int(self._random.random() * len(self.users))]
                    user.send(CONTENT_SIZE, with_ack=with_ack)
                    due += self._random.expovariate(1) * gap_ns
            except Exception as error:  # noqa: BLE001 -- it is handed to whoever awaits the load
                finished.set_exception(error)
                return
            if due < until:
                loop.call_later(TICK_SECONDS, tick)
            else:
                finished.set_result(None)

        return await self._measured(tick, finished)

    async def as_fast_as_possible(self, in_flight: int, seconds: float, *, with_ack: bool = False) -> Window:
        """Keep ``in_flight`` messages under way (a closed loop): each receipt lets the next one go.

        The window is far more than one round trip takes, so the servers are never idle.
        """
        loop = asyncio.get_running_loop()
        finished: asyncio.Future[None] = loop.create_future()

        def send_next(recipient: User) -> None:
            if recipient.source is not None:
                recipient.source.send(CONTENT_SIZE, with_ack=with_ack)

        def start() -> None:
            if self.tally.on_receipt is None:
                self.tally.on_receipt = send_next
                for i in range(in_flight):
                    self.users[i % len(self.users)].send(CONTENT_SIZE, with_ack=with_ack)
            loop.call_later(seconds, finished.set_result, None)

        return await self._measured(start, finished)

    async def quiesce(self, timeout_seconds: float = 10) -> int:
        """Stop sending and wait until all has arrived; returns how many messages are missing."""
        self.tally.on_receipt = None
        deadline = time.monotonic() + timeout_seconds
        # To set an event at each message would be part of the load.
        while self.tally.sent > self.tally.received and time.monotonic() < deadline:  # noqa: ASYNC110
            await asyncio.sleep(0.05)
        missing = self.tally.sent - self.tally.received
        self.tally.sent = self.tally.received
        return missing

    def _address(self, index: int) -> tuple[str, int]:
        return self._addresses[index % len(self._addresses)]

    async def _measured(self, start: Callable[[], None], finished: asyncio.Future[None]) -> Window:
        tally = self.tally
        tally.receipt_ns.clear()
        tally.ack_ns.clear()
        before = (tally.received, tally.disordered, tally.refused, tally.sent)
        self._late_ns = 0
        began, cpu = time.monotonic(), time.process_time()
        start()
        await finished
        seconds = time.monotonic() - began
        return Window(
            seconds=seconds,
            sent=tally.sent - before[3],
            delivered=tally.received - before[0],
            disordered=tally.disordered - before[1],
            refused=tally.refused - before[2],
            receipt_p50_ms=percentile_ms(tally.receipt_ns, 0.50),
            receipt_p99_ms=percentile_ms(tally.receipt_ns, 0.99),
            ack_p50_ms=percentile_ms(tally.ack_ns, 0.50),
            ack_p99_ms=percentile_ms(tally.ack_ns, 0.99),
            generator_cpu=(time.process_time() - cpu) / seconds,
            late_ms=self._late_ns / 1e6,
        )


def percentile_ms(values_ns: list[int], share: float) -> float:
    """The nearest-rank percentile in milliseconds; NaN when there are no values."""
    if not values_ns:
        return math.nan
    ordered = sorted(values_ns)
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)] / 1e6


async def _each(users: Sequence[User], at_once: int) -> None:
    gate = asyncio.Semaphore(at_once)

    async def open_one(user: User) -> None:
        async with gate:
            await user.open()

    async with asyncio.TaskGroup() as group:
        for user in users:
            group.create_task(open_one(user))
