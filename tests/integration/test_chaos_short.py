"""The chaos suite in short: it passes on the product, and fails on a build that breaks the first promise."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from tests.chaos.faults import Fault
from tests.chaos.report import report
from tests.chaos.runner import run
from tests.chaos.world import Options, World
from tests.harness.waiting import eventually

SEED = 20
SECONDS = 20.0
SMALL = Options(gateways=2, stores=1, users=6, pause=0.2)


def _sent(world: World) -> int:
    return sum(len(person.screen.sent) for person in world.everybody)


def _all_wait(world: World) -> bool:
    """Everybody has sent a message and waits for its acknowledgement."""
    return all(
        not all(sent.seq for sent in person.screen.sent.values()) if person.screen.sent else False
        for person in world.everybody
    )


def lose_what_is_in_flight(enough: Callable[[World], bool]) -> Fault:
    """While the store is frozen, ``enough`` messages come to wait in the gateways; then those are killed."""

    async def inflict(world: World) -> None:
        (store,) = world.stack.stores
        store.pause()
        await eventually(lambda: enough(world))
        for gateway in world.stack.gateways:
            await world.kill(gateway, 0.1)
        store.resume()

    return Fault("freeze store, kill -9 gateways", inflict)


async def test_nothing_is_lost_under_faults(tmp_path: Path) -> None:
    """Random faults from a fixed seed, and one that hits every message in flight: no promise is broken."""
    result = await run(tmp_path, SECONDS, SEED, SMALL, first=[lose_what_is_in_flight(_all_wait)])
    assert not result.violations, report(result, SEED, SECONDS)
    assert result.sent > 50
    assert result.returns["recovered"] > 0
    assert result.times, "no client lost its gateway"


async def test_a_build_that_acknowledges_too_early_is_found_out(tmp_path: Path) -> None:
    """The same fault on a gateway that acknowledges before the store answers: the checker sees the loss."""
    broken = replace(SMALL, gateway_module="tests.chaos.broken")
    # Nobody has to wait here, so messages go on being "sent".
    fault = lose_what_is_in_flight(lambda world: _sent(world) > 60)
    result = await run(tmp_path, 0.0, SEED, broken, first=[fault])
    lost = [violation for violation in result.violations if violation.kind == "lost"]
    assert lost, report(result, SEED, 0.0)
