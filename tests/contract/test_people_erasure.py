"""Export and erasure: what is given out, that nothing stays, and that a crash does not matter."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest

from parley_shared import api, people
from parley_shared.errors import MALFORMED, ParleyError
from parley_store.redis.store import RedisStore
from tests.contract.marks import marks_of
from tests.contract.world import RedisWorld, World, contents

QUICK = {"ERASURE_DELAY": "0", "RECOVERY_WINDOW": "1s"}
"""The passes follow each other at once."""


async def export(world: World, user: api.Opened, limit: int = 200) -> list[dict[str, Any]]:
    """Everything that is given out of a user, page by page."""
    lines, after = [], None
    while True:
        request = people.ExportRequest(user=user.user, after=after, limit=limit)
        page = await world.store.people.export(request)
        lines += [json.loads(bytes(line)) for line in page.lines]
        after = page.after
        if after is None:
            return lines


async def erase(world: World, user: api.Opened) -> people.Erasure:
    """Erase a user; the job, once it is done where that takes time."""
    erasure = await world.store.people.erase(people.EraseRequest(user=user.user))
    if isinstance(world, RedisWorld):
        await done(world, erasure.job)
        return (await world.redis.erasures.job(erasure.job)).described()
    return erasure


async def done(world: RedisWorld, job: str) -> None:
    """Wait until a job is done."""

    async def is_done() -> bool:
        return (await world.redis.erasures.job(job)).described().state == "done"

    await world.eventually(is_done)


async def without_clock(world: RedisWorld) -> RedisStore:
    """Go on with a store in which nothing happens by itself."""
    await world.redis.close()
    world.redis = world.store = RedisStore(world.config, world.metrics)
    return world.redis


async def finish(store: RedisStore, job: str) -> None:
    """Carry out all that is left of a job."""
    while await store.erasures.advance(job) >= 0:
        pass


async def chat(world: World) -> tuple[api.Opened, api.Opened, api.Opened]:
    """Let three people talk, read, block and mute, on two gateways."""
    await world.gateways("g1", "g2")
    ann = await world.open("g1", "ann")
    bob, cem = await world.open("g2", "bob"), await world.open("g2", "cem")
    for number in range(3):
        await world.send(ann, bob, f"secret {number} of ann")
    await world.send(bob, ann, "answer of bob")
    await world.send(cem, bob, "of cem to bob")
    await world.send(ann, ann, "secret note of ann")
    await world.read(bob, ann, 3)
    await world.read(ann, bob, 4)
    await world.store.people.relate(people.RelateRequest(user=ann.user, peer=cem.user, block=True))
    await world.store.people.relate(people.RelateRequest(user=cem.user, peer=ann.user, block=True, mute=True))
    await world.store.people.relate(people.RelateRequest(user=bob.user, peer=ann.user, mute=True))
    return ann, bob, cem


async def test_an_export_holds_the_user_s_own_data(world: World) -> None:
    """Sessions, contacts with read marks, relations, conversations, and the messages the user has sent."""
    ann, bob, cem = await chat(world)
    lines = await export(world, ann)
    by_kind: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        by_kind.setdefault(line["kind"], []).append(line)
    assert by_kind["user"] == [{"kind": "user", "userID": ann.user, "username": "ann"}]
    assert [each["session"] for each in by_kind["session"]] == [people.handle_of(ann.session)]
    (contact,) = [each for each in by_kind["contact"] if each["userID"] == bob.user]
    assert (contact["username"], contact["seq"], contact["read"]) == ("bob", 4, 4)
    assert [each["userID"] for each in by_kind["blocked"]] == [cem.user]
    assert {each["with"] for each in by_kind["conversation"]} == {ann.user, bob.user}
    sent = sorted(each["content"] for each in by_kind["message"])
    assert sent == ["secret 0 of ann", "secret 1 of ann", "secret 2 of ann", "secret note of ann"]
    # Nothing of it signs anybody in, and no secret of another is among it.
    assert ann.session not in str(lines)


@pytest.mark.parametrize("limit", [1, 2, 3, 7])
async def test_pages_of_an_export_hold_everything_once(redis_world: RedisWorld, limit: int) -> None:
    """However small the pages, nothing is missing and nothing comes twice."""
    ann, *_ = await chat(redis_world)
    assert await export(redis_world, ann, limit) == await export(redis_world, ann)


async def test_a_cursor_of_another_kind_is_refused(redis_world: RedisWorld) -> None:
    """What is no cursor of an export is malformed."""
    ann, *_ = await chat(redis_world)
    for cursor in ("x", "e30=", "WzEsMl0="):
        with pytest.raises(ParleyError, match="malformed"):
            await redis_world.store.people.export(people.ExportRequest(user=ann.user, after=cursor))


@pytest.mark.settings(**QUICK)
async def test_an_erased_user_is_gone_for_everybody(world: World) -> None:
    """The session is dead, the roster forgets, peers have no contact and no history; others lose nothing."""
    ann, bob, cem = await chat(world)
    erasure = await erase(world, ann)
    assert erasure.state == "done"
    assert erasure.removed["messages"] == 5
    assert erasure.removed["conversations"] == 2
    assert erasure.removed["sessions"] == 1
    (result,) = await world.open_all("g1", [world.open_item(session=ann.session)])
    assert result.failure is not None
    assert "ann" not in await world.states()
    opened = await world.open("g2", session=bob.session)
    assert [contact.username for contact in opened.contacts] == ["cem"]
    assert contents(opened.contacts[0].messages) == ["of cem to bob"]
    assert (await world.history(bob, ann))[0] == []
    assert opened.relations == api.Relations()
    if isinstance(world, RedisWorld):
        # With the usual ERASURE_DELAY a job outlives what stores remember.
        world.redis._messages._recipients.forget(ann.user)
    (refused,) = await world.append(world.send_item(bob, ann.user))
    assert refused.failure is not None
    assert refused.failure.code == "unknown_recipient"
    assert await export(world, ann) == [{"kind": "user", "userID": ann.user, "username": None}]
    assert (await world.open("g2", session=cem.session)).relations == api.Relations()


@pytest.mark.settings(**QUICK)
async def test_the_numbers_of_peers_go_on(world: World) -> None:
    """What peers had in their inboxes keeps its numbers: recovery and gaps go on over the emptied ones."""
    ann, bob, cem = await chat(world)
    counter = (await world.inbox(bob)).counter
    await erase(world, ann)
    page = await world.inbox(bob)
    assert page.complete
    assert page.counter == counter
    assert contents([event.message for event in page.events]) == ["of cem to bob"]
    assert (await world.inbox(bob, limit=1)).complete
    await world.send(cem, bob, "later")
    after = await world.inbox(bob, after=counter)
    assert [event.counter for event in after.events] == [counter + 1]
    recovered = await world.recover("g2", bob.pid, await world.position(bob))
    assert recovered.recovered is not None
    assert contents([event.message for event in recovered.recovered.events]) == ["of cem to bob", "later"]


async def test_sockets_are_ended(world: World) -> None:
    """Every gateway of the user is told, with the reason."""
    ann, *_ = await chat(world)
    await world.open("g2", session=ann.session)
    await world.store.people.erase(people.EraseRequest(user=ann.user))

    async def told() -> bool:
        items = [await world.items(gateway) for gateway in ("g1", "g2")]
        return all(api.EndSockets(ann.user, [], "erased") in found for found in items)

    await world.eventually(told)


@pytest.mark.settings(ERASURE_DELAY="0", RECOVERY_WINDOW="1s")
async def test_no_key_holds_a_mark_of_the_erased(redis_world: RedisWorld) -> None:
    """Every key of Redis is read: neither ids, nor name, nor session, nor a word the user wrote is left."""
    world = redis_world
    ann, bob, _ = await chat(world)
    marks = [ann.user, ann.session, ann.pid or "", "ann", "secret"]
    before = await marks_of(world.raw, marks)
    # The test looks where there is something to see.
    kinds = {key.partition(":")[0] for key in before}
    assert kinds > {"session", "recover", "user", "inbox", "peers", "messages", "ids", "rules", "gateway"}
    assert "{roster}" in kinds
    erasure = await erase(world, ann)
    await world.detach("g1", ann)
    await world.lose("g1", ann.pid or "")

    async def settled() -> bool:
        return await world.raw.zscore("{roster}:due", ann.user) is None

    await world.eventually(settled)
    assert await marks_of(world.raw, marks) == {}
    assert erasure.user == ""
    # The roster's numbers have not gone back.
    version = (await world.store.roster()).version
    await world.open("g2", "dan")
    assert (await world.store.roster()).version > version
    assert (await world.open("g2", session=bob.session)).username == "bob"


@pytest.mark.settings(ERASURE_DELAY="0", RECOVERY_WINDOW="1s")
@pytest.mark.parametrize("commands", [1, 5, 12, 20, 30, 45])
async def test_a_crash_in_the_middle_does_not_matter(redis_world: RedisWorld, commands: int) -> None:
    """The store dies after some of its rounds to Redis; another completes the job, and reports the same."""
    world = redis_world
    ann, *_ = await chat(world)
    dying = await without_clock(world)
    erasure = await dying.people.erase(people.EraseRequest(user=ann.user))
    run_all, rounds = dying.topology.run_all, 0

    async def run_until_death(work: Any) -> Any:
        nonlocal rounds
        rounds += 1
        if rounds > commands:
            raise ConnectionError("the store dies here")
        return await run_all(work)

    dying.topology.run_all = run_until_death  # type: ignore[method-assign]
    with pytest.raises(ConnectionError):
        await finish(dying, erasure.job)
    await dying.close()
    world.redis = world.store = RedisStore(world.config, world.metrics)
    world.redis.start()
    await done(world, erasure.job)
    report = (await world.redis.erasures.job(erasure.job)).described()
    assert report.removed["messages"] == 5
    marks = await marks_of(world.raw, [ann.user, ann.session, "ann", "secret"])
    # Gateways report their own sockets gone; here nobody does.
    assert set(marks) <= {"sockets:{g1}", "{roster}:due"}


@pytest.mark.settings(**QUICK)
async def test_what_is_under_way_leaves_nothing_behind(redis_world: RedisWorld) -> None:
    """Between the passes nothing new of the user can be stored: no message either way, and no session."""
    world = redis_world
    await world.gateways("g1")
    ann = await world.open("g1", "ann", subject="ann")
    bob, cem = await world.open("g1", "bob"), await world.open("g1", "cem")
    await world.send(ann, bob)
    await without_clock(world)
    erasure = await world.redis.erasures.ask(ann.user)
    while (await world.redis.erasures.job(erasure.job)).step < 2:
        await world.redis.erasures.advance(erasure.job)
    # Another store still takes ann for known.
    world.redis._messages._recipients._known[ann.user] = float("inf")
    for sender, to in ((ann, bob), (bob, ann), (cem, ann), (ann, cem)):
        (result,) = await world.append(world.send_item(sender, to.user))
        assert result.failure is not None
        assert result.failure.code == "unknown_recipient"
    (opening,) = await world.open_all("g1", [world.open_item("ann", subject="ann")])
    assert opening.failure is not None
    assert opening.failure.retryable
    await finish(world.redis, erasure.job)
    assert not await marks_of(world.raw, ["messages:{" + ann.user, f":{ann.user}}}"])
    again = await world.open("g1", "ann", subject="ann")
    assert (again.user, again.contacts) == (ann.user, [])


@pytest.mark.settings(**QUICK)
async def test_a_repeat_finds_the_job_under_way(redis_world: RedisWorld) -> None:
    """Asking twice makes one job; after it is done, another."""
    world = redis_world
    ann, *_ = await chat(world)
    await without_clock(world)
    first = await world.redis.erasures.ask(ann.user)
    assert (await world.redis.erasures.ask(ann.user)).job == first.job
    await finish(world.redis, first.job)
    assert (await world.redis.erasures.ask(ann.user)).job != first.job
    assert [erasure.state for erasure in await world.redis.erasures.recent()] == ["waiting", "done"]


@pytest.mark.settings(**QUICK)
async def test_a_hold_puts_the_erasure_off(redis_world: RedisWorld) -> None:
    """A held conversation is closed and kept, still exported, and goes when the hold is lifted."""
    world = redis_world
    ann, bob, _ = await chat(world)
    rule = world.redis._conversations.rule
    await rule(ann.user, bob.user, keep_ms=None, own_keep=None, hold=True)
    erasure = await erase(world, ann)
    assert erasure.held == 1
    name = f"messages:{{{ann.user}:{bob.user}}}"
    assert await world.raw.xlen(name) == 4
    kept = [line for line in await export(world, ann) if line["kind"] == "message"]
    assert len(kept) == 3
    assert (await world.open("g2", session=bob.session)).contacts[0].username == "cem"
    await rule(ann.user, bob.user, keep_ms=None, own_keep=None, hold=False)
    assert await world.raw.exists(name) == 0
    assert await marks_of(world.raw, ["secret", f"{{{ann.user}:"]) == {}


@pytest.mark.parametrize("cursor", [["", -5], ["peer", -1], ["peer", 10**18], ["peer", 2**70], ["peer", "1"]])
async def test_a_cursor_that_is_none_is_malformed(redis_world: RedisWorld, cursor: list[object]) -> None:
    """A place that cannot be is refused, and is no failure of the store."""
    ann, *_ = await chat(redis_world)
    after = base64.urlsafe_b64encode(json.dumps(cursor).encode()).decode()
    with pytest.raises(ParleyError) as raised:
        await redis_world.store.people.export(people.ExportRequest(user=ann.user, after=after))
    assert raised.value.code is MALFORMED


@pytest.mark.parametrize("before", ["99999999999999999999-0", "१-१", "0-0", "1", "-", "1-1-1"])
async def test_a_place_in_the_audit_log_that_is_none_is_malformed(
    redis_world: RedisWorld, before: str
) -> None:
    """Redis would refuse what is no id of its own, or one that nothing comes before."""
    with pytest.raises(ParleyError) as raised:
        await redis_world.redis.administration.audit(before, 5)
    assert raised.value.code is MALFORMED
    assert (await redis_world.redis.administration.audit("9" * 19 + "-0", 5)).entries == []


@pytest.mark.settings(ERASURE_DELAY="1s", RECOVERY_WINDOW="1s")
async def test_no_store_remembers_somebody_who_was_erased(redis_world: RedisWorld) -> None:
    """When an erasure is done, also another store, which knew the user, takes no message for them."""
    world = redis_world
    await world.gateways("g1")
    ann, bob = await world.open("g1", "ann"), await world.open("g1", "bob")
    other = RedisWorld(world.config)
    try:
        await other.send(ann, bob, "before", "id-1")
        await erase(world, bob)
        (result,) = await other.append(world.send_item(ann, bob.user, "after", "id-2"))
    finally:
        await other.close()
    assert result.failure is not None
    assert result.failure.code == "unknown_recipient"
    assert not await world.raw.exists(f"messages:{{{ann.user}:{bob.user}}}")
