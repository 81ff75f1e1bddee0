"""People who chat through the ingress while the cluster changes under them, and what they saw of it.

They are the official JavaScript client. Each message has an id and is sent again until it is acknowledged; in
the end every conversation is read from the store and compared with what was acknowledged and what each screen
showed (see `tests.chaos.screen`).
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Final

from tests.chaos.person import Person
from tests.chaos.screen import Violation, check_ends, check_histories
from tests.harness.js_client import JsDriver
from tests.harness.waiting import eventually

BACK_SECONDS: Final = 30.0
"""How soon every client must be back after whatever happens."""
PAUSE_SECONDS: Final = 0.5
"""Mean time between two messages of one person."""
NOTES: Final[list[str]] = []
"""Further figures that tests want to be printed in the end."""


@dataclass(slots=True)
class Report:
    """What the people saw.

    Attributes:
        sent: Messages acknowledged.
        lost: Acknowledged, and not in the store or not on a screen.
        doubled: Shown or stored twice.
        broken: Every broken promise, those above among them.
        reconnects: How often clients came back, by whether they were recovered.
        closed: How often clients lost their connection, by what they were told.
        refused: Tries to connect that failed.
        away_seconds: The longest that a client was without a connection.
        silence_seconds: The longest that anybody waited for an acknowledgement.
        story: What happened to that person's connection meanwhile.
        took_seconds: How long what was done took.
    """

    sent: int = 0
    lost: int = 0
    doubled: int = 0
    broken: list[Violation] = field(default_factory=list)
    reconnects: Counter[str] = field(default_factory=Counter)
    closed: Counter[str] = field(default_factory=Counter)
    refused: int = 0
    away_seconds: float = 0.0
    silence_seconds: float = 0.0
    story: str = ""
    took_seconds: float = 0.0

    def row(self, what: str) -> str:
        """One line of the suite's table."""
        faults = Counter(fault.kind for fault in self.broken)
        cells = (
            what,
            f"{self.took_seconds:.0f} s",
            self.sent,
            self.lost,
            self.doubled,
            _counts(faults) or 0,
            _counts(self.reconnects) or 0,
            _counts(self.closed) or 0,
            self.refused,
            f"{self.away_seconds:.1f} s",
            f"{self.silence_seconds:.1f} s",
        )
        return f"| {' | '.join(map(str, cells))} |"


class TimedPerson(Person):
    """A person who notes how long acknowledgements take, and when the slowest was begun."""

    slowest_seconds = 0.0
    slowest_at = 0.0

    async def send(self, to: str, padding: str = "") -> None:
        """Send one message until it is acknowledged."""
        begun, at = time.monotonic(), time.time() * 1000
        await super().send(to, padding)
        if time.monotonic() - begun > self.slowest_seconds:
            self.slowest_seconds, self.slowest_at = time.monotonic() - begun, at

    def story(self) -> str:
        """What happened to the person's connection during the slowest message, for a report of a failure."""
        until = self.slowest_at + self.slowest_seconds * 1000
        happened = [
            f"{(entry.details['at'] - self.slowest_at) / 1000:+.1f} s {entry.kind} {entry.details}"
            for entry in self.entries
            if entry.kind != "event" and self.slowest_at - 2000 <= entry.details["at"] <= until + 1000
        ]
        return f"{self.name} waited {self.slowest_seconds:.1f} s: " + "; ".join(happened)


