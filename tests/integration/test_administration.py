"""Administration with real processes: the API on the store's internal port, its description, parleyctl."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import aiohttp
import pytest

from tests.harness.js_client import JsDriver
from tests.harness.people import People
from tests.harness.stack import Stack
from tests.harness.waiting import eventually

ADMIN = "administrators-test-token"
PARLEYCTL = Path(sys.executable).with_name("parleyctl")
SETTINGS = {"ADMIN_TOKENS": ADMIN, "ERASURE_DELAY": "0", "RECOVERY_WINDOW": "1s", "STORAGE_REPORT": "1s"}


class Result(NamedTuple):
    """How a run of parleyctl ended."""

    status: int
    out: str
    err: str


@pytest.fixture(scope="module")
def administered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """Two gateways and two stores with an administrators' API."""
    folder = tmp_path_factory.mktemp("administered")
    with Stack(folder, gateways=2, stores=2, settings=SETTINGS) as running:
        yield running
        errors = running.errors()
    assert not errors, errors


@pytest.fixture
def people(administered: Stack, js: JsDriver) -> People:
    """People over WebSocket."""
    return People(administered, js)


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    """An HTTP client that shows the token."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN}"}) as session:
        yield session


def admin_url(stack: Stack, store: int = 0) -> str:
    """The address of a store's administration."""
    return f"http://127.0.0.1:{stack.stores[store].internal_port}/admin"


