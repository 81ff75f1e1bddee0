"""The commands: what each takes, and what it asks of the API."""

from __future__ import annotations

import argparse
import contextlib
import itertools
import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

from parley_store.ctl.client import CallError, Client

Command = Callable[[Client, argparse.Namespace], Any]
"""Returns what is to be shown; None when everything was shown already."""

_DAYS: Final = re.compile(r"([0-9]{1,9})(s|m|h|d)?")
_UNITS: Final = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_WAIT_SECONDS: Final = 1.0
"""Between two looks at an erasure that is waited for."""


def add_commands(parser: argparse.ArgumentParser) -> None:
    """Declare all commands."""
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, meaning: str, run: Command, *arguments: str) -> argparse.ArgumentParser:
        command = commands.add_parser(name, help=meaning, description=meaning)
        for argument in arguments:
            command.add_argument(argument, metavar=argument.upper())
        command.set_defaults(run=run)
        return command

    add("gateways", "gateways and their connections", lambda api, _: api.call("GET", "gateways"))
    add("drain", "empty a gateway without ending it", _drain("POST"), "gateway")
    add("undrain", "let it take clients again", _drain("DELETE"), "gateway")
    add("announce", "tell a text to everybody who is connected", _announce, "text")
    add("online", "who is online", lambda api, _: api.call("GET", "online"))
    users = add("users", "users by the beginning of their names", _users)
    users.add_argument("query", metavar="NAME", nargs="?", default="")
    add("user", "one user: sessions, relations, gateways", _user, "user")
    revoke = add("revoke", "end a session of a user, or all", _revoke, "user")
    revoke.add_argument("session", metavar="SESSION", nargs="?", help="as `user` lists them; default: all")
    add("kick", "end a user's sockets; the sessions stay good", _kick, "user")
    for name, change in (
        ("block", {"block": True}),
        ("unblock", {"block": False}),
        ("mute", {"mute": True}),
        ("unmute", {"mute": False}),
    ):
        add(name, f"{name} PEER on behalf of USER", _relate(change), "user", "peer")
    export = add("export", "all that is kept of a user, as JSON lines", _export, "user")
    export.add_argument("--file", type=Path, help="where to write it; default: standard output")
    erase = add("erase", "remove all that is kept of a user, for good", _erase, "user")
    erase.add_argument("--yes", action="store_true", help="do not ask")
    erase.add_argument("--wait", action="store_true", help="until it is done")
    erasures = add("erasures", "erasures, the newest first, or one of them", _erasures)
    erasures.add_argument("job", metavar="JOB", nargs="?")
    retention = add("retention", "show or change how long a conversation is kept", _retention, "user", "peer")
    retention.add_argument(
        "--keep", type=_keep, help="age its messages may reach: 90d, 12h, `ever`, or `default`"
    )
    hold = retention.add_mutually_exclusive_group()
    hold.add_argument("--hold", dest="hold", action="store_true", default=None, help="put a legal hold on it")
    hold.add_argument("--release", dest="hold", action="store_false", help="lift the hold")
    add("storage", "what is stored, by kind", lambda api, _: api.call("GET", "storage"))
    audit = add("audit", "acts of administrators, the newest first", _audit)
    audit.add_argument("--before", help="from the page before")


def _drain(method: str) -> Command:
    return lambda api, given: api.call(method, "gateways", given.gateway, "drain")


def _announce(api: Client, given: argparse.Namespace) -> Any:
    return api.call("POST", "announce", body={"content": given.text})


def _users(api: Client, given: argparse.Namespace) -> Any:
    found: list[Any] = []
    query = {"query": given.query, "limit": "200"}
    while True:
        page = api.call("GET", "users", query=query)
        found += page["users"]
        if page["after"] is None:
            return {"users": found}
        query["after"] = page["after"]


def _user(api: Client, given: argparse.Namespace) -> Any:
    return api.call("GET", "users", given.user)


def _revoke(api: Client, given: argparse.Namespace) -> Any:
    path = ("users", given.user, "sessions", *([given.session] if given.session else []))
    return _ended(api.call("DELETE", *path), "such a session" if given.session else "session")


def _kick(api: Client, given: argparse.Namespace) -> Any:
    return _ended(api.call("POST", "users", given.user, "kick"), "socket")


def _ended(answer: Any, what: str) -> Any:
    """Say why nothing was ended: the user has none. A repeat is no failure."""
    if answer["ended"] == 0:
        sys.stderr.write(f"parleyctl: nothing was ended: the user has no {what}\n")
    return answer


def _relate(change: dict[str, bool]) -> Command:
    return lambda api, given: api.call("PUT", "users", given.user, "relations", given.peer, body=change)


def _export(api: Client, given: argparse.Namespace) -> None:
    blocks = api.blocks("users", given.user, "export")
    # Before a file is made: of nobody there is nothing to write.
    first = next(blocks, b"")
    with contextlib.ExitStack() as stack:
        out = sys.stdout.buffer
        if given.file is not None:
            try:
                # It is somebody's private data: for nobody else to read.
                given.file.touch(mode=0o600)
                out = stack.enter_context(given.file.open("wb"))
            except OSError as error:
                raise CallError(f"{given.file}: {error.strerror}") from error
        for block in itertools.chain([first], blocks):
            out.write(block)
        out.flush()


def _erase(api: Client, given: argparse.Namespace) -> Any:
    if not given.yes:
        sys.stderr.write(f"Everything that is kept of {given.user} will be removed. Type the id to go on: ")
        sys.stderr.flush()
        if sys.stdin.readline().strip() != given.user:
            raise CallError("nothing was erased")
    erasure = api.call("POST", "users", given.user, "erase")
    while given.wait and erasure["state"] != "done":
        time.sleep(_WAIT_SECONDS)
        erasure = api.call("GET", "erasures", erasure["job"])
    return erasure


def _erasures(api: Client, given: argparse.Namespace) -> Any:
    return api.call("GET", "erasures", *([given.job] if given.job else []))


def _retention(api: Client, given: argparse.Namespace) -> Any:
    path = ("conversations", given.user, given.peer, "retention")
    change: dict[str, Any] = {}
    if given.keep is not None:
        change["keep_seconds"] = None if given.keep < 0 else given.keep
    if given.hold is not None:
        change["hold"] = given.hold
    return api.call("PUT", *path, body=change) if change else api.call("GET", *path)


def _audit(api: Client, given: argparse.Namespace) -> Any:
    return api.call("GET", "audit", query={"before": given.before} if given.before else None)


def _keep(text: str) -> int:
    """Read an age in seconds; -1: the default's."""
    if text == "default":
        return -1
    if text == "ever":
        return 0
    match = _DAYS.fullmatch(text)
    if match is None or int(match[1]) == 0:
        raise argparse.ArgumentTypeError("expected an age such as 90d or 12h, `ever` or `default`")
    return int(match[1]) * _UNITS[match[2] or "s"]
