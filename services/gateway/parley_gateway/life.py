"""The gateway's life in the cluster: its id and lease, its streams, and starting over.

A gateway's id is new at each start, and whenever its lease has lapsed: everything that is registered
belongs to an id, and the store's reaper clears up after one that is gone. The steps of a life: take the
lease, load the roster, follow the streams, beat until told to stop. A gateway that finds its lease lapsed,
or that was paused for longer than a lease, closes its sockets and begins again under a new id.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import time
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from parley_gateway.bus import Bus, StreamReader, decode_change, decode_items
from parley_gateway.clock import RedisClock
from parley_gateway.hub import Hub
from parley_gateway.metrics import Metrics
from parley_gateway.roster import ONLINE, Roster
from parley_gateway.store_client import Store
from parley_shared import api, ids
from parley_shared.errors import NOT_FOUND, ParleyError
from parley_shared.tasks import TaskGroup

logger = logging.getLogger(__name__)

T = TypeVar("T")

DELIVERY_PAUSE_SECONDS: Final = 0.004
"""Under load, deliveries are read at most 250 times a second."""
ROSTER_PAUSE_SECONDS: Final = 0.05
"""Presence is read at most twenty times a second: a wave of arrivals is taken in a few gulps."""
PROBE_SECONDS: Final = 5.0
"""A probe that the store has written must be back within this time."""
RETRY_SECONDS: Final = 0.5
LOOKUP_SECONDS: Final = 0.1
"""Between two questions to the store where a gateway is."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a life needs from the rest of the gateway.

    Attributes:
        describe: Says how the gateway is, for the beat; the lease fills in the rest.
        reattach: Registers all local users again.
        touch: Renews the sessions of all local users.
        on_new_id: Told the new id before it is used.
        close_all: Closes all sockets, with a reason.
        close_socket: Closes one socket by its id, if it is here.
        announce: Tells everybody a text (and when it was given out, in ms).
        drain: Empties the gateway, or (false) takes clients again.
    """

    describe: Callable[[], api.LeaseRequest]
    reattach: Callable[[], Awaitable[None]]
    touch: Callable[[], Awaitable[None]]
    on_new_id: Callable[[str], None]
    close_all: Callable[[str], None]
    close_socket: Callable[[str], None]
    announce: Callable[[str, int], None]
    drain: Callable[[bool], None]


class Life:
    """Keeps the gateway known to the others, and its streams read.

    Args:
        store: Keeps the lease.
        bus: Where the streams are read.
        hub: Gets the deliveries.
        roster: Gets the presence.
        clock: Gets Redis's time.
        metrics: Lag, gaps, what is up.
        callbacks: The rest of the gateway.
    """

    def __init__(
        self,
        *,
        store: Store,
        bus: Bus,
        hub: Hub,
        roster: Roster,
        clock: RedisClock,
        metrics: Metrics,
        callbacks: Callbacks,
    ) -> None:
        self._store = store
        self._bus = bus
        self._hub = hub
        self._roster = roster
        self._clock = clock
        self._metrics = metrics
        self._do = callbacks
        self.gateway_id = ids.gateway_id()
        self.gateways: dict[str, api.GatewayInfo] = {}
        self.missing: dict[str, str] = {"lease": "not taken yet"}
        self.incarnation = ""
        self._heard = ""
        self.begun = False
        """Whether there is a lease to register clients under, and a roster to show them."""
        self._over = asyncio.Event()
        self._looking_up = asyncio.Lock()
        self._loading = asyncio.Lock()
        self._looked_up_at = 0.0
        self._lease_seconds = 15.0
        self._session_ttl_seconds = 86_400.0
        self._probe: tuple[str, float] | None = None
        self.bus_lag_seconds = 0.0
        self._beat_now = asyncio.Event()
        self._deliveries: StreamReader | None = None
        self._changes: StreamReader | None = None

    # --- one life after the other -------------------------------------------------------------

    async def run(self) -> None:
        """Live until cancelled."""
        while True:
            tasks = TaskGroup("life")
            self._over.clear()
            try:
                await self._begin(tasks)
                await self._over.wait()
            finally:
                await tasks.close()
            self.begun = False
            self.missing = {"lease": "lapsed; starting over"}
            logger.warning("the lease has lapsed: starting over under a new id")
            self._do.close_all("lapsed")
            self.gateway_id = ids.gateway_id()
            self._do.on_new_id(self.gateway_id)

    def lapsed(self, gateway_id: str) -> None:
        """End the life under an id, if it is the present one: the store says that its lease is gone.

        A life that has not begun has no lease to lose; the next beat tells whether the one it gets is held.
        """
        if self.begun and gateway_id == self.gateway_id:
            self._over.set()

    async def _begin(self, tasks: TaskGroup) -> None:
        beat = await self._insist(lambda: self._beat(first=True), "lease")
        self.incarnation = beat.incarnation
        self.missing = {"roster": "not loaded yet"}
        # The lease's answer came before the snapshot is taken, so no change falls between.
        await self._load_roster()
        self.missing = {"bus": "no probe has come back yet"}
        self.begun = True
        for part, name in (
            (self._follow_deliveries(), "deliveries"),
            (self._follow_roster(), "roster"),
            (self._beat_for_ever(tasks), "beat"),
            (self._probe_for_ever(), "probe"),
            (self._touch_for_ever(), "touch"),
        ):
            tasks.start(self._vital(part, name), name)

    async def _vital(self, part: Coroutine[Any, Any, None], name: str) -> None:
        """Run a part without which there is no life: should it ever fail, the gateway starts over."""
        try:
            await part
        except Exception:
            logger.exception("a part of the gateway failed: starting over", extra={"part": name})
            await asyncio.sleep(RETRY_SECONDS)
            self.lapsed(self.gateway_id)

    async def _insist(self, step: Callable[[], Awaitable[T]], part: str) -> T:
        """Repeat a step until the store has answered; until a life has begun, ``part`` is what is missing."""
        while True:
            try:
                return await step()
            except ParleyError as error:
                if self.begun:
                    # The store is away for everybody: were that a reason, no gateway would be ready.
                    logger.warning("no answer yet", extra={"part": part, "code": error.code.name})
                else:
                    self.missing = {part: error.message}
                await asyncio.sleep(RETRY_SECONDS)

    # --- the lease ----------------------------------------------------------------------------

    async def _beat(self, *, first: bool = False) -> api.LeaseResponse:
        request = self._do.describe()
        request.first = first
        sent = time.monotonic()
        answer = await self._store.lease(request)
        self._clock.observe(answer.now, sent, time.monotonic())
        self._lease_seconds = answer.lease_ms / 1000
        self._session_ttl_seconds = answer.session_ttl_ms / 1000
        self._know(answer.gateways, sent)
        self._metrics.store_up.set(1)
        return answer

    async def _beat_for_ever(self, tasks: TaskGroup) -> None:
        catching_up: asyncio.Task[Any] | None = None
        last = time.monotonic()
        while True:
            await self._next_beat()
            now = time.monotonic()
            if now - last > self._lease_seconds * 4 / 3 + 1:
                # The process was paused: it may have been reaped, and others may have been told so.
                logger.warning("paused for longer than a lease", extra={"seconds": round(now - last, 1)})
                self.lapsed(self.gateway_id)
                return
            last = now
            try:
                answer = await self._beat()
            except ParleyError as error:
                self._metrics.store_up.set(0)
                logger.warning("the lease could not be renewed", extra={"code": error.code.name})
                last = time.monotonic()
                continue
            last = time.monotonic()
            if not answer.held:
                self.lapsed(self.gateway_id)
                return
            self._heard = answer.incarnation
            behind = answer.incarnation != self.incarnation or answer.roster_epoch != self._roster.epoch
            # In a task of its own: however long it takes, the lease is kept.
            if behind and (catching_up is None or catching_up.done()):
                catching_up = tasks.start(self._vital(self._catch_up(), "catch up"), "catch up")

    def beat_soon(self) -> None:
        """Renew the lease now rather than in its turn: what it tells the others has changed."""
        self._beat_now.set()

    async def _next_beat(self) -> None:
        """Wait for the next beat's time, or until there is a reason for an earlier one."""
        try:
            async with asyncio.timeout(self._lease_seconds / 3):
                await self._beat_now.wait()
        except TimeoutError:
            return
        self._beat_now.clear()

    async def _catch_up(self) -> None:
        """Redis may have lost its last writes: say again who is here, and learn again who is where."""
        while True:
            incarnation = self._heard
            try:
                if incarnation != self.incarnation:
                    logger.warning("Redis has come back as another incarnation: registering all users again")
                    if self._deliveries is not None and not await self._deliveries.rewind():
                        self.lapsed(self.gateway_id)
                        return
                    await self._do.reattach()
                await self._load_roster()
            except ParleyError as error:
                logger.warning("not all could be registered again", extra={"code": error.code.name})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            self.incarnation = incarnation
            if incarnation == self._heard:
                return

    def _know(self, gateways: list[api.GatewayInfo], asked_at: float) -> None:
        self.gateways = {info.gateway: info for info in gateways}
        self._looked_up_at = asked_at

    async def find(self, gateway: str) -> str | None:
        """Find a gateway's address; for one that is not known the store is asked, at most ten times a second.

        Who comes in between waits for the next answer: a gateway that has just started is in that one only.
        """
        came = time.monotonic()
        if gateway not in self.gateways:
            async with self._looking_up:
                if gateway not in self.gateways and self._looked_up_at < came:
                    await asyncio.sleep(self._looked_up_at + LOOKUP_SECONDS - time.monotonic())
                    self._looked_up_at = time.monotonic()
                    try:
                        self._know((await self._store.gateways()).gateways, self._looked_up_at)
                    except ParleyError as error:
                        logger.warning("the gateways cannot be looked up", extra={"code": error.code.name})
        info = self.gateways.get(gateway)
        return None if info is None else info.address

    # --- the streams --------------------------------------------------------------------------

    async def _follow_deliveries(self) -> None:
        reader = StreamReader(
            self._bus,
            api.gateway_stream(self.gateway_id),
            on_entry=self._on_items,
            on_gap=self._on_gap,
            on_state=self._on_bus,
            pause_seconds=DELIVERY_PAUSE_SECONDS,
        )
        self._deliveries = reader
        await reader.run()

    def _on_bus(self, up: bool) -> None:
        self._metrics.bus_up.set(int(up))
        if up:
            # Whether Redis has lost something is in the lease's answer: ask at once.
            self.beat_soon()

    def _on_items(self, _number: int, fields: dict[bytes, bytes]) -> None:
        items, wrong = decode_items(fields)
        failures: list[Exception] = [*wrong]
        for item in items:
            try:
                self._on_item(item)
            except Exception as error:  # noqa: BLE001 - it is raised when the others have been handled
                failures.append(error)
        if failures:
            # The reader logs it, and has it looked up what was in them.
            raise ExceptionGroup("items of an entry could not be handled", failures)

    def _on_item(self, item: api.StreamItem) -> None:
        if isinstance(item, api.Probe):
            self._on_probe(item.nonce)
        elif isinstance(item, api.CloseSocket):
            self._do.close_socket(item.socket)
        elif isinstance(item, api.Announcement):
            self._do.announce(item.content, item.at)
        elif isinstance(item, api.DrainOrder):
            self._do.drain(item.on)
        else:
            self._hub.handle(item)

    def _on_gap(self) -> None:
        self._metrics.bus_gaps.inc()
        self._hub.check_all()

    async def _load_roster(self) -> None:
        async with self._loading:
            snapshot = await self._insist(self._store.roster, "roster")
            others = await self._contacts_beyond(snapshot)
            for entry in self._roster.changes(snapshot, others):
                self._hub.presence(entry.user, entry.username, online=entry.state == ONLINE)
            self._roster.load(snapshot)
            if self._changes is not None:
                # At once: what was read of the log since the snapshot was taken is not in it; it comes again.
                self._changes.position = self._roster.version

    async def _contacts_beyond(self, snapshot: api.RosterResponse) -> list[api.RosterEntry] | None:
        """Look up the contacts who are missing in a snapshot; None where it holds all users there are."""
        if snapshot.total <= self._roster.limit:
            return None
        listed = {item.user for item in snapshot.entries}
        users = [user for user in self._hub.followed() if user not in listed]
        found: list[api.RosterEntry] = []
        for first in range(0, len(users), api.STATES_LIMIT):
            request = api.StatesRequest(users=users[first : first + api.STATES_LIMIT])
            answer = await self._insist(functools.partial(self._states, request), "roster")
            found += answer.entries
        return found

    async def _states(self, request: api.StatesRequest) -> api.StatesResponse:
        try:
            return await self._store.states(request)
        except ParleyError as error:
            if error.code is not NOT_FOUND:
                raise
            # A store of the release before cannot tell; clients keep what they were told.
            return api.StatesResponse(entries=[])

    async def _follow_roster(self) -> None:
        reader = StreamReader(
            self._bus,
            api.ROSTER_LOG,
            on_entry=self._on_change,
            # Waited for: what would be applied meanwhile, the snapshot would undo.
            on_gap=self._load_roster,
            on_state=lambda _up: None,
            pause_seconds=ROSTER_PAUSE_SECONDS,
        )
        self._changes = reader
        reader.position = self._roster.version
        await reader.run()

    def _on_change(self, number: int, fields: dict[bytes, bytes]) -> None:
        change = decode_change(fields)
        if self._roster.apply(number, change):
            self._hub.presence(change.user, change.username, online=change.state == ONLINE)

    # --- the probe ----------------------------------------------------------------------------

    async def _probe_for_ever(self) -> None:
        """Send probes through the store, and doubt the bus when one does not come back."""
        while True:
            nonce = ids.message_id()
            self._probe = (nonce, time.monotonic())
            try:
                await self._store.probe(api.ProbeRequest(gateway=self.gateway_id, nonce=nonce))
            except ParleyError as error:
                # The store or Redis is away for everybody: that is an alert, and no reason to send the
                # clients of all gateways away.
                logger.info("no probe could be sent", extra={"code": error.code.name})
                await asyncio.sleep(RETRY_SECONDS)
                continue
            await asyncio.sleep(PROBE_SECONDS)
            if self._probe is not None:
                self.missing = {"bus": "a probe did not come back"}
                self.beat_soon()
                logger.error("a probe did not come back through the bus: reconnecting")
                await self._bus.aclose()

    def _on_probe(self, nonce: str) -> None:
        if self._probe is not None and self._probe[0] == nonce:
            self.bus_lag_seconds = time.monotonic() - self._probe[1]
            self._metrics.bus_lag.set(self.bus_lag_seconds)
            self._probe = None
            if self.missing:
                self.missing = {}
                self.beat_soon()

    async def _touch_for_ever(self) -> None:
        while True:
            await asyncio.sleep(self._session_ttl_seconds / 3)
            try:
                await self._do.touch()
            except ParleyError as error:
                logger.warning("sessions could not be renewed", extra={"code": error.code.name})
