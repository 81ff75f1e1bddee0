"""The scheduled minimums: how many replicas the calendar asks for at a moment. Pure."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from collections.abc import Iterable

from parley_operator.spec import DAYS, ScheduledMinimum


class ScheduleError(ValueError):
    """A schedule names a time zone that does not exist; the text is for the object's condition."""


def minimum(least: int, schedule: Iterable[ScheduledMinimum], now: float) -> int:
    """Find the minimum that holds at a moment: the greatest of ``least`` and all active entries.

    Args:
        least: The object's own minimum.
        schedule: Its scheduled minimums.
        now: The moment, in seconds since the Unix epoch.

    Raises:
        ScheduleError: An entry's time zone is unknown.
    """
    moment = dt.datetime.fromtimestamp(now, dt.UTC)
    return max([least, *(entry.min_replicas for entry in schedule if _active(entry, moment))])


def _active(entry: ScheduledMinimum, moment: dt.datetime) -> bool:
    try:
        local = moment.astimezone(zoneinfo.ZoneInfo(entry.time_zone))
    except (zoneinfo.ZoneInfoNotFoundError, ValueError) as error:
        raise ScheduleError(f"the schedule's time zone {entry.time_zone} is unknown") from error
    # The wall clock decides, also on the two days a year on which it jumps; HH:MM compares as text.
    clock = f"{local:%H:%M}"
    today = DAYS[local.weekday()]
    if entry.start < entry.end:
        return today in entry.days and entry.start <= clock < entry.end
    yesterday = DAYS[local.weekday() - 1]
    return (today in entry.days and clock >= entry.start) or (yesterday in entry.days and clock < entry.end)
