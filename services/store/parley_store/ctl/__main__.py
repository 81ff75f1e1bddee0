"""Run parleyctl: the console script, or ``python -m parley_store.ctl``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from parley_store.ctl.client import CallError, Client
from parley_store.ctl.commands import add_commands
from parley_store.ctl.output import as_json, as_table


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one command; returns the exit status: 0, 1 when it failed, 2 when it was not understood."""
    parser = argparse.ArgumentParser(
        prog="parleyctl",
        description="Administration of Parley, by the API on the store's internal port.",
        epilog="The token is read from ADMIN_TOKENS, the first of the two if there are two.",
    )
    parser.add_argument(
        "--url",
        default=os.environ.get("PARLEYCTL_URL", "http://localhost:9101"),
        help="the store's internal port (PARLEYCTL_URL, %(default)s)",
    )
    parser.add_argument("--output", choices=("table", "json"), default="table", help="%(default)s")
    parser.add_argument("--timeout", type=float, default=30.0, help="seconds for a call (%(default)s)")
    add_commands(parser)
    given = parser.parse_args(arguments)
    token = os.environ.get("ADMIN_TOKENS", "").split(",")[0].strip()
    try:
        if not token:
            raise CallError("ADMIN_TOKENS must be set: the token of the administrators' API")
        answer = given.run(Client(given.url, token, given.timeout), given)
        if answer is not None:
            sys.stdout.write((as_json if given.output == "json" else as_table)(answer) + "\n")
    except CallError as error:
        sys.stderr.write(f"parleyctl: {error}\n")
        return 1
    except BrokenPipeError:
        # Whoever reads has seen enough.
        sys.stderr.close()
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
