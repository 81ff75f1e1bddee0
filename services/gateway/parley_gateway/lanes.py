"""Lanes: the ordered way of messages to the store.

A user is always in the same lane, and a lane has one batch in flight: two messages of one socket are stored
in the order they were sent. A batch carries a deadline by Redis's clock, after which the store's script
refuses it; a lane repeats a batch without an answer until then, and goes on only after an answer or the
deadline. So a repeat is never overtaken by its own late original.

An answer brings deliveries for this gateway, also of messages that other gateways have sent, for the store
joins batches. With an answer that is lost they are lost, whomever they were for: then all local users are
looked up.
"""

from __future__ import annotations

import asyncio
import logging
import time
import zlib
from collections import deque
from collections.abc import Callable, Collection, Sequence
from itertools import chain

from parley_gateway.clock import RedisClock
from parley_gateway.metrics import Metrics
from parley_gateway.store_client import Store
from parley_shared import api
from parley_shared.errors import INTERNAL, LATE, UNAVAILABLE, Code, ParleyError
from parley_shared.tasks import TaskGroup

logger = logging.getLogger(__name__)

PACE_SECONDS = 0.005
"""Least time between the beginnings of two batches of a lane.

Below some thousands of messages a second it is the batch that costs, not the message. The store's answers ask
for longer pauses when batches are small: it knows when it begins with the next group.
"""
RETRY_SECONDS = 0.1
"""Pause before a batch without an answer is sent again."""
LOOK_UP_SECONDS = 5.0
"""Local users are all looked up at most so often, however many attempts stay without an answer."""
MARGIN_MS = 500
"""The lane waits this much longer than the deadline: the error of the estimated clock, and then some."""


class Outgoing:
    """A message on its way to the store.

    Attributes:
        send: What is stored.
        finish: Called once with the result, or with the code of why there is none.
        started: When the message was received, by `time.monotonic`.
    """

    __slots__ = ("finish", "send", "started")

    def __init__(self, send: api.Send, finish: Callable[[api.Appended | Code], None]) -> None:
        self.send = send
        self.finish = finish
        self.started = time.monotonic()


