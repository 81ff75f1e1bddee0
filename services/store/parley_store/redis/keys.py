"""The names of all keys, and which slot of a Redis Cluster each belongs to.

What goes into one script shares a tag (the part in braces), so that it lies in one slot.
"""

from __future__ import annotations

from typing import Final

from parley_shared.api import ROSTER_LOG

GATEWAYS: Final = "gateways"
"""The tag of what concerns all gateways."""
CONVERSATIONS: Final = "conversations"
"""The tag of what concerns all conversations."""
ROSTER: Final = "roster"
"""The tag of what concerns the presence of all users."""

LEASES: Final = "{gateways}:leases"
INFO: Final = "{gateways}:info"
REAPING: Final = "{gateways}:reaping"
LOOKS: Final = "{gateways}:looks"

VISITS: Final = "{conversations}:due"

ERASURES: Final = "erasures"
"""The tag of what concerns all erasures."""
ERASURES_DUE: Final = "{erasures}:due"
RECENT_ERASURES: Final = "{erasures}:recent"

AUDIT: Final = "audit"
AUDIT_LOG: Final = "{audit}:log"
STORAGE: Final = "storage"
"""The tag of the counts of what is stored."""
STORAGE_REPORT: Final = "{storage}:report"
STORAGE_CLAIM: Final = "{storage}:claim"

LOG: Final = ROSTER_LOG
STATE: Final = "{roster}:state"
RANK: Final = "{roster}:rank"
NAMES: Final = "{roster}:names"
META: Final = "{roster}:meta"
DUE: Final = "{roster}:due"


def session(session_id: str) -> str:
    """Name a session."""
    return f"session:{{{session_id}}}"


def recover(pid: str) -> str:
    """Name what is known of a recovery id."""
    return f"recover:{{{pid}}}"


def user(user_id: str) -> str:
    """Name a user's own hash: name, numbering of the inbox, whether online."""
    return f"user:{{{user_id}}}"


def presence(user_id: str) -> str:
    """Name the gateways that hold a user."""
    return f"presence:{{{user_id}}}"


def inbox(user_id: str) -> str:
    """Name a user's numbered events."""
    return f"inbox:{{{user_id}}}"


def peers(user_id: str) -> str:
    """Name a user's contacts: per peer the last seq that is in the inbox, its time, and both read marks."""
    return f"peers:{{{user_id}}}"


def of_user(user_id: str) -> tuple[str, str, str, str]:
    """Name every key of a user; they live and expire together."""
    return (
        f"user:{{{user_id}}}",
        f"presence:{{{user_id}}}",
        f"inbox:{{{user_id}}}",
        f"peers:{{{user_id}}}",
    )


def for_events(user_id: str) -> tuple[str, str, str]:
    """Name the keys that an event of a user's inbox touches, in the order of the scripts."""
    return f"user:{{{user_id}}}", f"inbox:{{{user_id}}}", f"peers:{{{user_id}}}"


def sessions(user_id: str) -> str:
    """Name a user's sessions, by last use."""
    return f"sessions:{{{user_id}}}"


def recoveries(user_id: str) -> str:
    """Name the recovery ids of a user's sockets, by the time they were made."""
    return f"recoveries:{{{user_id}}}"


def erased(user_id: str) -> str:
    """Name the mark of a user who is being erased: nothing new is kept of them while it is there."""
    return f"erased:{{{user_id}}}"


def erasure(job: str) -> str:
    """Name the job that erases a user."""
    return f"erasure:{{{job}}}"


def conversations(user_id: str) -> str:
    """Name those a user has a conversation with, by when that was noted."""
    return f"conversations:{{{user_id}}}"


def relations(user_id: str) -> str:
    """Name whom a user has blocked and muted."""
    return f"relations:{{{user_id}}}"


def blockers(user_id: str) -> str:
    """Name those who block a user."""
    return f"blockers:{{{user_id}}}"


def muters(user_id: str) -> str:
    """Name those who have muted a user."""
    return f"muters:{{{user_id}}}"


def rules(conversation: str) -> str:
    """Name what was decided about a conversation: blocks, its own retention, a legal hold."""
    return f"rules:{{{conversation}}}"


def kept(conversation: str) -> tuple[str, str, str]:
    """Name what a conversation's life is about: messages, numbering, rules."""
    return f"messages:{{{conversation}}}", f"conversation:{{{conversation}}}", f"rules:{{{conversation}}}"


def messages(conversation: str) -> str:
    """Name the messages of a conversation."""
    return f"messages:{{{conversation}}}"


def of_conversation(conversation: str) -> tuple[str, str, str, str, str]:
    """Name every key of a conversation: messages, numbering, the two generations of ids, rules."""
    return (
        f"messages:{{{conversation}}}",
        f"conversation:{{{conversation}}}",
        f"ids:{{{conversation}}}:0",
        f"ids:{{{conversation}}}:1",
        f"rules:{{{conversation}}}",
    )


def sockets(gateway: str) -> str:
    """Name the users with a socket on a gateway."""
    return f"sockets:{{{gateway}}}"


def pids(gateway: str) -> str:
    """Name the recovery ids of the sockets on a gateway."""
    return f"pids:{{{gateway}}}"
