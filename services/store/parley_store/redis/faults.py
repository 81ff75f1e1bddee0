"""What Redis's errors mean for whoever asked the store."""

from __future__ import annotations

import logging
from typing import Final

from redis.exceptions import AskError, MovedError, NoScriptError, ResponseError

from parley_shared.errors import INTERNAL, LATE, UNAVAILABLE, ParleyError

logger = logging.getLogger(__name__)

_PASSING: Final = (
    "OOM",  # memory is full
    "READONLY",  # a replica, or a master that has just become one
    "MISCONF",  # the disk is full: Redis refuses writes it cannot save
    "LOADING",  # it reads its file
    "CLUSTERDOWN",  # slots without a server
    "TRYAGAIN",  # a slot on its way to another server
    "MASTERDOWN",
    "NOREPLICAS",  # min-replicas-to-write
    "BUSY",  # a script runs for long
    "UNBLOCKED",  # a wait ended by a change of role
    "NOAUTH",
    "WRONGPASS",
    "NOPERM",
)
"""How errors begin that say nothing about the request: the same one can succeed later."""


def translate(error: ResponseError) -> ParleyError:
    """Turn an error that Redis answered into one of the table.

    redis-py takes the leading word off the errors it has a class for; the class's name then tells.
    """
    text = str(error)
    word = text.partition(" ")[0]
    if word == "LATE":
        return ParleyError(LATE)
    kind = type(error).__name__
    if word in _PASSING or kind != "ResponseError":
        return ParleyError(UNAVAILABLE, f"Redis cannot do this now ({word if word in _PASSING else kind})")
    # A fault of ours: the text names a script and a line, never a value.
    logger.error("Redis refused a command", extra={"reason": text[:200]})
    return ParleyError(INTERNAL)


def is_moved(answer: object) -> bool:
    """Whether the command was sent to the wrong server of a cluster."""
    return isinstance(answer, MovedError | AskError)


def is_unknown_script(answer: object) -> bool:
    """Whether the server does not have the script: it is in another life than we knew."""
    return isinstance(answer, NoScriptError)
