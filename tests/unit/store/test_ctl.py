"""parleyctl's own part: ages, tables, and what is not understood."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest

from parley_store.ctl.__main__ import main
from parley_store.ctl.commands import _keep
from parley_store.ctl.output import as_table


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90d", 7_776_000), ("12h", 43_200), ("5m", 300), ("7", 7), ("ever", 0), ("default", -1)],
)
def test_ages_are_read(text: str, seconds: int) -> None:
    """Numbers with a unit, and two words."""
    assert _keep(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "0d", "-1", "1w", "1.5h", "always", "\uff11d"])
def test_other_ages_are_refused(text: str) -> None:
    """What is no age is not guessed at; nought would be taken for ever."""
    with pytest.raises(argparse.ArgumentTypeError):
        _keep(text)


def test_an_answer_becomes_tables() -> None:
    """Simple values first, then a table for each list; times, lists and nothing are readable."""
    answer = {
        "known": 3,
        "gateways": ["g1", "g2"],
        "users": [{"user": "u1", "online": True, "used": 0}, {"user": "u2", "online": False, "used": 1000}],
        "kinds": {"messages": {"items": 1, "bytes": 2}},
    }
    assert as_table(answer).splitlines() == [
        "known     3",
        "gateways  g1 g2",
        "",
        "user  online  used",
        "u1    yes     -",
        "u2    no      1970-01-01 00:00:01Z",
        "",
        "kind      items  bytes",
        "messages  1      2",
    ]


def test_a_name_cannot_steer_the_terminal() -> None:
    """Control characters in what people chose are shown as question marks."""
    assert as_table({"username": "a\x1b[2Jb\u202e"}) == "username  a?[2Jb?"


NAMELESS = b'{"kind":"user","userID":"u1","username":null}\n'
ANN = b'{"kind":"user","userID":"u1","username":"ann"}\n'
MISSING = {"code": "not_found", "message": "nothing is kept of such a user", "retryable": False}


class Api(BaseHTTPRequestHandler):
    """Answers as a store would: status and body by method and path; a body of bytes goes in chunks."""

    protocol_version = "HTTP/1.1"
    answers: ClassVar[dict[str, tuple[int, Any]]] = {}
    cut: ClassVar[bool] = False

    def answer(self) -> None:
        """Answer any method."""
        status, body = self.answers[f"{self.command} {self.path}"]
        self.send_response(status)
        if isinstance(body, bytes):
            self.send_header("Transfer-Encoding", "chunked")
            self.end_headers()
            self.wfile.write(b"%x\r\n%s\r\n" % (len(body), body) + (b"" if self.cut else b"0\r\n\r\n"))
        else:
            text = json.dumps(body).encode()
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)
        self.close_connection = True

    do_GET = do_POST = do_DELETE = answer  # noqa: N815 -- the names that http.server calls

    def log_message(self, *_: object) -> None:
        """Write nothing."""


@pytest.fixture
def url(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Where the API answers."""
    monkeypatch.setenv("ADMIN_TOKENS", "administrators-test-token")
    monkeypatch.setattr(Api, "answers", {})
    with ThreadingHTTPServer(("127.0.0.1", 0), Api) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_an_export_of_nobody_is_no_export(
    url: str, tmp_path: Path, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Who has mistyped an id gets no file that looks like an answer."""
    Api.answers["GET /admin/users/u1/export"] = (404, MISSING)
    file = tmp_path / "export.jsonl"
    assert main(["--url", url, "export", "u1", "--file", str(file)]) == 1
    assert capsysbinary.readouterr() == (b"", b"parleyctl: not_found: nothing is kept of such a user\n")
    assert not file.exists()


@pytest.mark.parametrize("body", [ANN, NAMELESS + b'{"kind":"blocked","userID":"u2"}\n', ANN * 5000])
def test_an_export_is_written_as_it_comes(
    url: str, body: bytes, capsysbinary: pytest.CaptureFixture[bytes]
) -> None:
    """Also that of a user whose name has expired, and a long one."""
    Api.answers["GET /admin/users/u1/export"] = (200, body)
    assert main(["--url", url, "export", "u1"]) == 0
    assert capsysbinary.readouterr() == (body, b"")


def test_an_export_that_breaks_off_has_failed(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A short file must not pass for a whole one."""
    monkeypatch.setattr(Api, "cut", True)
    Api.answers["GET /admin/users/u1/export"] = (200, ANN * 5000)
    assert main(["--url", url, "export", "u1", "--file", str(tmp_path / "export.jsonl")]) == 1
    assert capsys.readouterr().err == "parleyctl: the answer ended in the middle\n"


@pytest.mark.parametrize(
    ("arguments", "call", "said"),
    [
        (["revoke", "u1"], "DELETE /admin/users/u1/sessions", "session"),
        (["revoke", "u1", "s1"], "DELETE /admin/users/u1/sessions/s1", "such a session"),
        (["kick", "u1"], "POST /admin/users/u1/kick", "socket"),
    ],
)
def test_it_is_said_that_nothing_was_ended(
    url: str, arguments: list[str], call: str, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a user there is, a repeat is no failure, but is said; a user there is not is one."""
    Api.answers[call] = (200, {"ended": 0})
    assert main(["--url", url, *arguments]) == 0
    assert capsys.readouterr() == (
        "ended  0\n",
        f"parleyctl: nothing was ended: the user has no {said}\n",
    )
    Api.answers[call] = (404, MISSING)
    assert main(["--url", url, *arguments]) == 1
    assert capsys.readouterr() == ("", "parleyctl: not_found: nothing is kept of such a user\n")


def test_a_wrong_token_is_the_administrators(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The answer speaks of the services' token, which would send people to the wrong place."""
    refused = {"code": "unauthorized", "message": "A valid service token is needed.", "retryable": False}
    Api.answers["GET /admin/gateways"] = (401, refused)
    assert main(["--url", url, "gateways"]) == 1
    said = capsys.readouterr().err
    assert "ADMIN_TOKENS" in said
    assert "service token" not in said


def test_it_needs_nothing_but_python() -> None:
    """The tool starts without site packages."""
    code = (
        "import sys; sys.path.insert(0, 'services/store');"
        "from parley_store.ctl.__main__ import main; main(['--help'])"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", code], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "announce" in done.stdout
