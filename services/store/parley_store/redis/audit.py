"""The audit log: who did what to whom, in the log and in Redis. It holds ids and nothing else."""

from __future__ import annotations

import logging
import re
from typing import Final

import msgspec

from parley_shared import admin
from parley_shared.errors import MALFORMED, ParleyError
from parley_store.redis import keys
from parley_store.redis.base import Base

logger = logging.getLogger("parley.audit")

MAXLEN: Final = 10_000
"""Acts that are kept in Redis; the log of the process has them all."""

_CURSOR: Final = re.compile(r"(?!0+-0+$)[0-9]{1,19}-[0-9]{1,19}")
"""An id of Redis: two numbers of 64 bits, of which one is not zero."""

_encode: Final = msgspec.json.Encoder().encode
_decode: Final = msgspec.json.Decoder(admin.AuditEntry).decode


class Audit:
    """Writes and reads it."""

    def __init__(self, base: Base) -> None:
        self._base = base

    async def note(self, actor: str, act: str, **on: str) -> None:
        """Note an act before it is done; one that cannot be noted must not be done.

        Raises:
            ParleyError: ``unavailable``.
        """
        entry = admin.AuditEntry(at=await self._base.now_ms(), actor=actor, act=act, on=on)
        command = ("XADD", keys.AUDIT_LOG, "MAXLEN", "~", MAXLEN, "*", "d", _encode(entry))
        await self._base.topology.run([(keys.AUDIT, command)], "audit")
        logger.info(act, extra={"actor": actor, **on})

    async def page(self, before: str | None, limit: int) -> admin.AuditPage:
        """Read acts, the newest first.

        Raises:
            ParleyError: ``malformed``: ``before`` is not from a page before.
        """
        if before is not None and not _CURSOR.fullmatch(before):
            raise ParleyError(MALFORMED, "before: this is not from a page before")
        newest = "+" if before is None else f"({before}"
        command = ("XREVRANGE", keys.AUDIT_LOG, newest, "-", "COUNT", limit + 1)
        (entries,) = await self._base.topology.run([(keys.AUDIT, command)], "audit")
        page = []
        for number, fields in entries[:limit]:
            entry = _decode(fields[1])
            entry.id = number.decode()
            page.append(entry)
        more = len(entries) > limit
        return admin.AuditPage(entries=page, before=page[-1].id if more else None)
