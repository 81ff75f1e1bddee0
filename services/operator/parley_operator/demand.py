"""From connections to a number of replicas, with memory of the last minutes. Pure."""

from __future__ import annotations

import dataclasses
from typing import Final

from parley_operator.spec import Spec

LONGEST_GAP_SECONDS: Final = 60.0
"""A longer hole in the observation starts the windows anew: nobody knows what happened in it."""


@dataclasses.dataclass(frozen=True, slots=True)
class Limits:
    """The least and the most replicas at a moment; the least includes the schedule."""

    least: int
    most: int

    def clamp(self, replicas: int) -> int:
        """Bring a number within the limits; the most wins over a schedule that asks for more."""
        return min(max(replicas, self.least), self.most)


@dataclasses.dataclass(frozen=True, slots=True)
class History:
    """The demand of the last minutes: samples of (seconds, connections), oldest first.

    ``since`` is when the unbroken observation began; a window is full when it is at least that old.
    Only complete observations are samples. It lives in memory alone: an operator that starts again waits
    a whole window before it removes anything, and before it adds anything where growing has a window.
    """

    samples: tuple[tuple[float, int], ...] = ()
    since: float | None = None

    def add(self, now: float, demand: int, keep_seconds: float) -> History:
        """Note a complete observation and forget samples older than ``keep_seconds``."""
        if not self.samples or self.since is None or now - self.samples[-1][0] > LONGEST_GAP_SECONDS:
            return History(((now, demand),), now)
        kept = tuple(sample for sample in self.samples if sample[0] >= now - keep_seconds)
        return History((*kept, (now, demand)), self.since)

    def covers(self, now: float, seconds: float) -> bool:
        """Whether the last ``seconds`` have been observed without a long gap."""
        return (
            self.since is not None
            and now - self.since >= seconds
            and now - self.samples[-1][0] <= LONGEST_GAP_SECONDS
        )

    def most(self, now: float, seconds: float) -> int:
        """Find the greatest demand of the last ``seconds``."""
        return max((demand for at, demand in self.samples if at >= now - seconds), default=0)

    def least(self, now: float, seconds: float) -> int:
        """Find the smallest demand of the last ``seconds``: 0 unless all of them have been observed."""
        if not self.covers(now, seconds):
            return 0
        return min((demand for at, demand in self.samples if at >= now - seconds), default=0)


def needed(spec: Spec, demand: int) -> int:
    """Say how many replicas carry a demand within the target after ``headroom_replicas`` were lost."""
    return _ceil(demand, spec.target_connections) + spec.headroom_replicas


def enough(spec: Spec, demand: int) -> int:
    """Say how many replicas may be kept when shrinking: the same with the tolerance left free.

    It is never less than `needed`, and the gap between the two is what stops a load at the border from
    adding and removing the same pod again and again.
    """
    return (
        _ceil(demand * 100, spec.target_connections * (100 - spec.scale_down.tolerance_percent))
        + spec.headroom_replicas
    )


def _ceil(dividend: int, divisor: int) -> int:
    return -(-dividend // divisor)
