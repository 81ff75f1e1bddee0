"""The settings of `make run`: defaults that follow from PORT, and clear refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley_local.config import DECIDED, LocalConfig, refuse_decided
from parley_local.plan import make_plan
from parley_shared.config import ConfigError, load, variables
from tests.harness.readme import README


def test_ports_follow_from_port() -> None:
    """One number moves everything, so that two runs can live side by side."""
    ports = load(LocalConfig, {"PORT": "5000", "GATEWAYS": "2"}).ports()
    assert ports == {
        "the gateways' shared port": 5000,
        "gateway-1": 5001,
        "gateway-2": 5002,
        "the store": 5100,
        "Redis": 5101,
        "the store's internal port": 5110,
        "gateway-1's internal port": 5111,
        "gateway-2's internal port": 5112,
    }


def test_the_largest_run_has_no_port_twice() -> None:
    """The defaults hold for the most gateways that can be asked for."""
    ports = load(LocalConfig, {"GATEWAYS": "64"}).ports()
    assert len(set(ports.values())) == len(ports) == 132


def test_the_defaults_let_the_guides_client_in() -> None:
    """Four gateways, port 3000, and the origin at which the guide's client is served."""
    config = load(LocalConfig, {})
    assert (config.gateways, config.port, config.cors_origins) == (4, 3000, "http://localhost:8080")


@pytest.mark.parametrize(("given", "seconds"), [("2", 2), ("0.5", 0.5), ("500ms", 0.5), ("2m", 120)])
def test_a_drain_takes_a_unit_as_any_duration(given: str, seconds: float) -> None:
    """README says that durations have one, or are seconds."""
    assert load(LocalConfig, {"DRAIN_SECONDS": given}).drain_seconds == seconds


@pytest.mark.parametrize("name", DECIDED)
def test_what_is_decided_here_cannot_be_given(name: str) -> None:
    """It would be overwritten, and its owner would believe that it holds; empty is as good as not given."""
    with pytest.raises(ConfigError, match=f"^{name} must not be set for make run"):
        refuse_decided({"PORT": "4000", name: "localhost:1"})
    refuse_decided({"PORT": "4000", name: " "})


def test_all_that_is_decided_is_named(tmp_path: Path) -> None:
    """What a process gets that was not given is a setting of `make run`, or refused; README says so."""
    own = {variable.name for variable in variables(LocalConfig)}
    plan = make_plan(load(LocalConfig, {"DATA": str(tmp_path)}), {})
    made = {name for program in (plan.store, *plan.gateways) for name in program.environ}
    assert made - own == set(DECIDED)
    text = README.read_text()
    assert all(f"`{name}`" in text.partition("## The parts")[0] for name in DECIDED)


@pytest.mark.parametrize(
    ("environ", "said"),
    [
        ({"PORT": "0"}, "PORT has a value that cannot be used: expected a whole number from 1 to 65000"),
        ({"PORT": "http"}, "PORT has a value"),
        ({"GATEWAYS": "0"}, "GATEWAYS has a value"),
        ({"GATEWAYS": "four"}, "expected a whole number from 1 to 64"),
        (
            {"CORS_ORIGINS": "localhost:8080"},
            "CORS_ORIGINS has a value that cannot be used: expected origins",
        ),
        ({"DRAIN_SECONDS": "soon"}, "DRAIN_SECONDS has a value that cannot be used: expected a duration"),
        ({"LOG_LEVEL": "loud"}, "expected one of debug, info, warning, error"),
        ({"STORE_PORT": "3001"}, "the store and gateway-1 would both listen on port 3001"),
        ({"INTERNAL_PORT": "2998"}, "gateway-2's internal port and the gateways' shared port would both"),
        ({"PORT": "65000", "GATEWAYS": "4", "INTERNAL_PORT": "65000"}, "would both listen on port 65000"),
    ],
)
def test_what_cannot_be_used_is_named(environ: dict[str, str], said: str) -> None:
    """The one line says which variable is wrong and what it accepts."""
    with pytest.raises(ConfigError, match=said.replace("(", r"\(")) as caught:
        load(LocalConfig, environ)
    assert "\n" not in str(caught.value)
