"""What the systems run on: figures of another interpreter or another Redis are not the same figures."""

from __future__ import annotations

import platform
import re
import subprocess
import sysconfig

from parley_local.node import find_node
from parley_local.redis_server import find_redis_server


def software() -> dict[str, str]:
    """Name what runs the systems, each with its version: Python and how it was built, Redis, Node."""
    return {
        "python": f"{platform.python_version()} {how_built(sysconfig.get_config_var('CONFIG_ARGS') or '')}",
        "redis": redis_version(_output(str(find_redis_server()))),
        "node": _output(find_node().executable),
    }


def how_built(configured: str) -> str:
    """Say whether a Python was configured with the optimizations that the images' Python has.

    pyenv, for one, leaves them out unless told otherwise.
    """
    flags = [flag for flag in ("--enable-optimizations", "--with-lto") if f"'{flag}'" in configured]
    return " ".join(flags) or "not configured with --enable-optimizations"


def redis_version(text: str) -> str:
    """Take server, version and allocator from what ``--version`` prints."""
    found = re.fullmatch(r"(\w+) server v=(\S+) .*malloc=(\S+) .*", text.strip())
    return f"{found[1]} {found[2]} {found[3]}" if found else text.strip()


def _output(executable: str) -> str:
    command = [executable, "--version"]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
