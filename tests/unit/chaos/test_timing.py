"""Times from a kill to the client's return are measured from the journals."""

from __future__ import annotations

from tests.chaos.timing import AWAY, percentile, recovery_times
from tests.harness.journal import Entry


def entry(kind: str, when: int, name: str = "", **argument: object) -> Entry:
    """Something that happened to a client at a time."""
    return Entry(kind, name, (argument,) if name else (), {"at": when})


def test_a_client_is_back_when_it_has_what_was_stored_before() -> None:
    """The last message that was stored before the return counts, later ones do not."""
    journal = [
        entry("connect", 0),
        entry("disconnect", 1010),
        entry("connect", 1500),
        entry("event", 1520, "private message", at=1400),
        entry("event", 1900, "private message", at=1890),
    ]
    assert recovery_times(1000, [journal]) == [0.52]


def test_who_was_elsewhere_or_came_not_back_does_not_count() -> None:
    """A client that lost nothing, or lost it later, or is away still, has no time."""
    elsewhere = [entry("connect", 0), entry("event", 1200, "user connected"), entry("disconnect", 3000)]
    away = [entry("connect", 0), entry("disconnect", 1010)]
    assert recovery_times(1000, [elsewhere, away, []]) == []


def test_what_a_client_does_later_is_no_part_of_its_return() -> None:
    """A process that dies after the return, or before it, and signs in anew in another, does not count."""
    back = [entry("connect", 0), entry("disconnect", 1010), entry("connect", 1200)]
    anew = [entry(AWAY, 19000), entry("connect", 19100), entry("event", 19340, "users")]
    assert recovery_times(1000, [[*back, *anew]]) == [0.2]
    assert recovery_times(1000, [[*back[:2], *anew]]) == []


def test_percentiles_are_of_the_nearest_rank() -> None:
    """Half of the values are at most the median; the 99th of few values is the greatest."""
    assert percentile([3.0, 1.0, 2.0, 4.0], 0.5) == 2.0
    assert percentile([3.0, 1.0, 2.0], 0.99) == 3.0
