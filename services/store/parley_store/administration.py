"""What administrators may do, whatever the store keeps its data in."""

from __future__ import annotations

from typing import Protocol

from parley_shared import admin, api, people


class Administration(Protocol):
    """Each method raises `ParleyError`: ``unavailable``, ``not_found``, ``malformed``, or what it says."""

    async def note(self, actor: str, act: str, **on: str) -> None:
        """Note an act in the audit log, before it is done."""

    async def audit(self, before: str | None, limit: int) -> admin.AuditPage:
        """Read the audit log, the newest acts first."""

    async def search(self, query: str, after: str | None, limit: int) -> admin.PersonPage:
        """Find users by the beginning of their names."""

    async def online(self) -> admin.Online:
        """List who is online."""

    async def person(self, user: str) -> admin.PersonDetail:
        """Describe a user."""

    async def kick(self, user: str) -> admin.Ended:
        """End a user's sockets; the sessions stay good."""

    async def relate(self, user: str, peer: str, change: admin.RelationChange) -> api.Relations:
        """Block or mute on behalf of a user, or undo it."""

    async def erasures(self) -> admin.Erasures:
        """List erasures, the newest first."""

    async def erasure(self, job: str) -> people.Erasure:
        """Describe an erasure."""

    async def retention(self, one: str, other: str) -> admin.Retention:
        """Read the rules of a conversation."""

    async def retain(self, one: str, other: str, change: admin.RetentionChange) -> admin.Retention:
        """Change the rules of a conversation."""

    async def storage(self) -> admin.StorageReport:
        """Tell what is stored."""

    async def announce(self, content: str) -> admin.Told:
        """Tell a text to everybody who is connected."""

    async def drain(self, gateway: str, *, on: bool) -> admin.Told:
        """Have a gateway empty itself, or take clients again."""
