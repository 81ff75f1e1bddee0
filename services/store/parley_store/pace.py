"""How often a store begins to store: seldom enough that batches carry several messages each."""

from __future__ import annotations

import math
from typing import Final

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.08
"""What a message may wait for company, about: half of it on average, and nobody sees a tenth of a second."""
AIM: Final = 10.0
"""Messages that a gateway's batch should carry: a batch costs as much as several messages, see
docs/performance.md."""
FEW: Final = 4.0
"""Where even the longest pause would gather fewer messages than this, waiting saves next to nothing."""
_GAIN: Final = 0.1
"""What a group counts in the average: the last ten or so decide, a fraction of a second."""


class Pace:
    """The time between the beginnings of two groups, which follows the size of the batches in them.

    Messages in a batch, not in a group: with twice the gateways at the same load a group is twice as dear.
    Under a load that fills batches anyway the pace is the shortest, and where messages are few it is too.

    Attributes:
        seconds: The pace.
    """

    def __init__(self) -> None:
        self.seconds = SHORTEST_SECONDS
        self._per_second = 0.0
        self._noted = 0.0

    def note(self, batches: int, messages: int, now: float) -> None:
        """Take in the size of a group that begins at a time (s, of whatever steady clock)."""
        # What came in the last second or so, the older the less of it.
        self._per_second = self._per_second * math.exp(self._noted - now) + messages
        self._noted = now
        if self._per_second * LONGEST_SECONDS < FEW:
            self.seconds = SHORTEST_SECONDS
            return
        wanted = self.seconds * AIM * batches / max(messages, 1)
        bounded = min(max(wanted, SHORTEST_SECONDS), LONGEST_SECONDS)
        self.seconds += (bounded - self.seconds) * _GAIN
