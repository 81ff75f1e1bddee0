"""The processes of `make run`: what each is told, and which ports are looked at first."""

from __future__ import annotations

import socket
import stat
from pathlib import Path

import pytest

from parley_gateway.config import GatewayConfig
from parley_local.config import LocalConfig
from parley_local.plan import make_plan, port_in_use
from parley_shared.config import ConfigError, load
from parley_shared.runtime import StartError
from tests.harness.ports import free_port


def config(folder: Path, **more: str) -> LocalConfig:
    """Settings for a run in a folder of its own."""
    return load(LocalConfig, {"DATA": str(folder / "data"), "PORT": "5000", **more})


def test_each_gateway_has_its_own_ports_and_the_shared_one(tmp_path: Path) -> None:
    """All gateways share PORT, and each is reached by the others at a port of its own."""
    plan = make_plan(config(tmp_path, GATEWAYS="3"), {})
    assert [gateway.environ["PORT"] for gateway in plan.gateways] == ["5000"] * 3
    assert [gateway.environ["OWN_PORT"] for gateway in plan.gateways] == ["5001", "5002", "5003"]
    assert [gateway.environ["ADDRESS"] for gateway in plan.gateways] == [
        "127.0.0.1:5001",
        "127.0.0.1:5002",
        "127.0.0.1:5003",
    ]


def test_further_settings_reach_the_processes(tmp_path: Path) -> None:
    """A setting of a service that is given to `make run` is its processes' too."""
    plan = make_plan(config(tmp_path), {"MESSAGE_RATE": "7", "SESSION_TTL": "1h", "PORT": "1"})
    assert plan.gateways[0].environ["MESSAGE_RATE"] == "7"
    assert plan.store.environ["SESSION_TTL"] == "1h"
    assert plan.gateways[0].environ["PORT"] == "5000"


def test_the_service_token_is_kept_and_secret(tmp_path: Path) -> None:
    """A data folder has one random token, which nobody else may read."""
    first = make_plan(config(tmp_path), {})
    second = make_plan(config(tmp_path), {})
    other = make_plan(config(tmp_path / "other"), {})
    token = first.store.environ["SERVICE_TOKENS"]
    assert token == second.store.environ["SERVICE_TOKENS"] == first.gateways[0].environ["SERVICE_TOKENS"]
    assert token != other.store.environ["SERVICE_TOKENS"]
    assert len(token) >= 32
    assert stat.S_IMODE((tmp_path / "data" / "service-token").stat().st_mode) == 0o600


def test_an_empty_token_is_replaced(tmp_path: Path) -> None:
    """What a full disk has left is no token; the new file is whole, and alone."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "service-token").write_text("\n")
    token = make_plan(config(tmp_path), {}).store.environ["SERVICE_TOKENS"]
    assert len(token) >= 32
    assert (folder / "service-token").read_text() == token
    assert stat.S_IMODE((folder / "service-token").stat().st_mode) == 0o600
    assert {path.name for path in folder.iterdir()} == {"redis", "service-token"}


def test_a_setting_that_would_be_overwritten_is_refused(tmp_path: Path) -> None:
    """Whoever gives an address of Redis is told that it would not be used, before anything is made."""
    with pytest.raises(ConfigError, match=r"^REDIS_URL must not be set"):
        make_plan(config(tmp_path), {"REDIS_URL": "redis://elsewhere:6379/0"})
    assert not (tmp_path / "data").exists()


def test_a_drain_is_handed_on_in_seconds(tmp_path: Path) -> None:
    """Its unit is read once, and the supervisor waits as long."""
    gateway = make_plan(config(tmp_path, DRAIN_SECONDS="1500ms"), {}).gateways[0]
    assert load(GatewayConfig, gateway.environ).drain_seconds == 1.5
    assert gateway.patience_seconds == 6.5


def test_redis_and_store_listen_on_this_machine_only(tmp_path: Path) -> None:
    """Nothing but the gateways' public ports can be reached from elsewhere."""
    plan = make_plan(config(tmp_path), {})
    command = list(plan.redis.command)
    assert command[command.index("--bind") + 1] == "127.0.0.1"
    assert command[command.index("--appendonly") + 1] == "yes"
    assert plan.store.environ["STORE_HOST"] == "127.0.0.1"
    assert all(program.environ["INTERNAL_HOST"] == "127.0.0.1" for program in plan.programs[1:])


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    """One clear line, not a traceback."""
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StartError, match="DATA cannot be used"):
        make_plan(config(tmp_path), {})


def test_a_port_in_use_is_found(tmp_path: Path) -> None:
    """The line says which port, and what would have listened there."""
    port = free_port()
    settings = config(tmp_path, HOST="127.0.0.1", PORT=str(port))
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        found = port_in_use(settings)
    assert found is not None
    assert f"port {port} cannot be used for the gateways' shared port" in found


@pytest.mark.parametrize("host", ["no.such.host.invalid", "192.0.2.1"])
def test_an_address_of_another_machine_is_refused(tmp_path: Path, host: str) -> None:
    """HOST must be this machine's: a name, or an address (here one that is for documents only)."""
    found = port_in_use(config(tmp_path, HOST=host))
    assert found is not None
    assert found.startswith("HOST has a value that cannot be used")
