"""parleyctl's own part: ages, tables, and what is not understood."""

from __future__ import annotations

import argparse
import subprocess
import sys

import pytest

from parley_store.ctl.commands import _keep
from parley_store.ctl.output import as_table


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7_776_000), ("12h", 43_200), ("5m", 300), ("7", 7), ("ever", 0), ("default", -1)],
)
def test_ages_are_read(text: str, seconds: int) -> None:
    """Numbers with a unit, and two words."""
    assert _keep(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0d", "-1", "1w", "1.5h", "always", "\uff11d"])
def test_other_ages_are_refused(text: str) -> None:
    """What is no age is not guessed at; nought would be taken for ever."""
    with pytest.raises(argparse.ArgumentTypeError):
        _keep(text)


def test_an_answer_becomes_tables() -> None:
    """Simple values first, then a table for each list; times, lists and nothing are readable."""
    answer = {
        "known": 3,
        "gateways": ["g1", "g2"],
        "users": [{"user": "u1", "online": True, "used": 0}, {"user": "u2", "online": False, "used": 1000}],
        "kinds": {"messages": {"items": 1, "bytes": 2}},
    }
    assert as_table(answer).splitlines() == [
        "known     3",
        "gateways  g1 g2",
        "",
        "user  online  used",
        "u1    yes     -",
        "u2    no      1970-01-01 00:00:01Z",
        "",
        "kind      items  bytes",
        "messages  1      2",
    ]


def test_a_name_cannot_steer_the_terminal() -> None:
    """Control characters in what people chose are shown as question marks."""
    assert as_table({"username": "a\x1b[2Jb\u202e"}) == "username  a?[2Jb?"


def test_it_needs_nothing_but_python() -> None:
    """The tool starts without site packages."""
    code = (
        "import sys; sys.path.insert(0, 'services/store');"
        "from parley_store.ctl.__main__ import main; main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "announce" in done.stdout
