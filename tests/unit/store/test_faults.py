"""What Redis's errors are turned into."""

from __future__ import annotations

import pytest
from redis._parsers.base import BaseParser
from redis.exceptions import ResponseError

from parley_shared.errors import INTERNAL, LATE, UNAVAILABLE, Code
from parley_store.redis.faults import is_moved, is_unknown_script, translate


def parsed(text: str) -> Exception:
    """Make the exception that redis-py makes of an error answer."""
    error: Exception = BaseParser.parse_error(text)  # type: ignore[no-untyped-call]
    return error


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("OOM command not allowed when used memory > 'maxmemory'.", UNAVAILABLE),
        ("READONLY You can't write against a read only replica.", UNAVAILABLE),
        ("MISCONF Errors writing to the AOF file: No space left on device", UNAVAILABLE),
        ("CLUSTERDOWN The cluster is down", UNAVAILABLE),
        ("TRYAGAIN Multiple keys request during rehashing of slot", UNAVAILABLE),
        ("NOREPLICAS Not enough good replicas to write.", UNAVAILABLE),
        ("MASTERDOWN Link with MASTER is down and replica-serve-stale-data is set to 'no'.", UNAVAILABLE),
        ("BUSY Redis is busy running a script.", UNAVAILABLE),
        ("NOPERM User has no permissions to run the 'xadd' command", UNAVAILABLE),
        ("LATE the deadline has passed", LATE),
        ("WRONGTYPE Operation against a key holding the wrong kind of value", INTERNAL),
        ("ERR unknown command 'X'", INTERNAL),
    ],
)
def test_errors_that_pass_are_unavailable_and_ours_are_internal(text: str, code: Code) -> None:
    """A fault of Redis is worth a repeat; a fault of the store is logged and said to be one."""
    error = parsed(text)
    assert isinstance(error, ResponseError)

    assert translate(error).code is code


def test_nothing_of_a_value_is_told() -> None:
    """An error's text does not reach the answer, whatever Redis put into it."""
    error = parsed("MISCONF canary-value is not possible")
    assert isinstance(error, ResponseError)

    assert "canary" not in translate(error).message


def test_redirections_and_lost_scripts_are_recognized() -> None:
    """MOVED and ASK lead to another server, NOSCRIPT to another life."""
    assert is_moved(parsed("MOVED 1 127.0.0.1:7000"))
    assert is_moved(parsed("ASK 1 127.0.0.1:7000"))
    assert is_unknown_script(parsed("NOSCRIPT No matching script."))
    assert not is_moved(ResponseError("x"))
    assert not is_unknown_script(None)
