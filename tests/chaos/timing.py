"""How long clients take to be back and complete after their gateway was killed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from tests.harness.journal import Entry

NOTICED_MS: Final = 1000
"""A connection whose gateway is killed breaks at once; a later break has another cause."""
AWAY: Final = "away"
"""The kind of the entry that says: here the client left, or its process died, for a reason of its own.

A process that dies writes no "disconnect": without this entry the sign-in of the next process, however much
later, would pass for the end of the return before it.
"""


def recovery_times(killed_at: float, journals: Iterable[Sequence[Entry]]) -> list[float]:
    """Measure each client that lost its connection when a gateway was killed.

    A client is complete once it is connected again, has got `users` if it was not recovered, and every
    message that was stored before it came back.

    Args:
        killed_at: When, in ms since the epoch.
        journals: The entries of each client, each with the time ``at`` in its details.

    Returns:
        Seconds from the kill, for each client that came back.
    """
    times = []
    for entries in journals:
        complete_at = _complete_at(killed_at, entries)
        if complete_at is not None:
            times.append((complete_at - killed_at) / 1000)
    return times


def _complete_at(killed_at: float, entries: Sequence[Entry]) -> float | None:
    lost = False
    back_at = complete_at = None
    for entry in entries:
        at = entry.details["at"]
        if at < killed_at:
            continue
        if not lost:
            if at > killed_at + NOTICED_MS:
                return None
            lost = entry.kind == "disconnect"
        elif entry.kind == AWAY or (entry.kind == "disconnect" and back_at is not None):
            break
        elif back_at is None:
            if entry.kind == "connect":
                back_at = complete_at = at
        elif entry.name == "users" or (entry.name == "private message" and entry.args[0]["at"] <= back_at):
            complete_at = at
    return complete_at


def percentile(values: Sequence[float], share: float) -> float:
    """The smallest value that at least ``share`` of all do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * int(share * 100) // 100) - 1)]
