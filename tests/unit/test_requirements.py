"""The locked requirements are those that pyproject.toml asks for, with hashes and without addresses."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[2]
GROUPS = ("gateway", "store", "operator", "dev")

_PIN = re.compile(r"^([A-Za-z0-9._-]+)(?:\[[^]]*\])?==(\S+)", re.MULTILINE)


def asked(group: str) -> list[Requirement]:
    """What a group of pyproject.toml asks for, other groups it names included."""
    groups = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    found: list[Requirement] = []
    for text in groups[group]:
        requirement = Requirement(text)
        if requirement.name == "parley":
            for other in requirement.extras:
                found += asked(other)
        else:
            found.append(requirement)
    return found


def locked(group: str) -> dict[str, str]:
    """The locked versions of a group, by name."""
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    return {canonicalize_name(name): version for name, version in _PIN.findall(text)}


@pytest.mark.parametrize("group", GROUPS)
def test_the_lock_holds_what_is_asked_for(group: str) -> None:
    """Every direct requirement is locked at a version that it accepts (else run `make lock`)."""
    pins = locked(group)
    for requirement in asked(group):
        version = pins.get(canonicalize_name(requirement.name))
        assert version is not None, f"{requirement.name} is not locked"
        assert requirement.specifier.contains(version, prereleases=True), (
            f"{requirement} is locked at {version}"
        )


@pytest.mark.parametrize("group", GROUPS)
def test_every_package_has_hashes_and_no_address(group: str) -> None:
    """What is installed is what was locked, from whichever index a machine uses."""
    text = (ROOT / "requirements" / f"{group}.txt").read_text()
    assert "://" not in text
    assert "index-url" not in text
    for entry in re.split(r"\n(?=\S)", text.strip()):
        assert "--hash=sha256:" in entry, entry.splitlines()[0]


def test_tests_run_with_the_versions_of_the_images() -> None:
    """What the services are tested with is what they are shipped with."""
    tested = locked("dev")
    for group in ("gateway", "store", "operator"):
        shipped = locked(group)
        assert {name: tested.get(name) for name in shipped} == shipped
