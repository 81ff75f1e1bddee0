"""Identifiers: who makes them, how long they are, and how much chance is in them."""

from __future__ import annotations

import secrets
from typing import Final

MESSAGE_ID_MAX: Final = 64
"""Longest message id a client may choose, in characters."""

USERNAME_MAX: Final = 64
"""Longest username, in characters."""


def secret_id() -> str:
    """Make an id that is a credential (sessionID, pid): 160 random bits, URL-safe, 27 characters."""
    return secrets.token_urlsafe(20)


def user_id() -> str:
    """Make a userID: public, unique, 64 random bits in 16 hex digits."""
    return secrets.token_hex(8)


def message_id() -> str:
    """Make an id for a message whose sender gave none: unique, 16 characters."""
    return secrets.token_urlsafe(12)


def gateway_id() -> str:
    """Make the id of one life of a gateway: 10 characters of [0-9a-f], new at each start."""
    return secrets.token_hex(5)


def epoch() -> str:
    """Make the epoch of a numbering: 6 characters, new whenever numbers may start over."""
    return secrets.token_hex(3)


def conversation_id(one: str, other: str) -> str:
    """Name the conversation of two users, the same whoever asks: ``a:b`` with a <= b."""
    return f"{one}:{other}" if one <= other else f"{other}:{one}"
