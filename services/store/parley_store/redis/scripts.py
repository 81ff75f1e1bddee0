"""The Lua scripts: read from their files once, and made for one life of one Redis server.

The text of a script carries the server's incarnation, so its hash is another one in each life. A server
forgets its scripts when it ends: a call under the old hash then fails, and never runs in the wrong life.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from importlib.resources import files


@dataclass(frozen=True, slots=True)
class Script:
    """One script: ``name`` is that of its file, and its label in metrics."""

    name: str
    body: str

    def text(self, incarnation: str) -> str:
        """Make the text for one life of a server."""
        return f"local INCARNATION = '{incarnation}'\n{_read('common')}\n{self.body}"


@cache
def _read(name: str) -> str:
    return (files("parley_store") / "lua" / f"{name}.lua").read_text(encoding="utf-8")


def _script(name: str) -> Script:
    return Script(name, _read(name))


APPEND = _script("append")
ATTACH = _script("attach")
CLAIM = _script("claim")
CONFIRM = _script("confirm")
DELIVER = _script("deliver")
DETACH = _script("detach")
DUE = _script("due")
ENROL = _script("enrol")
EVENTS = _script("events")
HOLD = _script("hold")
LAPSE = _script("lapse")
LEASE = _script("lease")
LOSE = _script("lose")
READ = _script("read")
ROSTER = _script("roster")
SESSION = _script("session")
SETTLE = _script("settle")
SETTLED = _script("settled")
SNAPSHOT = _script("snapshot")
WITHDRAW = _script("withdraw")

SCRIPTS = (
    APPEND,
    ATTACH,
    CLAIM,
    CONFIRM,
    DELIVER,
    DETACH,
    DUE,
    ENROL,
    EVENTS,
    HOLD,
    LAPSE,
    LEASE,
    LOSE,
    READ,
    ROSTER,
    SESSION,
    SETTLE,
    SETTLED,
    SNAPSHOT,
    WITHDRAW,
)
"""All scripts a server needs."""
