"""The Socket.IO server: python-socketio's interface, made to follow the protocol and to cost little.

`SocketServer` serves a `Handler`; `ClientSocket` is one client; `Frame` is a packet encoded once for all. It
knows nothing of Parley: no users, no messages, no store.
"""

from parley_gateway.sio.client import ClientSocket
from parley_gateway.sio.engine import Admit, EngineServer, owner_of
from parley_gateway.sio.frames import Frame
from parley_gateway.sio.handler import ConnectRefused, Handler, TransportRefused
from parley_gateway.sio.manager import LocalManager
from parley_gateway.sio.packets import RESERVED_EVENTS, Malformed
from parley_gateway.sio.server import SocketServer
from parley_gateway.sio.session import Application, RequestInfo, Session
from parley_gateway.sio.settings import EngineSettings

__all__ = [
    "RESERVED_EVENTS",
    "Admit",
    "Application",
    "ClientSocket",
    "ConnectRefused",
    "EngineServer",
    "EngineSettings",
    "Frame",
    "Handler",
    "LocalManager",
    "Malformed",
    "RequestInfo",
    "Session",
    "SocketServer",
    "TransportRefused",
    "owner_of",
]
