"""Logs: one JSON object a line, and nothing of what a client's broken request held."""

from __future__ import annotations

import asyncio
import io
import json
import logging
from collections.abc import Iterator

import pytest
from aiohttp import web

from parley_shared import log


@pytest.fixture
def written() -> Iterator[io.StringIO]:
    """What a service's logging writes; the test run's own logging is put back afterwards."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    log.configure("test", "info")
    (handler,) = root.handlers
    assert isinstance(handler, logging.StreamHandler)
    stream = io.StringIO()
    handler.setStream(stream)
    yield stream
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.getLogger("aiohttp.server").filters.clear()


def test_a_line_is_one_json_object(written: io.StringIO) -> None:
    """With time, level, service, and what was given beside the text."""
    logging.getLogger("some.part").warning("it is %s", "so", extra={"count": 3})
    (line,) = written.getvalue().splitlines()
    entry = json.loads(line)
    assert {**entry, "time": ""} == {
        "time": "",
        "level": "warning",
        "service": "test",
        "logger": "some.part",
        "message": "it is so",
        "count": 3,
    }


def test_an_exception_is_kept_with_its_trace(written: io.StringIO) -> None:
    """On one line still."""
    try:
        raise ValueError("broken")
    except ValueError:
        logging.getLogger("some.part").exception("failed")
    (line,) = written.getvalue().splitlines()
    assert "ValueError: broken" in json.loads(line)["error"]


async def test_a_broken_request_leaves_no_trace(written: io.StringIO) -> None:
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
    assert written.getvalue() == ""