async def ctl(stack: Stack, *arguments: str, answer: str = "", token: str = ADMIN) -> Result:
    """Run parleyctl to its end."""
    process = await asyncio.create_subprocess_exec(
        PARLEYCTL,
        "--url",
        admin_url(stack).removesuffix("/admin"),
        *arguments,
        env={**os.environ, "ADMIN_TOKENS": token},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await process.communicate(answer.encode())
    assert process.returncode is not None
    return Result(process.returncode, out.decode(), err.decode())


async def ask(stack: Stack, *arguments: str) -> Any:
    """Run parleyctl and read its answer as JSON."""
    result = await ctl(stack, "--output", "json", *arguments)
    assert result.status == 0, result.err
    return json.loads(result.out)


async def test_the_api_needs_its_own_token(administered: Stack) -> None:
    """Neither no token, nor the services' one, nor another opens it; and it is on no other port."""
    tokens = ("", administered.stores[0].settings["SERVICE_TOKENS"], "another-token-of-16")
    async with aiohttp.ClientSession() as session:
        for token in tokens:
            for path in ("/gateways", "/openapi.json", "/nothing", "/users/x/erase"):
                headers = {"Authorization": f"Bearer {token}"}
                async with session.get(admin_url(administered) + path, headers=headers) as answer:
                    assert answer.status == 401
        port = administered.stores[0].settings["STORE_PORT"]
        headers = {"Authorization": f"Bearer {ADMIN}"}
        async with session.get(f"http://127.0.0.1:{port}/admin/gateways", headers=headers) as answer:
            assert answer.status in {401, 404}


async def test_without_a_token_there_is_no_api(stack: Stack) -> None:
    """A store without ADMIN_TOKENS knows none of its addresses."""
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {ADMIN}"}) as session:
        for path in ("/gateways", "/openapi.json"):
            async with session.get(admin_url(stack) + path) as answer:
                assert answer.status == 404
    result = await ctl(stack, "gateways")
    assert (result.status, result.out) == (1, "")
    assert "has no ADMIN_TOKENS" in result.err


async def test_every_described_address_answers_as_described(
    administered: Stack, http: aiohttp.ClientSession
) -> None:
    """The description's addresses exist, check what they are given, and answer in the described shapes."""
    base = admin_url(administered).removesuffix("/admin")
    async with http.get(base + "/admin/openapi.json") as answer:
        document = await answer.json()
    assert document["openapi"] == "3.1.0"
    operations = [
        (method.upper(), path, operation)
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    ]
    assert len(operations) > 15
    for method, path, operation in operations:
        if "requestBody" in operation:
            filled = re.sub(r"\{\w+\}", "an-id", path)
            for body in (b"", b"[]", b'{"hold": 3, "block": 3, "content": 3}'):
                async with http.request(method, base + filled, data=body) as answer:
                    assert (answer.status, (await answer.json())["code"]) == (400, "malformed")
        if "{" in path:
            bad = re.sub(r"\{\w+\}", "not%20an%20id", path)
            async with http.request(method, base + bad, json={}) as answer:
                assert (answer.status, (await answer.json())["code"]) == (400, "malformed")
        if method == "GET" and "{" not in path:
            async with http.get(base + path) as answer:
                assert answer.status == 200
                shape = operation["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
                required = document["components"]["schemas"][shape.rpartition("/")[2]].get("required", [])
                assert set(required) <= set(await answer.json())
            async with http.get(base + path, params={"misspelt": "1"}) as answer:
                assert answer.status == 400


async def test_a_session_revoked_by_an_administrator_ends_everywhere(
    people: People, administered: Stack
) -> None:
    """Its sockets on both gateways are told and end; another user's stay."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    tab = await people.tab(ann, 1)
    (session,) = (await ask(administered, "user", ann.user_id))["sessions"]
    assert session["session"] != ann.session_id
    assert await ask(administered, "revoke", ann.user_id, session["session"]) == {"ended": 1}
    for socket in (ann, tab):
        assert (await socket.journal.event("session ended"))["reason"] == "revoked"
        await socket.journal.disconnected()
    assert (await bob.send("still here", bob.user_id))["ok"]
    assert await ask(administered, "revoke", ann.user_id) == {"ended": 0}


async def test_a_kicked_user_can_come_back(people: People, administered: Stack) -> None:
    """The sockets end, the session stays good."""
    ann = await people.join("ann")
    assert await ask(administered, "kick", ann.user_id) == {"ended": 1}
    assert (await ann.journal.event("session ended"))["reason"] == "kicked"
    again = await people.enter(administered.gateway_url(1), {"sessionID": ann.session_id}, "again")
    assert again.user_id == ann.user_id


async def test_who_is_there(people: People, administered: Stack) -> None:
    """Gateways with their connections, who is online, and people by the beginning of their names."""
    ann = await people.join("Zoe the first")

    async def all_ready() -> bool:
        gateways = (await ask(administered, "gateways"))["gateways"]
        return len(gateways) == 2 and all(gateway["ready"] for gateway in gateways)

    await eventually(all_ready)
    online = await ask(administered, "online")
    assert ann.user_id in {user["user"] for user in online["users"]}
    found = (await ask(administered, "users", "zoe"))["users"]
    assert [user["user"] for user in found] == [ann.user_id]
    table = await ctl(administered, "users", "zoe")
    assert table.out.splitlines()[0].split() == ["user", "username", "online"]
    assert "Zoe the first" in table.out


async def test_an_announcement_reaches_everybody(people: People, administered: Stack) -> None:
    """On every gateway, at once."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    assert await ask(administered, "announce", "back in five minutes") == {"gateways": 2}
    for person in (ann, bob):
        told = await person.journal.event("announcement")
        assert told["content"] == "back in five minutes"


async def test_blocks_on_behalf_of_a_user(people: People, administered: Stack) -> None:
    """They hold like those of the user."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    assert (await ask(administered, "block", ann.user_id, bob.user_id))["blocked"] == [bob.user_id]
    assert (await bob.send("hi", ann.user_id))["code"] == "blocked"
    assert (await ask(administered, "unblock", ann.user_id, bob.user_id))["blocked"] == []
    assert (await bob.send("hi", ann.user_id))["ok"]
    refused = await ctl(administered, "block", ann.user_id, "nobody")
    assert (refused.status, refused.err) == (1, "parleyctl: unknown_recipient: There is no such user.\n")


async def test_who_is_not_there_is_not_found(
    administered: Stack, http: aiohttp.ClientSession, tmp_path: Path
) -> None:
    """The API says so itself, and parleyctl repeats it: there is nothing to show, to export or to end."""
    for method, path in (
        ("GET", "/users/nobody"),
        ("GET", "/users/nobody/export"),
        ("DELETE", "/users/nobody/sessions"),
        ("DELETE", "/users/nobody/sessions/none"),
        ("POST", "/users/nobody/kick"),
    ):
        async with http.request(method, admin_url(administered) + path) as answer:
            failure = {
                "code": "not_found",
                "message": "nothing is kept of such a user",
                "retryable": False,
            }
            assert (answer.status, await answer.json()) == (404, failure), path
    file = tmp_path / "nobody.jsonl"
    for arguments in (("user",), ("export", "--file", str(file)), ("revoke",), ("kick",)):
        result = await ctl(administered, *arguments, "nobody")
        assert (result.status, result.out) == (1, ""), arguments
        assert result.err == "parleyctl: not_found: nothing is kept of such a user\n"
    assert not file.exists()


async def test_export_and_erasure(people: People, administered: Stack, tmp_path_factory: Any) -> None:
    """What is exported is what was there; after the erasure the peer has nothing left of it."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    await ann.send("for your eyes only", bob.user_id)
    file = tmp_path_factory.mktemp("export") / "ann.jsonl"
    assert (await ctl(administered, "export", ann.user_id, "--file", str(file))).status == 0
    lines = [json.loads(line) for line in file.read_text().splitlines()]
    assert [line["content"] for line in lines if line["kind"] == "message"] == ["for your eyes only"]
    assert file.stat().st_mode & 0o077 == 0
    own = await ann.call("export", {})
    assert [line["kind"] for line in own["lines"]] == [line["kind"] for line in lines]
    kept = await ctl(administered, "erase", ann.user_id, answer="no\n")
    assert (kept.status, "nothing was erased" in kept.err) == (1, True)
    done = await ask(administered, "erase", ann.user_id, "--yes", "--wait")
    assert (done["state"], done["removed"]["messages"]) == ("done", 1)
    assert (await ann.journal.event("session ended"))["reason"] == "erased"
    assert (await bob.call("history", {"with": ann.user_id}))["messages"] == []
    assert done["job"] in {each["job"] for each in (await ask(administered, "erasures"))["erasures"]}


async def test_people_erase_themselves(people: People) -> None:
    """The user's own socket is answered, and then told that it was erased."""
    ann = await people.join("ann")
    answer = await ann.call("erase", {"userID": ann.user_id})
    assert answer["ok"]
    assert (await ann.journal.event("session ended"))["reason"] == "erased"


async def test_retention_of_a_conversation(people: People, administered: Stack) -> None:
    """A retention of its own removes what is older; a hold keeps all; both are shown and taken back."""
    ann, bob = await people.join("ann"), await people.join("bob", 1)
    pair = (ann.user_id, bob.user_id)
    await ann.send("soon gone", bob.user_id)
    assert await ask(administered, "retention", *pair) == {"keep_seconds": None, "hold": False}
    held = await ask(administered, "retention", *pair, "--hold", "--keep", "1s")
    assert held == {"keep_seconds": 1, "hold": True}
    await ask(administered, "retention", *pair, "--release")

    async def gone() -> bool:
        page: dict[str, Any] = await bob.call("history", {"with": ann.user_id})
        return not page["messages"]

    await eventually(gone)
    assert (await ask(administered, "retention", *pair, "--keep", "default"))["keep_seconds"] is None


async def test_what_is_stored_is_counted(people: People, administered: Stack) -> None:
    """The report and the metrics of both stores tell users and messages, with their bytes."""
    ann = await people.join("ann")
    for number in range(5):
        await ann.send(f"note {number}", ann.user_id)

    async def counted() -> bool:
        kinds = (await ask(administered, "storage"))["kinds"]
        return bool(kinds) and kinds["messages"]["items"] >= 5 and kinds["users"]["bytes"] > 0

    await eventually(counted)
    for store in administered.stores:
        await eventually(lambda: (store.metric("parley_store_stored_items", kind="messages") or 0) >= 5)  # noqa: B023
    table = await ctl(administered, "storage")
    assert "messages" in table.out


async def test_every_act_is_in_the_audit_log(people: People, administered: Stack) -> None:
    """In the API and in the store's log: who, what and on whom, by ids; never a name, a token or a text."""
    ann, bob = await people.join("Annabella"), await people.join("bob", 1)
    await ask(administered, "mute", ann.user_id, bob.user_id)
    await ask(administered, "announce", "a text of some length")
    await ask(administered, "kick", ann.user_id)
    entries = (await ask(administered, "audit"))["entries"]
    acts = [(entry["act"], entry.get("on", {})) for entry in entries[:3]]
    assert acts == [
        ("kick", {"user": ann.user_id}),
        ("announce", {}),
        ("relate", {"user": ann.user_id, "peer": bob.user_id}),
    ]
    assert {entry["actor"] for entry in entries[:3]} == {entries[0]["actor"]}
    logged = [
        record
        for store in administered.stores
        for record in store.records("info")
        if record.get("logger") == "parley.audit"
    ]
    assert ("kick", ann.user_id) in {(record["message"], record.get("user")) for record in logged}
    for secret in ("Annabella", ADMIN, "a text of some length"):
        assert secret not in str(entries) + str(logged)


async def test_a_drained_gateway_is_left_by_its_clients(people: People, administered: Stack) -> None:
    """Draining through the API empties a gateway without ending it; taken back, it is ready again."""
    gateway = administered.gateways[1]
    listed = (await ask(administered, "gateways"))["gateways"]
    (name,) = [each["gateway"] for each in listed if each["address"] == gateway.settings["ADDRESS"]]

    async def listed_as(*, drained: bool) -> bool:
        listed = (await ask(administered, "gateways"))["gateways"]
        (states,) = [(each["draining"], each["ready"]) for each in listed if each["gateway"] == name]
        return bool(states == (drained, not drained))

    bob = await people.join("bob", 1)
    assert await ask(administered, "drain", name) == {"gateways": 1}
    await bob.journal.disconnected()
    await eventually(lambda: not gateway.ready())
    await eventually(lambda: listed_as(drained=True))
    await ask(administered, "undrain", name)
    await eventually(gateway.ready)
    await eventually(lambda: listed_as(drained=False))
    missing = await ctl(administered, "drain", "nothing")
    assert (missing.status, missing.err) == (1, "parleyctl: not_found: there is no such gateway\n")


async def test_mistakes_get_one_clear_line(administered: Stack) -> None:
    """A wrong token, no token, an address without a store, a misspelt command."""
    wrong = await ctl(administered, "gateways", token="a-wrong-token-of-16")
    assert (wrong.status, wrong.err.count("\n")) == (1, 1)
    assert "unauthorized" in wrong.err
    none = await ctl(administered, "gateways", token="")
    assert (none.status, none.err.count("\n")) == (1, 1)
    away = await ctl(administered, "--url", "http://127.0.0.1:1", "gateways")
    assert (away.status, away.err.count("\n")) == (1, 1)
    misspelt = await ctl(administered, "gatways")
    assert misspelt.status == 2
