"""The Lua scripts: read from their files once, and made for one life of one Redis server.

The text of a script carries the server's incarnation, so its hash is another one in each life. A server
forgets its scripts when it ends: a call under the old hash then fails, and never runs in the wrong life.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any


@dataclass(frozen=True, slots=True)
class Script:
    """One script.

    Attributes:
        name: That of its file, and its label in metrics.
        body: The file's text.
        values: How many values an item's result is in the one list of all; 0: each result is a list element
            of its own. A table for each item costs Redis more than what is in it, so what runs for every
            message has none.
        when_full: Whether it may run when Redis's memory is full: what keeps leases and presence right must,
            or all gateways would be taken for dead. Redis refuses the others before they begin.
    """

    name: str
    body: str
    when_full: bool
    values: int = 0

    def text(self, incarnation: str) -> str:
        """Make the text for one life of a server."""
        flags = " flags=allow-oom" if self.when_full else ""
        return f"#!lua{flags}\nlocal INCARNATION = '{incarnation}'\n{_read('common')}\n{self.body}"

    def results(self, answer: Sequence[Any]) -> Iterable[Any]:
        """Divide the answer to a call into the results of its items."""
        return zip(*[iter(answer)] * self.values, strict=True) if self.values else answer


@cache
def _read(name: str) -> str:
    return (files("parley_store") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str, *, when_full: bool = True, values: int = 0) -> Script:
    return Script(name, _read(name), when_full, values)


APPEND = _script("append", when_full=False, values=7)
ATTACH = _script("attach", when_full=False)
BLOCK = _script("block")
CLAIM = _script("claim")
CONFIRM = _script("confirm")
DELIVER = _script("deliver", values=5)
DETACH = _script("detach")
DUE = _script("due")
ENLIST = _script("enlist", when_full=False)
ENROL = _script("enrol")
EVENTS = _script("events")
FORGET = _script("forget")
HOLD = _script("hold", when_full=False)
KEEP = _script("keep")
LAPSE = _script("lapse")
LEASE = _script("lease")
LOSE = _script("lose")
NOTE = _script("note")
NOTED = _script("noted")
PURGE = _script("purge")
READ = _script("read")
RELATE = _script("relate")
ROSTER = _script("roster")
RULE = _script("rule")
SESSION = _script("session", when_full=False)
SETTLE = _script("settle")
SETTLED = _script("settled")
SNAPSHOT = _script("snapshot")
SOON = _script("soon")
STEP = _script("step")
TEND = _script("tend")
WIPE = _script("wipe")
WITHDRAW = _script("withdraw")

SCRIPTS = (
    APPEND,
    ATTACH,
    BLOCK,
    CLAIM,
    CONFIRM,
    DELIVER,
    DETACH,
    DUE,
    ENLIST,
    ENROL,
    EVENTS,
    FORGET,
    HOLD,
    KEEP,
    LAPSE,
    LEASE,
    LOSE,
    NOTE,
    NOTED,
    PURGE,
    READ,
    RELATE,
    ROSTER,
    RULE,
    SESSION,
    SETTLE,
    SETTLED,
    SNAPSHOT,
    SOON,
    STEP,
    TEND,
    WIPE,
    WITHDRAW,
)
"""All scripts a server needs."""
