"""The pace of groups: it follows the size of batches, within bounds."""

from __future__ import annotations

import pytest

from parley_store.pace import AIM, FEW, LONGEST_SECONDS, SHORTEST_SECONDS, Pace


class Load:
    """Groups of a steady load that is spread over gateways."""

    def __init__(self) -> None:
        self.pace = Pace()
        self.now = 1000.0
        self._left = 0.0

    def settled(self, gateways: int, messages_per_second: float) -> float:
        """Find the pace after some seconds of a load."""
        end = self.now + 20
        while self.now < end:
            # Without messages there is no group: the next one begins with the next message.
            step = max(self.pace.seconds, 1 / messages_per_second)
            self.now += step
            self._left += messages_per_second * step
            messages = round(self._left)
            self._left -= messages
            if messages:
                self.pace.note(min(gateways, messages), messages, self.now)
        return self.pace.seconds


def test_groups_of_lone_messages_begin_as_far_apart_as_allowed() -> None:
    """Where batches are small, waiting saves most."""
    assert Load().settled(8, 200) == pytest.approx(LONGEST_SECONDS, rel=0.01)


def test_between_the_bounds_a_batch_gets_as_many_messages_as_it_should() -> None:
    """The pace is that at which a gateway sends as many messages as are aimed at."""
    rate = AIM / 0.012
    assert Load().settled(1, rate) == pytest.approx(0.012, rel=0.2)


def test_the_same_load_on_more_gateways_makes_the_pace_slower() -> None:
    """Batches count, not messages alone."""
    assert Load().settled(2, 1600) > 1.5 * Load().settled(1, 1600)


def test_under_load_the_pace_is_the_shortest() -> None:
    """Where batches are full anyway nobody waits; from whatever pace it comes."""
    load = Load()
    load.settled(8, 100)
    assert load.settled(2, 50_000) == pytest.approx(SHORTEST_SECONDS, rel=0.01)


def test_few_messages_do_not_wait() -> None:
    """Where hardly two meet in the longest pause, the pace is the shortest; from whatever pace it comes."""
    load = Load()
    assert load.settled(8, 200) == pytest.approx(LONGEST_SECONDS, rel=0.01)
    assert load.settled(8, FEW / LONGEST_SECONDS / 2) == SHORTEST_SECONDS
    assert load.settled(8, FEW / LONGEST_SECONDS * 2) == pytest.approx(LONGEST_SECONDS, rel=0.01)


def test_one_large_batch_changes_little() -> None:
    """The pace follows the load of some groups, not one of them."""
    load = Load()
    before = load.settled(8, 100)
    load.pace.note(1, 200, load.now + before)
    assert load.pace.seconds > 0.85 * before


def test_an_empty_group_does_no_harm() -> None:
    """Batches without messages are possible, and the pace stays within its bounds."""
    load = Load()
    load.settled(8, 200)
    for number in range(200):
        load.pace.note(3, 0, load.now + number / 100)
        assert SHORTEST_SECONDS <= load.pace.seconds <= LONGEST_SECONDS
