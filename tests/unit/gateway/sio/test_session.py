"""A session's heartbeat, on a clock of the test's own."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from parley_gateway.sio import Application, EngineSettings, RequestInfo, Session, session
from parley_gateway.sio.connection import WebSocketConnection
from parley_gateway.sio.frames import PING, Frame
from parley_gateway.sio.wheel import Wheel

TICK = 0.5


class Bench:
    """A session, its owner, its wheel and the event loop, as far as a heartbeat needs them.

    Attributes:
        now: The time.
        pings: When PINGs were sent.
        adds: How often the wheel was asked to hold the session.
        when: The time that it was asked for; None while it holds nothing.
    """

    application = cast("Application", SimpleNamespace(on_close=lambda _session: None))

    def __init__(self, interval: float, timeout: float) -> None:
        self.settings = EngineSettings(ping_interval_seconds=interval, ping_timeout_seconds=timeout)
        self.now = 0.0
        self.pings: list[float] = []
        self.adds = 0
        self.when: float | None = None
        self.tick_seconds = TICK
        self.wheel = cast("Wheel[Session]", self)
        self.session = Session(self, "g1-x", RequestInfo("", None, None, "websocket"))
        self.session.transport = cast("Any", self)
        self.session.join_by = float("inf")
        self.add(self.session, self.session.first_timer())

    def time(self) -> float:
        """Return the time, as the event loop."""
        return self.now

    def add(self, item: Session, when: float) -> None:
        """Hold the session, as the wheel."""
        assert item is self.session
        assert self.when is None, "held already"
        self.adds += 1
        self.when = when

    def discard(self, item: Session) -> None:
        """Let go of the session, as the wheel."""
        assert item is self.session
        self.when = None

    def send(self, frame: Frame) -> None:
        """Take a PING, as the transport."""
        assert frame is PING
        self.pings.append(self.now)

    def abort(self) -> None:
        """Nothing to do, as the transport."""

    def forget(self, item: Session) -> None:
        """Nothing to do, as the owner."""

    def on_malformed(self, kind: str) -> None:
        """Fail, as the owner."""
        raise AssertionError(kind)

    def answer(self) -> None:
        """Send a PONG, as the client."""
        self.session.on_message(cast("WebSocketConnection", self), b"3", text=True)

    def run(self, until: float, early: float, on_ping: Callable[[], None]) -> None:
        """Let time pass; the wheel calls ``early`` seconds before it was asked to."""
        while self.when is not None and self.when - early <= until:
            self.now, self.when = max(self.now, self.when - early), None
            before = len(self.pings)
            when = self.session.on_timer(self.now)
            if when is not None:
                self.add(self.session, when)
            if len(self.pings) > before:
                on_ping()
        self.now = until


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Callable[[float, float], Bench]:
    """Make a bench whose session has its clock."""

    def make(interval: float, timeout: float) -> Bench:
        benches: list[Bench] = []
        clock = SimpleNamespace(time=lambda: benches[0].now if benches else 0.0)
        monkeypatch.setattr(session, "asyncio", SimpleNamespace(get_running_loop=lambda: clock))
        benches.append(Bench(interval, timeout))
        return benches[0]

    return make


TIMES = [(25.0, 20.0), (25.0, 24.5), (25.0, 24.75), (25.0, 25.0), (5.0, 30.0), (10.0, 24.0)]


@pytest.mark.parametrize("early", [0.0, TICK - 0.01])
@pytest.mark.parametrize(("interval", "timeout"), TIMES)
def test_pings_come_at_the_interval(
    bench: Callable[[float, float], Bench], interval: float, timeout: float, early: float
) -> None:
    """Whoever answers at once gets a PING every interval, however long an answer may take."""
    made = bench(interval, timeout)
    made.run(10 * interval + TICK, early, made.answer)
    gaps = [later - sooner for sooner, later in zip([0.0, *made.pings], made.pings, strict=False)]
    assert len(gaps) >= 10
    assert all(interval - TICK <= gap <= interval for gap in gaps), gaps
    assert not made.session.closed


@pytest.mark.parametrize("early", [0.0, TICK - 0.01])
@pytest.mark.parametrize(("interval", "timeout"), TIMES)
@pytest.mark.parametrize("number", [1, 2, 3])
def test_every_ping_may_be_answered_within_the_time_out(
    bench: Callable[[float, float], Bench], interval: float, timeout: float, early: float, number: int
) -> None:
    """The session lives until the time-out after the PING that gets no answer, and not much longer."""
    made = bench(interval, timeout)

    def answer() -> None:
        if len(made.pings) < number:
            made.answer()

    made.run(number * interval, early, answer)
    assert len(made.pings) == number
    last = made.pings[-1]
    made.run(last + timeout - 0.01, early, answer)
    assert not made.session.closed
    made.run(last + timeout + TICK, early, answer)
    assert made.session.reason == "ping timeout"


def test_a_pong_costs_the_wheel_nothing_by_default(bench: Callable[[float, float], Bench]) -> None:
    """With the default times a PONG leaves the session where the wheel has it."""
    made = bench(25.0, 20.0)
    made.run(25.0, 0.0, lambda: None)
    adds, when = made.adds, made.when
    made.answer()
    assert (made.adds, made.when) == (adds, when)
