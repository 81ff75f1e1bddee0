"""Offsets: the opaque strings by which a client says what it has seen.

``1.EPOCH.COUNTER.ROSTEREPOCH.VERSION`` names a place in the user's inbox and in the roster's log. The
JavaScript client (4.6 and later) keeps the last argument of every event, when it is a string, and sends it
back when it reconnects.
"""

from __future__ import annotations

import re
from typing import Final

from parley_shared.api import Position

_OFFSET: Final = re.compile(r"1\.([0-9A-Za-z_\-]{1,32})\.(\d{1,15})\.([0-9A-Za-z_\-]{1,32})\.(\d{1,15})")


def encode(epoch: str, counter: int, roster_epoch: str, roster_version: int) -> bytes:
    """Make an offset, as a quoted JSON string."""
    return b'"1.%b.%d.%b.%d"' % (epoch.encode(), counter, roster_epoch.encode(), roster_version)


def decode(offset: object) -> Position | None:
    """Read an offset that a client sent back; None when it is none of ours."""
    if not isinstance(offset, str) or (match := _OFFSET.fullmatch(offset)) is None:
        return None
    return Position(epoch=match[1], counter=int(match[2]), roster_epoch=match[3], roster=int(match[4]))
