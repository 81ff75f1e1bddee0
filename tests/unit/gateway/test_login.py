"""Logging in with a JSON Web Token: what is accepted, and how everything else is refused."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import jwt
import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from parley_gateway.config import GatewayConfig
from parley_gateway.login import Identity, TokenLogin
from parley_gateway.sio import ConnectRefused, TransportRefused
from parley_shared.config import ConfigError, load

SECRET = "0123456789abcdef0123456789abcdef"
BASE = {
    "SERVICE_TOKENS": "token-token-token-1",
    "AUTH_MODE": "jwt",
    "JWT_ISSUER": "https://issuer",
    "JWT_AUDIENCE": "chat",
}

Issuer = Callable[[dict[str, Any]], str]


def config(**extra: str) -> GatewayConfig:
    """Settings for tokens."""
    return load(GatewayConfig, {**BASE, **extra})


def token(
    key: Any = SECRET, algorithm: str = "HS256", headers: dict[str, Any] | None = None, **changes: Any
) -> str:
    """A good token, unless something of it is changed; None leaves a claim out."""
    claims = {
        "iss": "https://issuer",
        "aud": "chat",
        "sub": "u-1",
        "exp": int(time.time()) + 60,
        "preferred_username": "Alice",
        **changes,
    }
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode(claims, key, algorithm=algorithm, headers=headers)


async def test_a_good_token_gives_name_and_subject() -> None:
    """The username is a claim, the session is bound to the subject."""
    login = TokenLogin(config(JWT_KEY=SECRET))
    assert await login.identify({"token": token(), "username": "Mallory"}) == Identity("Alice", "u-1")


@pytest.mark.parametrize(
    ("shown", "message"),
    [
        (lambda: token(exp=int(time.time()) - 60), "token expired"),
        (lambda: token(aud="other"), "invalid token"),
        (lambda: token(iss="other"), "invalid token"),
        (lambda: token(sub=None), "invalid token"),
        (lambda: token(sub="\ud800"), "invalid token"),
        (lambda: token(exp=None), "invalid token"),
        (lambda: token(key=SECRET[::-1]), "invalid token"),
        (lambda: token(preferred_username=None), "invalid username"),
        (lambda: token(preferred_username=""), "invalid username"),
        (lambda: token(preferred_username=["x"]), "invalid username"),
        (lambda: jwt.encode({"sub": "u"}, "", algorithm="none"), "invalid token"),
        (lambda: "no.token.atall", "invalid token"),
        (lambda: "", "invalid token"),
        (lambda: None, "invalid token"),
        (lambda: 7, "invalid token"),
        (lambda: "\ud800", "invalid token"),
        (lambda: "x" * 20_000, "invalid token"),
    ],
)
async def test_everything_else_is_refused(shown: Callable[[], Any], message: str) -> None:
    """Each refusal is a CONNECT_ERROR: the client logs in again, and is not left in a loop."""
    login = TokenLogin(config(JWT_KEY=SECRET, JWT_CLOCK_SKEW="10s"))
    with pytest.raises(ConnectRefused) as refused:
        await login.identify({"token": shown()})
    assert refused.value.message == message


async def test_the_clock_may_be_off_a_little() -> None:
    """A token that expired within the skew still counts."""
    login = TokenLogin(config(JWT_KEY=SECRET, JWT_CLOCK_SKEW="30s"))
    assert (await login.identify({"token": token(exp=int(time.time()) - 10)})).subject == "u-1"


async def test_a_public_key_is_not_taken_for_a_secret() -> None:
    """A token signed with the text of the public key as an HS256 secret is the classic forgery."""
    private = ec.generate_private_key(ec.SECP256R1())
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat  # noqa: PLC0415

    pem = private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    login = TokenLogin(config(JWT_KEY=pem))
    assert (await login.identify({"token": token(private, "ES256")})).username == "Alice"
    import base64  # noqa: PLC0415
    import hashlib  # noqa: PLC0415
    import hmac  # noqa: PLC0415

    head, body, _ = token(SECRET).split(".")
    signature = hmac.digest(pem.encode(), f"{head}.{body}".encode(), hashlib.sha256)
    forged = f"{head}.{body}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"
    with pytest.raises(ConnectRefused):
        await login.identify({"token": forged})


class JwksServer:
    """An issuer's key server on a free port, whose keys can change and which can fail."""

    def __init__(self) -> None:
        self.keys: list[dict[str, Any]] = []
        self.requests = 0
        self.failing = False
        self.url = ""

    async def handle(self, _request: web.Request) -> web.Response:
        """Answer with the keys."""
        self.requests += 1
        return web.Response(status=500) if self.failing else web.json_response({"keys": self.keys})

    def add(self, key_id: str) -> rsa.RSAPrivateKey:
        """Make a key and publish its public half."""
        private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        jwk = jwt.algorithms.RSAAlgorithm.to_jwk(private.public_key(), as_dict=True)
        self.keys.append({**jwk, "kid": key_id, "use": "sig", "alg": "RS256"})
        return private


@pytest.fixture
async def issuer() -> AsyncIterator[JwksServer]:
    """A running key server."""
    server = JwksServer()
    app = web.Application()
    app.router.add_get("/jwks", server.handle)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/jwks"
    yield server
    await runner.cleanup()


async def test_keys_come_from_the_issuer_once(issuer: JwksServer) -> None:
    """Many logins cause one request; an unknown key id does not cause one each."""
    private = issuer.add("k1")
    login = TokenLogin(config(JWT_JWKS_URL=issuer.url))
    try:
        for _ in range(5):
            assert (await login.identify({"token": token(private, "RS256", {"kid": "k1"})})).subject == "u-1"
        for _ in range(5):
            with pytest.raises(ConnectRefused):
                await login.identify({"token": token(private, "RS256", {"kid": "unknown"})})
        assert issuer.requests == 1
    finally:
        await login.close()


async def test_an_issuer_that_is_away_is_a_passing_fault(issuer: JwksServer) -> None:
    """No CONNECT_ERROR: the client tries again, and gets in when the issuer is back."""
    private = issuer.add("k1")
    issuer.failing = True
    login = TokenLogin(config(JWT_JWKS_URL=issuer.url))
    try:
        shown = {"token": token(private, "RS256", {"kid": "k1"})}
        with pytest.raises(TransportRefused):
            await login.identify(shown)
        issuer.failing = False
        assert (await login.identify(shown)).username == "Alice"
    finally:
        await login.close()


@pytest.mark.parametrize(
    "extra",
    [
        {},
        {"JWT_KEY": "short"},
        {"JWT_KEY": SECRET, "JWT_JWKS_URL": "https://issuer/jwks"},
        {"JWT_JWKS_URL": "ftp://issuer"},
        {"JWT_KEY": SECRET, "JWT_ISSUER": ""},
        {"JWT_KEY": SECRET, "JWT_AUDIENCE": ""},
    ],
)
def test_settings_that_check_nothing_are_refused(extra: dict[str, str]) -> None:
    """A login that would let anybody in does not start."""
    with pytest.raises(ConfigError):
        config(**extra)
