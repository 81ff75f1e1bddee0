"""The Lua files: complete, described, and loaded under names that tell one life of Redis from another."""

from __future__ import annotations

import re
from importlib.resources import files

import pytest

from parley_store.redis.scripts import SCRIPTS, Script

FOLDER = files("parley_store") / "lua"


def test_every_file_is_a_script_that_is_loaded() -> None:
    """No Lua file lies about unused, and none is missing."""
    names = {entry.name.removesuffix(".lua") for entry in FOLDER.iterdir() if entry.name.endswith(".lua")}

    assert names - {"common"} == {script.name for script in SCRIPTS}


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_every_script_says_what_it_takes_and_returns(script: Script) -> None:
    """A header gives purpose, keys and result, and arguments where there are any."""
    header = "\n".join(line for line in script.body.split("\n\n")[0].splitlines() if line.startswith("--"))

    assert re.search(r"^-- Keys\b", header, re.MULTILINE)
    assert re.search(r"^-- Result\b", header, re.MULTILINE)
    assert ("ARGV" not in script.body) or re.search(r"^-- Arguments\b", header, re.MULTILINE)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_another_one_in_each_life(script: Script) -> None:
    """The text carries the life it is made for, after the line that Redis reads first."""
    one, other = script.text("life-1"), script.text("life-2")

    assert one != other
    assert one.startswith("#!lua")
    assert one.splitlines()[1] == "local INCARNATION = 'life-1'"


def test_only_what_stores_something_new_is_refused_when_memory_is_full() -> None:
    """Leases, presence and reading go on; sessions and messages do not."""
    refused = {script.name for script in SCRIPTS if not script.when_full}

    assert {"append", "attach", "hold", "session"} <= refused
    assert not refused & {"lease", "lapse", "detach", "settle", "roster", "events", "snapshot"}
