"""How often a store begins to store: seldom enough that batches carry several messages each."""

from __future__ import annotations

from typing import Final

SHORTEST_SECONDS: Final = 0.005
LONGEST_SECONDS: Final = 0.04
"""What a message may wait for company, about: half of it on average."""
AIM: Final = 14.0
"""Messages that a gateway's batch should carry: a batch costs as much as several messages, see
docs/performance.md."""
_GAIN: Final = 0.1
"""What a group counts in the average: the last ten or so decide, a fraction of a second."""


class Pace:
    """The time between the beginnings of two groups, which follows the size of the batches in them.

    Messages in a batch, not in a group: with twice the gateways at the same load a group is twice as dear.
    Under a load that fills batches anyway the pace is the shortest.

    Attributes:
        seconds: The pace.
    """

    def __init__(self) -> None:
        self.seconds = SHORTEST_SECONDS

    def note(self, batches: int, messages: int) -> None:
        """Take in the size of a group."""
        wanted = self.seconds * AIM * batches / max(messages, 1)
        bounded = min(max(wanted, SHORTEST_SECONDS), LONGEST_SECONDS)
        self.seconds += (bounded - self.seconds) * _GAIN
