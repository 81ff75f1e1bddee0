"""Make `.venv` ready: run by the Makefile with the machine's own Python, before anything is installed.

Needs nothing but the standard library. Does nothing when `.venv` already holds what
`requirements/dev.txt` and `pyproject.toml` ask for; two runs at the same time wait for each other.
"""

import sys

if sys.version_info < (3, 11):  # noqa: UP036 -- this file is what tells the owner of an older Python
    sys.exit(
        "parley: Python 3.11 or newer is needed, this is %d.%d; name another: make PYTHON=python3.13"  # noqa: UP031
        % sys.version_info[:2]
    )

import fcntl
import hashlib
import subprocess
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
STAMP = VENV / ".parley-ready"


def wanted() -> str:
    """Name the state that `.venv` should be in: this Python's version and the digest of the two files."""
    digest = hashlib.sha256()
    for path in (ROOT / "requirements" / "dev.txt", ROOT / "pyproject.toml"):
        digest.update(path.read_bytes())
    return f"{_version()} {digest.hexdigest()}"


def prepare() -> None:
    """Bring `.venv` into the wanted state.

    Raises:
        SystemExit: It cannot be done; the text is one clear line.
    """
    state = wanted()
    if _stamp() == state:
        return
    runs = ROOT / ".run"
    runs.mkdir(exist_ok=True)
    with (runs / "setup.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if _stamp() == state:
            return
        _say("setting up .venv (once, and again when the requirements change)")
        STAMP.unlink(missing_ok=True)
        if not _venv_runs_this_python():
            _run(
                [sys.executable, "-m", "venv", "--clear", str(VENV)],
                "cannot make a virtual environment (on Debian and Ubuntu: apt-get install python3-venv)",
            )
        pip = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
        _run(
            [*pip, "--require-hashes", "--requirement", str(ROOT / "requirements" / "dev.txt")],
            "cannot install the packages of requirements/dev.txt",
        )
        _run(
            [*pip, "--no-deps", "--no-build-isolation", "--editable", str(ROOT)],
            "cannot install Parley itself into .venv",
        )
        STAMP.write_text(state)
        _say(".venv is ready")


def _version() -> str:
    return f"{sys.version_info[0]}.{sys.version_info[1]}"


def _stamp() -> str:
    return STAMP.read_text() if STAMP.exists() and PYTHON.exists() else ""


def _venv_runs_this_python() -> bool:
    """Tell whether `.venv` exists and runs the same version of Python as this process."""
    command = [str(PYTHON), "-c", "import sys, pip; print('%d.%d' % sys.version_info[:2])"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        return False
    return found.stdout.strip() == _version()


def _run(command: list[str], failure: str) -> None:
    try:
        subprocess.run(command, check=True)  # noqa: S603
    except (OSError, subprocess.CalledProcessError):
        sys.exit(f"parley: {failure}")


def _say(text: str) -> None:
    sys.stderr.write(f"parley: {text}\n")


if __name__ == "__main__":
    prepare()
