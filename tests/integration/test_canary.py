"""What people write and the secrets they hold never appear in a log or a metric of any process."""

from __future__ import annotations

from pathlib import Path

from tests.harness.client import CallError
from tests.harness.js_client import JsDriver
from tests.harness.people import People
from tests.harness.raw_websocket import RawWebSocket, client_frame
from tests.harness.stack import TOKEN, Stack
from tests.harness.waiting import eventually

CONTENT = "canary-content-4711"
NAME = "canary-name-4712"
MALFORMED = "canary-malformed-4713"


async def test_no_log_and_no_metric_tells_secrets(tmp_path: Path, js: JsDriver) -> None:
    """Messages, names, sessions and recovery ids pass through faults and refusals at the chattiest level."""
    with Stack(tmp_path, settings={"LOG_LEVEL": "debug", "BATCH_DEADLINE": "1s", "LEASE": "2s"}) as stack:
        people = People(stack, js)
        ann, bob = await people.join(NAME), await people.join(f"{NAME}-too", 1)
        assert (await ann.send(CONTENT, bob.user_id))["ok"]
        await bob.message(CONTENT)
        await ann.call("users", {"query": NAME})
        await bob.call("read", {"with": ann.user_id, "seq": 1})
        await ann.call("private message", {"content": [MALFORMED], "to": MALFORMED})
        await ann.call("no such event", MALFORMED)
        secrets = [CONTENT, NAME, MALFORMED, TOKEN]
        for client in (ann, bob):
            state = await client.state()
            secrets += [client.session_id, state["pid"], state["offset"], state["engine"]]
        raw = await RawWebSocket.open(
            int(stack.gateways[0].settings["OWN_PORT"]), "/socket.io/?EIO=4&transport=websocket"
        )
        raw.send(client_frame(1, f'42["{MALFORMED}'.encode()))
        await raw.ended()
        place = len(ann.journal.entries)
        stack.stores[0].kill()
        try:
            answer = await ann.send(f"{CONTENT} unsent", bob.user_id)
            assert answer["code"] == "unavailable"
        except CallError:
            pass
        await ann.drop()
        await stack.stores[0].restart()
        stack.redis.kill()
        stack.redis.start()
        await ann.journal.connected(after=place, timeout_seconds=30)
        await eventually(lambda: accepted(ann.send(f"{CONTENT} again", bob.user_id)), 30)
        metrics = {service.name: service.get("/metrics")[1] for service in stack.services}
        assert all("parley_" in text for text in metrics.values())
        for service in stack.services:
            assert service.stop() == 0
            assert service.log
            for place_, text in (("log", service.log), ("metrics", metrics[service.name])):
                told = [secret for secret in secrets if secret in text]
                assert not told, f"the {place_} of {service.name} tells {told}"


async def accepted(sending: object) -> bool:
    """Whether a message was acknowledged; no answer counts as not yet."""
    try:
        answer = await sending  # type: ignore[misc]
    except CallError:
        return False
    return bool(answer["ok"])