class Lane:
    """One lane: a queue, and at most one batch in flight."""

    def __init__(self, lanes: Lanes, name: str) -> None:
        self._lanes = lanes
        self._name = name
        self._waiting: deque[Outgoing] = deque()
        self._running = False
        self._next = 0.0  # when a batch may begin, by time.monotonic
        self.submitted = 0
        self.finished = 0

    def submit(self, message: Outgoing) -> bool:
        """Add a message; False when the lane is full."""
        if len(self._waiting) >= self._lanes.limit:
            return False
        self._waiting.append(message)
        self.submitted += 1
        if not self._running:
            self._running = True
            self._lanes.tasks.start(self._run(), self._name)
        return True

    async def _run(self) -> None:
        try:
            while self._waiting:
                # At least one turn of the loop: everything that was read in this one joins the batch.
                await asyncio.sleep(max(0.0, self._next - time.monotonic()))
                self._next = time.monotonic() + PACE_SECONDS
                count = min(self._lanes.batch_limit, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                try:
                    await self._store(batch)
                except Exception:
                    # A lane that ended here would leave its senders without an answer for ever.
                    logger.exception("a batch failed", extra={"size": len(batch)})
                    _finish_all(batch, INTERNAL)
                    self._lanes.doubt_all()
                self.finished += count
                self._lanes.settled.set()
        finally:
            self._running = False

    async def _store(self, batch: list[Outgoing]) -> None:
        lanes = self._lanes
        lanes.metrics.batch_size.observe(len(batch))
        deadline = lanes.clock.now_ms() + int(lanes.deadline_seconds * 1000)
        request = api.AppendRequest(
            gateway=lanes.gateway_id(),
            deadline=deadline,
            messages=[message.send for message in batch],
            inline=[lanes.gateway_id()],
        )
        unanswered = False
        while True:
            left_seconds = (deadline - lanes.clock.now_ms()) / 1000
            margin_seconds = (MARGIN_MS + min(lanes.clock.error_ms, 1000)) / 1000
            if left_seconds <= 0:
                _finish_all(batch, UNAVAILABLE)
                # The store's script may still run until its deadline; what follows must not overtake it.
                await asyncio.sleep(margin_seconds)
                lanes.doubt_all()
                return
            try:
                response = await lanes.store.append(request, left_seconds)
            except ParleyError as error:
                if not error.code.retryable:
                    logger.exception("the store refused a batch", extra={"size": len(batch)})
                    if len(batch) > 1:
                        # One message that the store will not have must not take the others with it.
                        for message in batch:
                            await self._store([message])
                    else:
                        _finish_all(batch, INTERNAL)
                    return
                if error.code is LATE:
                    # Every script of the batch compares its deadline, so nothing more will happen.
                    _finish_all(batch, UNAVAILABLE)
                    if unanswered:
                        lanes.doubt_all()
                    else:
                        self._doubt(batch)
                    return
                unanswered = True
                await asyncio.sleep(RETRY_SECONDS)
                continue
            if unanswered:
                # An attempt before this one may still be under way, in a store that is slow.
                lanes.doubt_all(time.monotonic() + left_seconds + margin_seconds)
            if len(response.results) != len(batch):
                logger.error("the store answered another number of results", extra={"size": len(batch)})
                _finish_all(batch, UNAVAILABLE)
                lanes.doubt_all()
                return
            self._next = max(self._next, time.monotonic() + response.pause / 1000)
            for item in chain.from_iterable(response.items.values()):
                if isinstance(item, (api.Delivery, api.Nudge)):  # what a message makes
                    lanes.on_item(item)
            failed = []
            for message, result in zip(batch, response.results, strict=True):
                message.finish(result)
                if result.failure is not None and result.failure.retryable:
                    failed.append(message)
            if failed:
                # A server of the cluster that hangs may still carry out what it was asked.
                self._doubt(failed)
            return

    def _doubt(self, batch: Sequence[Outgoing]) -> None:
        """Have it looked up what may have been stored: its deliveries would have come with the answer."""
        self._lanes.on_doubt({user for message in batch for user in (message.send.from_, message.send.to)})


def _finish_all(batch: Sequence[Outgoing], code: Code) -> None:
    for message in batch:
        message.finish(code)


class Lanes:
    """All lanes of a gateway.

    Args:
        store: Where batches go.
        clock: Redis's clock.
        gateway_id: Gives the current id of the gateway.
        metrics: Batch sizes.
        tasks: Owns the lanes' tasks.
        count: Number of lanes.
        limit: Messages that may wait in one lane.
        batch_limit: Messages in one batch.
        deadline_seconds: How long a batch may take.
        on_item: Called with each delivery for this gateway that comes with an answer.
        on_doubt: Called with users to whom something may have been stored that was not delivered; with None
            when that may be any.
    """

    def __init__(
        self,
        *,
        store: Store,
        clock: RedisClock,
        gateway_id: Callable[[], str],
        metrics: Metrics,
        tasks: TaskGroup,
        count: int,
        limit: int,
        batch_limit: int,
        deadline_seconds: float,
        on_item: Callable[[api.Delivery | api.Nudge], None],
        on_doubt: Callable[[Collection[str] | None], None],
    ) -> None:
        self.store = store
        self.clock = clock
        self.gateway_id = gateway_id
        self.metrics = metrics
        self.tasks = tasks
        self.limit = limit
        self.batch_limit = batch_limit
        self.deadline_seconds = deadline_seconds
        self.on_item = on_item
        self.on_doubt = on_doubt
        self.settled = asyncio.Event()
        self._looked_up = float("-inf")  # when all were looked up last, by time.monotonic
        self._look_up_at = float("-inf")  # the latest time at which they must be
        self._looking_up = False
        self._lanes = [Lane(self, f"lane-{number}") for number in range(count)]

    def submit(self, message: Outgoing) -> bool:
        """Put a message into its sender's lane; False when that lane is full."""
        # crc32 rather than hash(): the same user is in the same lane in every process and run.
        return self._lanes[zlib.crc32(message.send.from_.encode()) % len(self._lanes)].submit(message)

    def doubt_all(self, again_at: float | None = None) -> None:
        """Have all local users looked up: now, unless that was done just before, and again at a time.

        Args:
            again_at: By `time.monotonic`: what may still be stored is stored until then.
        """
        now = time.monotonic()
        self._look_up_at = max(self._look_up_at, now, again_at or now)
        if self._looking_up:
            return
        if now - self._looked_up >= LOOK_UP_SECONDS:
            self._looked_up = now
            self.on_doubt(None)
        if self._looked_up < self._look_up_at:
            self._looking_up = True
            self.tasks.start(self._look_up_again(), "look up")

    async def _look_up_again(self) -> None:
        try:
            while self._looked_up < self._look_up_at:
                at = max(self._look_up_at, self._looked_up + LOOK_UP_SECONDS)
                await asyncio.sleep(max(0.0, at - time.monotonic()))
                self._looked_up = max(time.monotonic(), at)
                self.on_doubt(None)
        finally:
            self._looking_up = False

    async def flushed(self) -> None:
        """Wait until every message that was submitted before this call has its result."""
        submitted = [(lane, lane.submitted) for lane in self._lanes]
        while any(lane.finished < number for lane, number in submitted):
            self.settled.clear()
            await self.settled.wait()