class Load:
    """The people, chatting from `start` until `finish`."""

    def __init__(self, driver: JsDriver, url: str, count: int, name: str) -> None:
        self._driver = driver
        self._random = random.Random(name)
        self.people = [TimedPerson(f"{name}-{number}", url, f"{name}-{number}") for number in range(count)]
        self._stop = asyncio.Event()
        self._tasks: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Sign everybody in and begin."""
        for person in self.people:
            await person.arrive(self._driver)
        everybody = [person.user_id for person in self.people]
        for person in self.people:
            chat = person.chat(everybody, random.Random(self._random.random()), PAUSE_SECONDS, self._stop)
            self._tasks.append(asyncio.create_task(chat, name=f"chat of {person.name}"))
        await self.exchange()

    async def exchange(self, messages: int = 2) -> None:
        """Wait until everybody has sent so many further messages: all is well again.

        Raises:
            AssertionError: It took longer than `BACK_SECONDS`.
        """
        before = [_acknowledged(person) for person in self.people]

        def waiting() -> list[str]:
            for task in self._tasks:
                if task.done():
                    task.result()
            return [
                f"{person.name}: {_last(person)}"
                for person, count in zip(self.people, before, strict=True)
                if _acknowledged(person) < count + messages
            ]

        try:
            await eventually(lambda: not waiting(), BACK_SECONDS)
        except AssertionError:
            raise AssertionError(f"no acknowledgements in {BACK_SECONDS:g} s for {waiting()}") from None

    async def finish(self) -> Report:
        """Stop, wait until every screen is complete, and compare all with the store."""
        self._stop.set()
        async with asyncio.timeout(BACK_SECONDS):
            await asyncio.gather(*self._tasks)
        histories = await self._histories()

        def behind() -> list[Violation]:
            return [fault for person in self.people for fault in check_ends(person.look(), histories)]

        with contextlib.suppress(AssertionError):  # `_report` counts them
            await eventually(lambda: not behind(), BACK_SECONDS)
        report = self._report(behind(), histories)
        for person in self.people:
            await person.leave()
        return report

    async def cancel(self) -> None:
        """End everything without a report, after a failure."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _histories(self) -> dict[tuple[str, str], list[dict[str, Any]]]:
        found: dict[tuple[str, str], list[dict[str, Any]]] = {}
        for person in self.people:
            for other in self.people:
                pair = (min(person.user_id, other.user_id), max(person.user_id, other.user_id))
                if pair not in found:
                    found[pair] = await person.history(other.user_id)
        return found

    def _report(
        self, behind: list[Violation], histories: dict[tuple[str, str], list[dict[str, Any]]]
    ) -> Report:
        report = Report()
        faults = [*behind, *check_histories(histories, [person.screen for person in self.people])]
        for person in self.people:
            faults += person.look().violations + person.screen.gaps()
            report.sent += _acknowledged(person)
            report.reconnects.update(person.screen.returns)
            report.closed.update(
                entry.details["reason"] for entry in person.entries if entry.kind == "disconnect"
            )
            report.refused += sum(entry.kind == "connect_error" for entry in person.entries)
            report.away_seconds = max(report.away_seconds, _longest_away(person))
        slowest = max(self.people, key=lambda person: person.slowest_seconds)
        report.silence_seconds, report.story = slowest.slowest_seconds, slowest.story()
        report.lost = sum(fault.kind in {"lost", "behind", "gap"} for fault in faults)
        report.doubled = sum(fault.kind == "doubled" for fault in faults)
        report.broken = faults
        return report


@asynccontextmanager
async def chatting(url: str, count: int, name: str) -> AsyncIterator[Load]:
    """People who have begun to chat; the caller finishes."""
    async with JsDriver() as driver:
        load = Load(driver, url, count, name)
        try:
            await load.start()
            yield load
        finally:
            await load.cancel()


def _acknowledged(person: Person) -> int:
    return sum(bool(sent.seq) for sent in person.screen.sent.values())


def _last(person: Person) -> str:
    """What happened to a person last, other than messages."""
    entries = [entry for entry in person.entries if entry.name != "private message"]
    return ", ".join(f"{entry.kind} {entry.name} {entry.details}" for entry in entries[-3:])


def _longest_away(person: Person) -> float:
    longest, lost_at = 0.0, None
    for entry in person.entries:
        if entry.kind == "disconnect":
            lost_at = entry.details["at"]
        elif entry.kind == "connect" and lost_at is not None:
            longest, lost_at = max(longest, (entry.details["at"] - lost_at) / 1000), None
    return longest


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counter.items()) if count)


HEADS: Final = (
    "what was done",
    "took",
    "acknowledged",
    "lost",
    "doubled",
    "broken promises",
    "came back",
    "were closed by",
    "failed tries",
    "longest away",
    "longest wait for an acknowledgement",
)


def rows(table: Sequence[tuple[str, Report]]) -> str:
    """The suite's table, in Markdown."""
    lines = [f"| {' | '.join(HEADS)} |", "|---" * len(HEADS) + "|"]
    return "\n".join(lines + [report.row(what) for what, report in table])
