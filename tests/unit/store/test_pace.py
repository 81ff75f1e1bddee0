"""The pace of groups: it follows the size of batches, within bounds."""

from __future__ import annotations

import pytest

from parley_store.pace import AIM, LONGEST_SECONDS, SHORTEST_SECONDS, Pace


def settled(pace: Pace, gateways: int, messages_per_second: float) -> float:
    """Find the pace at a steady load that is spread over gateways."""
    for _ in range(200):
        messages = messages_per_second * pace.seconds
        batches = min(float(gateways), messages)
        pace.note(max(1, round(batches)), max(1, round(messages)))
    return pace.seconds


def test_groups_of_lone_messages_begin_as_far_apart_as_allowed() -> None:
    """Where batches are small, waiting saves most."""
    assert settled(Pace(), 8, 200) == pytest.approx(LONGEST_SECONDS, rel=0.01)


def test_between_the_bounds_a_batch_gets_as_many_messages_as_it_should() -> None:
    """The pace is that at which a gateway sends as many messages as are aimed at."""
    rate = AIM / 0.012
    assert settled(Pace(), 1, rate) == pytest.approx(0.012, rel=0.2)


def test_the_same_load_on_more_gateways_makes_the_pace_slower() -> None:
    """Batches count, not messages alone."""
    assert settled(Pace(), 2, 1600) > 1.5 * settled(Pace(), 1, 1600)


def test_under_load_the_pace_is_the_shortest() -> None:
    """Where batches are full anyway nobody waits; from whatever pace it comes."""
    pace = Pace()
    settled(pace, 8, 100)
    assert settled(pace, 2, 50_000) == pytest.approx(SHORTEST_SECONDS, rel=0.01)


def test_one_large_batch_changes_little() -> None:
    """The pace follows the load of some groups, not one of them."""
    pace = Pace()
    before = settled(pace, 8, 100)
    pace.note(1, 200)
    assert pace.seconds > 0.85 * before


def test_an_empty_group_does_no_harm() -> None:
    """Batches without messages are possible, and the pace stays within its bounds."""
    pace = Pace()
    for _ in range(200):
        pace.note(3, 0)
    assert SHORTEST_SECONDS <= pace.seconds <= LONGEST_SECONDS
