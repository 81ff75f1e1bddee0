"""One run of chaos: rounds of faults under chatting clients, each followed by quiet and a check."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.chaos import faults
from tests.chaos.person import Person
from tests.chaos.screen import Violation, check_ends, check_histories, check_presence
from tests.chaos.timing import recovery_times
from tests.chaos.world import Options, World
from tests.harness.waiting import eventually

QUIET_SECONDS: Final = 20.0
"""Presence must be right, and all screens complete, within this time after the last fault."""
FINISH_SECONDS: Final = 30.0
"""Within this time after the last fault every message must be acknowledged, every process ready."""
ROUND_SECONDS: Final = 45.0


@dataclass(slots=True)
class Result:
    """What a run has shown.

    Attributes:
        faults: How often each kind was inflicted.
        violations: Every broken promise; empty for a good run.
        rounds: How many rounds.
        sent: Messages acknowledged.
        seen: Messages that came as events.
        returns: How often clients came back, by whether `socket.recovered`.
        outcomes: Attempts to recover by outcome, from the gateways' metrics.
        times: Seconds from each kill -9 of a gateway to each of its clients being back and complete.
        lone_times: The same for each kill during which nothing else was wrong.
        errors: Error records in the logs of the services.
        tracebacks: Those among them that are no plain words.
    """

    faults: Counter[str] = field(default_factory=Counter)
    violations: list[Violation] = field(default_factory=list)
    rounds: int = 0
    sent: int = 0
    seen: int = 0
    returns: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    lone_times: list[list[float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)


async def run(
    folder: Path,
    seconds: float,
    seed: int,
    options: Options | None = None,
    *,
    first: Iterable[faults.Fault] = (),
    progress: Callable[[str], None] = lambda _: None,
) -> Result:
    """Run chaos.

    Args:
        folder: For data and logs.
        seconds: How long faults are inflicted.
        seed: Chooses them.
        options: How large the world is.
        first: Faults that are inflicted before those that chance chooses.
        progress: Told in a line what goes on.
    """
    result = Result()
    async with World(folder, options or Options()) as world:
        progress(f"{len(world.everybody)} clients, {len(world.stack.services)} services, one Redis: ready")
        rng = random.Random(seed)
        chosen = faults.schedule(rng, world)
        decided = list(first)
        deadline = time.monotonic() + seconds
        while not result.rounds or time.monotonic() < deadline - 5:
            left = min(ROUND_SECONDS, max(0.0, deadline - time.monotonic()))
            await _round(world, decided, chosen, rng=rng, seconds=left, result=result)
            decided = []
            result.rounds += 1
            progress(
                f"round {result.rounds}: {sum(result.faults.values())} faults, {result.sent} messages, "
                f"{len(result.violations)} violations"
            )
            if result.violations:
                break
        _sum_up(world, result)
    return result


async def _round(
    world: World,
    decided: Iterable[faults.Fault],
    chosen: Iterator[faults.Fault],
    *,
    rng: random.Random,
    seconds: float,
    result: Result,
) -> None:
    stop = asyncio.Event()
    users = sorted({person.user_id for person in world.everybody})
    chats = [
        asyncio.create_task(
            person.chat(_peers(users, person), random.Random(rng.random()), world.options.pause, stop),
            name=f"chat-{person.name}",
        )
        for person in world.everybody
    ]
    try:
        for fault in decided:
            result.faults[fault.kind] += 1
            await fault.inflict(world)
        await faults.inflict(world, chosen, rng, seconds, result.faults)
        result.violations += await _kill_alone(world, rng)
        stop.set()
        result.violations += await _finish(world, chats)
    finally:
        for chat in chats:
            chat.cancel()
        await asyncio.gather(*chats, return_exceptions=True)
    result.violations += await check(world)
    result.sent = sum(len(person.screen.sent) for person in world.everybody)


async def _kill_alone(world: World, rng: random.Random) -> list[Violation]:
    """Kill a gateway while all is well and people chat, to see how long its clients take to be back."""

    def all_connected() -> bool:
        return all(person.connected for person in world.everybody)

    try:
        await world.all_ready()
        await eventually(all_connected, FINISH_SECONDS, "everybody is connected")
        await world.kill(rng.choice(world.stack.gateways), 0.5)
        world.lone_kills.append(world.kills[-1])
        await world.all_ready()
        await eventually(all_connected, FINISH_SECONDS, "everybody is connected again")
    except AssertionError as error:
        return [Violation("help", "everybody", str(error)[:500])]
    return []


def _peers(users: list[str], person: Person) -> list[str]:
    """Three others and oneself: conversations that meet, and some that do not."""
    place = users.index(person.user_id)
    return [users[(place + step) % len(users)] for step in (0, 1, 2, 5)]


async def _finish(world: World, chats: list[asyncio.Task[None]]) -> list[Violation]:
    """After the last fault: everything is acknowledged and everybody ready, without help."""
    found = []
    _, late = await asyncio.wait(chats, timeout=FINISH_SECONDS)
    for chat in chats:
        if chat in late:
            found.append(Violation("stuck", chat.get_name(), "a message was not acknowledged in the end"))
        elif (error := chat.exception()) is not None:
            found.append(Violation("refused", chat.get_name(), repr(error)))
    try:
        await world.all_ready()
    except AssertionError as error:
        found.append(Violation("help", "a service", str(error)[:500]))
    return found


async def check(world: World) -> list[Violation]:
    """In quiet: presence and screens become right, and nothing that was acknowledged is missing."""
    absent = world.visitors[0]
    await absent.leave()
    truth = {person.user_id: person is not absent for person in world.everybody}
    watchers = [person for person in world.everybody if person is not absent]

    def wrong() -> list[Violation]:
        return [fault for person in watchers for fault in check_presence(person.look(), truth)]

    found: list[Violation] = []
    try:
        await eventually(lambda: not wrong(), QUIET_SECONDS)
    except AssertionError:
        found += wrong()
    await absent.enter()
    histories = await world.histories()

    def behind() -> list[Violation]:
        return [fault for person in world.everybody for fault in check_ends(person.look(), histories)]

    found += check_histories(histories, [person.screen for person in world.everybody])
    try:
        # What is not stored will not come either.
        await eventually(lambda: not behind(), 0 if found else QUIET_SECONDS)
    except AssertionError:
        found += behind()
    for person in world.everybody:
        found += person.look().violations + person.screen.gaps()
    return found


def _sum_up(world: World, result: Result) -> None:
    result.violations += world.violations
    for person in world.everybody:
        result.seen += person.screen.received
        result.returns.update(person.screen.returns)
    for counts in world.recoveries.values():
        for outcome, count in counts.items():
            result.outcomes[outcome] += int(count)
    journals = [person.entries for person in world.everybody]
    for kill in world.kills:
        result.times += recovery_times(kill, journals)
    for kill in world.lone_kills:
        if times := recovery_times(kill, journals):
            result.lone_times.append(times)
    for service in world.stack.services:
        for record in service.records("error"):
            result.errors[f"{service.name.partition('-')[0]}: {record['message']}"] += 1
            if "Traceback" in record.get("error", "") or "Traceback" in record["message"]:
                last = str(record.get("error", record["message"])).strip().splitlines()[-1]
                result.violations.append(Violation("traceback", service.name, last[:300]))
