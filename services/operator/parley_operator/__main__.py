"""``python -m parley_operator``: run the operator."""

from __future__ import annotations

import asyncio
import logging
import sys

from parley_operator.app import StartError, running
from parley_operator.config import OperatorConfig
from parley_shared import log
from parley_shared.config import ConfigError, load


class _Plain(logging.Filter):
    """Drops what kopf adds to its records for its own use: whole settings objects."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Keep every record, without those fields."""
        for field in ("settings", "k8s_skip"):
            vars(record).pop(field, None)
        return True


async def serve() -> None:
    """Run until told to stop; once it runs, kopf handles the signals."""
    config = load(OperatorConfig)
    log.configure("operator", config.log_level)
    for handler in logging.getLogger().handlers:
        handler.addFilter(_Plain())
    if config.log_level == "info":
        # kopf speaks of its own tasks at "info"; its warnings are what a person needs.
        logging.getLogger("kopf").setLevel(logging.WARNING)
    async with running(config) as operator:
        await operator.watch()


def main() -> int:
    """Run the operator; returns the exit status, 1 after one line when the start failed."""
    try:
        asyncio.run(serve())
    except (ConfigError, StartError) as error:
        sys.stderr.write(f"parley: {error}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
