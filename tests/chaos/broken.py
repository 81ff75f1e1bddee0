"""A gateway that breaks the first promise, to show that the checker sees it (run as ``tests.chaos.broken``).

It acknowledges a message before the store has answered, with the number that it expects the message to get.
Everything else is the product's own code, unchanged.
"""

from __future__ import annotations

import sys
import time
from collections import Counter

from parley_gateway import __main__ as gateway
from parley_gateway.lanes import Lane, Outgoing
from parley_shared import api, ids
from parley_shared.errors import Code
from parley_shared.runtime import run

_numbers: Counter[str] = Counter()
_submit = Lane.submit


def _acknowledge_then_store(self: Lane, message: Outgoing) -> bool:
    conversation = ids.conversation_id(message.send.from_, message.send.to)
    _numbers[conversation] += 1
    message.finish(api.Appended(seq=_numbers[conversation], at=int(time.time() * 1000)))
    return _submit(self, Outgoing(message.send, _ignore))


def _ignore(result: api.Appended | Code) -> None:
    """Nobody is left to hear of it."""


if __name__ == "__main__":
    setattr(Lane, "submit", _acknowledge_then_store)  # noqa: B010 -- the point of this module
    sys.exit(run(gateway.main))
