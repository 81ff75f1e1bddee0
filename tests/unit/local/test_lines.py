"""What children write is shown as lines that a person can read."""

from __future__ import annotations

import json

from parley_local.lines import reason, redis_line, service_line

REDIS_WARNING = "12:M 24 Nov 2026 03:31:19.660 # Out of memory"
REDIS_NOTICE = "12:M 24 Nov 2026 03:31:19.660 * Ready to accept connections tcp"


def record(**more: object) -> str:
    """A log record as the services write it."""
    return json.dumps(
        {
            "time": "2026-11-24T03:31:19.660+00:00",
            "level": "warning",
            "service": "store",
            "logger": "parley_store.app",
            "message": "Redis is away",
            **more,
        }
    )


def test_a_record_becomes_one_line_with_its_extras() -> None:
    """Level, message and extras are shown; what only a machine needs is not."""
    line = service_line("store", record(code="unavailable", seconds=3))
    assert "store      warning Redis is away  code=unavailable  seconds=3" in line
    assert "parley_store.app" not in line
    assert "\n" not in line


def test_a_traceback_follows_indented() -> None:
    """The traceback of a record is not lost."""
    line = service_line("store", record(error="Traceback:\n  File x\nValueError: y"))
    assert line.endswith("\n    Traceback:\n      File x\n    ValueError: y")


def test_what_is_no_record_is_shown_as_it_is() -> None:
    """Plain text, other JSON and half a record keep their text and get a name."""
    for text in ("Segmentation fault", "[1, 2]", '"text"', '{"time": "x"}', '{"message": '):
        assert service_line("gateway-1", text) == f"gateway-1  {text}"


def test_of_redis_only_warnings_are_shown() -> None:
    """Redis's notices are shown to those who ask for everything."""
    warning = redis_line("redis", REDIS_WARNING, everything=False)
    assert warning is not None
    assert warning.endswith("redis      warning Out of memory")
    assert redis_line("redis", REDIS_NOTICE, everything=False) is None
    assert redis_line("redis", REDIS_NOTICE, everything=True) is not None


def test_the_reason_is_the_last_thing_said() -> None:
    """A failed start is explained by its last line, however that is written."""
    assert (
        reason(["a", "parley: PORT has a value that cannot be used"])
        == "PORT has a value that cannot be used"
    )
    assert reason([REDIS_NOTICE, REDIS_WARNING]) == "Out of memory"
    assert reason([record(error="Traceback\nValueError: y")]) == "Redis is away: ValueError: y"
    assert reason([]) == "it wrote nothing"
