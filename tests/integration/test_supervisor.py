"""`make run`: starts everything, says what is wrong, restarts what dies, and stops cleanly."""

from __future__ import annotations

import os
import signal
import socket
import sys
from functools import partial
from pathlib import Path

import pytest

from tests.harness.client import CallError
from tests.harness.js_client import JsClient, JsDriver
from tests.harness.local_run import LocalRun
from tests.harness.ports import free_port
from tests.harness.waiting import eventually

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")


def alive(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0] != "Z"
    except FileNotFoundError:
        return False


def is_running(run: LocalRun, name: str) -> bool:
    """Tell whether a process of the run exists."""
    return name in run.children()


async def send_until_stored(sender: JsClient, to: JsClient, content: str) -> None:
    """Send a message, with one id, until it is acknowledged."""

    async def stored() -> bool:
        try:
            answer = await sender.send(content, to.user_id, id=content)
        except CallError:
            return False
        return answer["ok"] is True

    await eventually(stored, 60)


async def test_two_people_can_chat_and_the_data_is_kept(tmp_path: Path, js: JsDriver) -> None:
    """It says where to point a browser, serves clients on the shared port, ends with 0, keeps the data."""
    async with LocalRun(tmp_path) as run:
        await run.said(rf"open http://localhost:{run.port}/ ")
        ann = await js.sign_in(run.url, {"username": "ann"})
        bob = await js.sign_in(run.url, {"username": "bob"})
        assert (await ann.send("hello", bob.user_id))["ok"] is True
        await bob.message("hello")
        run.signal(signal.SIGINT)
        assert await run.ended() == 0
        assert run.lines[-1] == "stopped"
        assert "Traceback" not in run.output
    async with LocalRun(tmp_path) as again:
        await again.said("Parley is running")
        back = await js.sign_in(again.url, {"sessionID": bob.session_id})
        assert [message["content"] for message in back.users[ann.user_id]["messages"]] == ["hello"]
        again.signal(signal.SIGTERM)
        assert await again.ended() == 0


@linux
async def test_what_dies_is_started_again(tmp_path: Path, js: JsDriver) -> None:
    """A gateway, the store and Redis are killed in turn: each comes back, is announced, and messages flow."""
    async with LocalRun(tmp_path) as run:
        await run.said("Parley is running")
        ann = await js.sign_in(run.url, {"username": "ann"})
        bob = await js.sign_in(run.url, {"username": "bob"})
        for name in ("gateway-1", "store", "redis"):
            os.kill(run.children()[name], signal.SIGKILL)
            await run.said(rf"{name} was ended by SIGKILL; starting it again in 0\.5 s")
            await eventually(partial(is_running, run, name))
            await send_until_stored(ann, bob, f"after {name}")
            await bob.message(f"after {name}", timeout_seconds=30)
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0


@linux
async def test_children_die_with_the_supervisor(tmp_path: Path) -> None:
    """Nothing is left when the supervisor itself is killed."""
    async with LocalRun(tmp_path) as run:
        await run.said("Parley is running")
        pids = list(run.children().values())
        assert len(pids) == 4
        run.signal(signal.SIGKILL)
        await run.ended()
        await eventually(lambda: not any(map(alive, pids)))


@linux
async def test_a_second_ctrl_c_stops_at_once(tmp_path: Path) -> None:
    """Whoever does not want to wait need not: a gateway that hangs is killed."""
    async with LocalRun(tmp_path, settings={"DRAIN_SECONDS": "600"}) as run:
        await run.said("Parley is running")
        children = run.children()
        os.kill(children["gateway-1"], signal.SIGSTOP)
        run.signal(signal.SIGINT)
        # The other gateway has left, so the first signal has been understood.
        await eventually(lambda: "gateway-2" not in run.children())
        assert alive(children["gateway-1"])
        run.signal(signal.SIGINT)
        assert await run.ended(20) == 0
        assert not any(map(alive, children.values()))


async def test_a_port_in_use_is_one_clear_line(tmp_path: Path) -> None:
    """Nothing is started, the line names the port, and the status is not zero."""
    port = free_port()
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        async with LocalRun(tmp_path, settings={"STORE_PORT": str(port)}) as run:
            assert await run.ended() == 1
    assert len(run.lines) == 1
    assert run.lines[0].startswith(f"parley: port {port} cannot be used for the store (")


async def test_a_broken_setting_of_its_own_is_one_clear_line(tmp_path: Path) -> None:
    """The line names the variable and what it accepts."""
    async with LocalRun(tmp_path, settings={"GATEWAYS": "many"}) as run:
        assert await run.ended() == 1
    assert run.lines == [
        "parley: GATEWAYS has a value that cannot be used: expected a whole number from 1 to 64"
    ]


@pytest.mark.parametrize(("name", "service"), [("MESSAGE_RATE", "gateway-1"), ("SESSION_TTL", "store")])
async def test_a_broken_setting_of_a_service_is_one_clear_line(
    tmp_path: Path, name: str, service: str
) -> None:
    """A service's own reason is what is shown; what was started is stopped."""
    async with LocalRun(tmp_path, gateways=1, settings={name: "often"}) as run:
        assert await run.ended() == 1
    assert len(run.lines) == 2
    assert run.lines[1].startswith(
        f"parley: {service} did not start (exited with status 1): {name} has a value that cannot be used"
    )


async def test_a_redis_that_does_not_start_is_one_clear_line(tmp_path: Path) -> None:
    """Redis's own reason is what is shown: here its file is damaged."""
    async with LocalRun(tmp_path) as run:
        await run.said("Parley is running")
        run.signal(signal.SIGTERM)
        assert await run.ended() == 0
    for file in (tmp_path / "redis" / "appendonlydir").glob("*.aof"):
        file.write_bytes(b"no such thing\r\n" * 10)
    async with LocalRun(tmp_path) as run:
        assert await run.ended() == 1
    assert len(run.lines) == 2
    assert run.lines[1].startswith("parley: redis did not start (exited with status 1): Bad file format")


async def test_two_runs_cannot_share_a_folder(tmp_path: Path) -> None:
    """The second one says so and leaves the first alone."""
    async with LocalRun(tmp_path, gateways=1) as run:
        await run.said("Parley is running")
        async with LocalRun(tmp_path, gateways=1) as second:
            assert await second.ended() == 1
        assert second.lines == [f"parley: another run uses {tmp_path}; DATA=... chooses another folder"]
        assert await run.ready(1)
