"""Logs: one JSON object a line, and nothing of what a client's broken request held."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Iterator

import pytest
from aiohttp import web

from parley_shared import log


@pytest.fixture
def configured(capsys: pytest.CaptureFixture[str]) -> Iterator[pytest.CaptureFixture[str]]:
    """Logging as a service sets it up; put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    log.configure("test", "info")
    yield capsys
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("aiohttp.server").filters.clear()


def test_a_line_is_one_json_object(configured: pytest.CaptureFixture[str]) -> None:
    """With time, level, service, and what was given beside the text."""
    logging.getLogger("some.part").warning("it is %s", "so", extra={"count": 3})
    (line,) = configured.readouterr().err.splitlines()
    entry = json.loads(line)
    assert {**entry, "time": ""} == {
        "time": "",
        "level": "warning",
        "service": "test",
        "logger": "some.part",
        "message": "it is so",
        "count": 3,
    }


def test_an_exception_is_kept_with_its_trace(configured: pytest.CaptureFixture[str]) -> None:
    """On one line still."""
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("some.part").exception("failed")
    (line,) = configured.readouterr().err.splitlines()
    assert "ValueError: broken" in json.loads(line)["error"]


async def test_a_broken_request_leaves_no_trace(configured: pytest.CaptureFixture[str]) -> None:
    """It is answered 400; what it held, perhaps a token, reaches no log."""
    runner = web.AppRunner(web.Application())
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", runner.addresses[0][1])
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\nContent-Length: CANARY\r\n\r\n")
        assert b" 400 " in await reader.readline()
        writer.close()
    finally:
        await runner.cleanup()
    assert configured.readouterr().err == ""
