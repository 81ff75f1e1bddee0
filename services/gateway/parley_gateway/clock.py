"""Redis's clock, as far as this gateway knows it."""

from __future__ import annotations

import time


class RedisClock:
    """Estimates Redis's time from answers that carry it, so that deadlines mean the same on both sides.

    The estimate is off by at most ``error_ms``: half of the quickest round trip seen.
    """

    def __init__(self) -> None:
        self._offset_ms = 0.0
        self.error_ms = float("inf")
        self._measured_at = 0.0

    def observe(self, redis_ms: int, sent_at: float, received_at: float) -> None:
        """Take in an answer.

        Args:
            redis_ms: Redis's time in the answer, in ms since the epoch.
            sent_at: When the request was sent, by `time.monotonic`.
            received_at: When the answer came, by `time.monotonic`.
        """
        error = (received_at - sent_at) * 500
        # A better measurement replaces the old one at once, any measurement does after a minute (drift).
        if error <= self.error_ms or received_at - self._measured_at > 60:
            self._offset_ms = redis_ms - (sent_at + received_at) * 500
            self.error_ms = error
            self._measured_at = received_at

    def now_ms(self) -> int:
        """Return Redis's time in ms since the epoch; before the first observation, this machine's."""
        if self._measured_at == 0.0:
            return int(time.time() * 1000)
        return int(time.monotonic() * 1000 + self._offset_ms)
