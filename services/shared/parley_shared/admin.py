"""The administrators' API: the shapes of what is asked and answered.

It is served by the store on its internal port under ``/admin``, to whoever shows one of ADMIN_TOKENS, and
described by ``/admin/openapi.json``. Failures have the shape `parley_shared.api.Failure`. Times are
milliseconds since the Unix epoch.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import UNSET, Meta, Struct, UnsetType

from parley_shared.api import Relations
from parley_shared.people import Erasure, SessionInfo

PREFIX = "/admin"

ANNOUNCEMENT_MAX = 2000
"""Longest announcement, in characters."""


class Person(Struct, kw_only=True):
    """A known user."""

    user: str
    username: str
    online: bool


class PersonPage(Struct, kw_only=True):
    """Users in the order of their names; ``after`` asks for the next page, None at the end."""

    users: list[Person]
    after: str | None


class Online(Struct, kw_only=True):
    """Users who are online, as far as ROSTER_LIMIT goes; ``known`` counts all users, online or not."""

    users: list[Person]
    known: int


class PersonDetail(Struct, kw_only=True):
    """One user: the gateways that hold them, their sessions and relations, and how many conversations."""

    user: str
    username: str | None
    online: bool
    gateways: list[str]
    sessions: list[SessionInfo]
    relations: Relations
    conversations: int


class Ended(Struct, kw_only=True):
    """How many sessions were ended, or on how many gateways sockets are."""

    ended: int


class RelationChange(Struct, kw_only=True):
    """What is to be changed: True, False, or left as it is."""

    block: bool | UnsetType = UNSET
    mute: bool | UnsetType = UNSET


class Retention(Struct, kw_only=True):
    """The rules of a conversation.

    ``keep_seconds``: the age its messages may reach, 0 any age; None: as the settings say. ``hold``: nothing
    of it is removed.
    """

    keep_seconds: int | None
    hold: bool


class RetentionChange(Struct, kw_only=True):
    """What is to be changed of a conversation's rules; what is left out stays."""

    keep_seconds: Annotated[int, Meta(ge=0, le=36600 * 86400)] | UnsetType | None = UNSET
    hold: bool | UnsetType = UNSET


class Erasures(Struct, kw_only=True):
    """Erasures, the newest first."""

    erasures: list[Erasure]


class Announce(Struct, kw_only=True):
    """A text for everybody who is connected."""

    content: Annotated[str, Meta(min_length=1, max_length=ANNOUNCEMENT_MAX)]


class Told(Struct, kw_only=True):
    """How many gateways were told."""

    gateways: int


class Stored(Struct, kw_only=True):
    """What one kind of data amounts to; bytes as Redis reckons them."""

    items: int
    bytes: int


class StorageReport(Struct, kw_only=True):
    """What was stored at the last count. ``at`` 0: there has been none yet."""

    at: int
    seconds: float
    kinds: dict[str, Stored]


class AuditEntry(Struct, kw_only=True, omit_defaults=True):
    """One act: when, who (a token's fingerprint, or ``user``), what, on whom. Ids only."""

    at: int
    actor: str
    act: str
    on: dict[str, str] = msgspec.field(default_factory=dict)
    id: str = ""


class AuditPage(Struct, kw_only=True):
    """Acts, the newest first; ``before`` asks for older ones, None at the end."""

    entries: list[AuditEntry]
    before: str | None
