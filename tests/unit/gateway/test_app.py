"""The composition root: what it says of itself, and a start that fails."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from parley_gateway import app
from parley_gateway.app import Gateway, running
from parley_gateway.config import GatewayConfig
from parley_shared.config import load
from parley_shared.runtime import StartError


def gateway(*, draining: bool, unready: bool) -> Gateway:
    """What `Gateway.not_ready` looks at."""
    parts = SimpleNamespace(
        life=SimpleNamespace(missing={}, gateways={}),
        drainer=SimpleNamespace(draining=draining, unready=unready),
        admission=SimpleNamespace(full=False),
        gateway_id=lambda: "g1",
    )
    return cast("Gateway", parts)


@pytest.mark.parametrize(
    ("draining", "unready", "reasons"), [(False, False, []), (True, True, ["drain"]), (False, True, ["shed"])]
)
def test_a_shed_is_not_called_a_drain(draining: bool, unready: bool, reasons: list[str]) -> None:
    """Whoever reads /readyz is not told that a gateway is emptied when it only gives some clients away."""
    assert list(Gateway.not_ready(gateway(draining=draining, unready=unready))) == reasons


async def test_nothing_is_opened_without_a_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A WEB_ROOT that cannot be used is told before there is a client that would be left open, and say so."""
    opened: list[str] = []
    monkeypatch.setattr(app, "HttpStore", lambda *_: opened.append("store"))
    monkeypatch.setattr(app, "connect_redis", lambda *_, **__: opened.append("Redis"))
    environ = {"SERVICE_TOKENS": "a-service-token-of-a-test", "WEB_ROOT": str(tmp_path / "nothing")}
    with pytest.raises(StartError, match=r"^WEB_ROOT: index\.html is not in"):
        async with running(load(GatewayConfig, environ)):
            pass
    assert opened == []
