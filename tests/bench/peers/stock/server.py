"""The guide's server on stock python-socketio with its Redis manager, one process a server.

    REDIS_PORT=6379 python -m tests.bench.peers.stock.server

Listens on a free port of 127.0.0.1 and says which on the first line of stdout. SIGTERM ends it. It is the
plain port that a Python programmer would write, helped by uvloop, orjson and hiredis, and otherwise left as
the packages come.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from typing import Any

import orjson
import socketio
import uvloop
from aiohttp import web
from redis.asyncio import Redis

from tests.bench.peers.stock.stores import Message, MessageStore, Session, SessionStore


class OrjsonModule:
    """orjson with the functions that python-socketio expects of a json module."""

    loads = staticmethod(orjson.loads)

    @staticmethod
    def dumps(value: object, **_: object) -> str:
        """Encode compactly; python-socketio passes `separators`, and text is what its packets are made of."""
        return orjson.dumps(value).decode()


def build_server(redis_url: str) -> socketio.AsyncServer:
    """Make the Socket.IO server with the guide's handlers."""
    sio = socketio.AsyncServer(
        async_mode="aiohttp",
        client_manager=socketio.AsyncRedisManager(redis_url),
        cors_allowed_origins="http://localhost:8080",
        json=OrjsonModule,
    )
    redis = Redis.from_url(redis_url, decode_responses=True)
    sessions = SessionStore(redis)
    messages = MessageStore(redis)

    async def sign_in(auth: dict[str, Any]) -> tuple[str, Session]:
        session_id = auth.get("sessionID")
        if session_id:
            known = await sessions.find(session_id)
            if known is not None:
                return session_id, {**known, "connected": True}
        username = auth.get("username")
        if not username:
            raise socketio.exceptions.ConnectionRefusedError("invalid username")
        return secrets.token_hex(8), {"userID": secrets.token_hex(8), "username": username, "connected": True}

    async def connect(sid: str, _environ: dict[str, Any], auth: dict[str, Any] | None) -> None:
        session_id, session = await sign_in(auth or {})
        user_id = session["userID"]
        await sio.save_session(sid, {"session_id": session_id, "session": session})
        await sessions.save(session_id, session)
        await sio.emit("session", {"sessionID": session_id, "userID": user_id}, to=sid)
        await sio.enter_room(sid, user_id)

        own_messages, everybody = await asyncio.gather(messages.find_for_user(user_id), sessions.find_all())
        by_peer: dict[str, list[Message]] = {}
        for message in own_messages:
            peer = message["to"] if message["from"] == user_id else message["from"]
            by_peer.setdefault(peer, []).append(message)
        users = [{**known, "messages": by_peer.get(known["userID"], [])} for known in everybody]
        await sio.emit("users", users, to=sid)
        await sio.emit("user connected", {**session, "messages": []}, skip_sid=sid)

    async def private_message(sid: str, data: dict[str, Any]) -> None:
        user_id = (await sio.get_session(sid))["session"]["userID"]
        message: Message = {"content": data["content"], "from": user_id, "to": data["to"]}
        await sio.emit("private message", message, to=[data["to"], user_id], skip_sid=sid)
        await messages.save(message)

    async def disconnect(sid: str, _reason: str) -> None:
        saved = await sio.get_session(sid)
        session: Session = saved["session"]
        # The Node server asks all servers here; python-socketio knows the rooms of its own process alone.
        others = [other for other, _ in sio.manager.get_participants("/", session["userID"]) if other != sid]
        if not others:
            await sio.emit("user disconnected", session["userID"])
            await sessions.save(saved["session_id"], {**session, "connected": False})

    sio.on("connect", connect)
    sio.on("private message", private_message)
    sio.on("disconnect", disconnect)
    return sio


async def serve() -> None:
    """Serve until SIGTERM."""
    stopped = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopped.set)
    app = web.Application()
    build_server(f"redis://127.0.0.1:{os.environ['REDIS_PORT']}").attach(app)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    _, port = runner.addresses[0]
    print(port, flush=True)  # noqa: T201 -- the parent process reads the port here
    await stopped.wait()
    await runner.cleanup()


if __name__ == "__main__":
    uvloop.run(serve())
