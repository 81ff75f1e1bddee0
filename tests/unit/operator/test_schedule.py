"""The scheduled minimums."""

from __future__ import annotations

import datetime as dt

import pytest

from parley_operator.schedule import ScheduleError, minimum
from parley_operator.spec import ScheduledMinimum

WORK = ScheduledMinimum(
    min_replicas=6, start="08:00", end="18:00", days=("Mon", "Tue"), time_zone="Europe/Zurich"
)
NIGHT = ScheduledMinimum(min_replicas=4, start="22:00", end="02:00", days=("Fri",))


def at(text: str) -> float:
    """Read a moment in UTC, in seconds."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC).timestamp()


@pytest.mark.parametrize(
    ("moment", "expected"),
    [
        ("2026-11-23T06:59", 2),  # Monday, 07:59 in Zurich
        ("2026-11-23T07:00", 6),
        ("2026-11-24T16:59", 6),
        ("2026-11-24T17:00", 2),
        ("2026-11-25T10:00", 2),  # Wednesday
        ("2026-07-06T06:00", 6),  # summer time: 08:00 in Zurich
        ("2026-11-27T22:00", 4),  # Friday night
        ("2026-11-28T01:59", 4),  # and on into Saturday
        ("2026-11-28T02:00", 2),
        ("2026-11-28T22:00", 2),
    ],
)
def test_an_entry_holds_in_its_hours(moment: str, expected: int) -> None:
    """Days, hours, time zone, summer time and midnight decide which minimum holds."""
    assert minimum(2, [WORK, NIGHT], at(moment)) == expected


def test_the_greatest_wins() -> None:
    """Entries that overlap do not add up, and the object's own minimum stays."""
    assert minimum(5, [NIGHT], at("2026-11-27T23:00")) == 5


def test_an_unknown_zone_is_named() -> None:
    """The text says which zone is wrong."""
    entry = ScheduledMinimum(min_replicas=3, start="08:00", end="09:00", time_zone="Mars/Olympus")
    with pytest.raises(ScheduleError, match="Mars/Olympus"):
        minimum(1, [entry], at("2026-11-27T23:00"))
