"""Reading Socket.IO v5 packets from untrusted bytes.

Whatever is wrong with them becomes `Malformed`, which closes that client's session and nothing else.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from typing import Any, Final, NamedTuple, Never

import msgspec

CONNECT: Final = 0
DISCONNECT: Final = 1
EVENT: Final = 2
ACK: Final = 3
CONNECT_ERROR: Final = 4
BINARY_EVENT: Final = 5
BINARY_ACK: Final = 6

PACKETS_PER_TURN: Final = 200
"""So many packets of one client are handled in one turn of the event loop, 1 to 3 ms.

256 KiB can hold 100,000, and all other clients would have to wait for them. What a user may send at once, by
default, has its place in one turn.
"""

RESERVED_EVENTS: Final = frozenset(
    {"connect", "connect_error", "disconnect", "disconnecting", "newListener", "removeListener"}
)
"""Names that mean something to Socket.IO's own libraries; as events of a client they run nothing."""

_HEAD: Final = re.compile(rb"[0-6](?:([1-9]\d{0,2})-)?(?:(/[^,]{0,255})(?:,|\Z))?(\d{1,16})?")
"""Type, number of attachments, namespace and ack id (Socket.IO protocol v5, "Packet encoding").

An id has at most 16 digits, what a JavaScript number holds exactly. What is left must be JSON, so that
anything longer or out of place fails there.
"""

_ZERO: Final = ord("0")
_EVENTS: Final = frozenset({EVENT, BINARY_EVENT})
_EVENT_NAMES: Final = frozenset({str, int, float})
_SURROGATE: Final = re.compile(rb"\\u[dD][89a-fA-F]")
_decode: Final = msgspec.json.Decoder().decode


class Malformed(Exception):  # noqa: N818 - the client's fault, not ours
    """A client's input breaks the protocol.

    Attributes:
        kind: What kind of input, from a small closed set that can label a metric.
    """

    def __init__(self, kind: str) -> None:
        super().__init__(kind)
        self.kind = kind


class Packet(NamedTuple):
    """A decoded packet.

    Attributes:
        type: One of the constants of this module.
        attachments: How many binary messages follow.
        namespace: ``/`` or another name.
        id: The acknowledgement id, if any.
        data: The decoded JSON, or None when there is none.
    """

    type: int
    attachments: int
    namespace: str
    id: int | None
    data: Any


def decode(data: bytes) -> Packet:
    """Decode one packet and check its shape.

    Raises:
        Malformed: It has none of the documented shapes.
    """
    match = _HEAD.match(data)
    if match is None:
        raise Malformed("packet")
    attachments_, namespace_, id_ = match.groups()
    kind, rest = data[0] - _ZERO, data[match.end() :]
    try:
        namespace = "/" if namespace_ is None else namespace_.decode()
        # A deep nest ends in RecursionError, which the decoder raises well before the stack ends.
        payload = _decode_json(rest) if rest else None
    except (ValueError, RecursionError) as error:
        raise Malformed("json") from error
    attachments = 0 if attachments_ is None else int(attachments_)
    if (kind >= BINARY_EVENT) != (attachments > 0) or not _has_shape(kind, payload, empty=not rest):
        raise Malformed("packet")
    return Packet(kind, attachments, namespace, None if id_ is None else int(id_), payload)


def _decode_json(data: bytes) -> Any:
    """Decode JSON, in which JavaScript may have escaped half a surrogate pair: a text cut inside an emoji.

    Such a text is no Unicode, but no breach of the protocol either: the application says what it thinks of
    it, and the client keeps its connection. An event's name must be Unicode all the same. Raises ValueError
    or RecursionError for what is no JSON.
    """
    try:
        return _decode(data)
    except msgspec.DecodeError:
        if _SURROGATE.search(data) is None:
            raise
        payload = json.loads(data, parse_constant=_no_constant)
        if type(payload) is list and payload and type(payload[0]) is str:
            payload[0].encode()
        return payload


def _no_constant(name: str) -> Never:
    """Refuse NaN and Infinity, which Python's decoder knows and JSON does not."""
    raise ValueError(f"{name} is no JSON")


def _has_shape(kind: int, payload: Any, *, empty: bool) -> bool:
    if kind in _EVENTS:
        # Numbers are legal event names.
        return type(payload) is list and bool(payload) and type(payload[0]) in _EVENT_NAMES
    if kind == CONNECT:
        return empty or type(payload) is dict
    if kind == DISCONNECT:
        return empty
    # CONNECT_ERROR is for servers to send.
    return kind != CONNECT_ERROR and type(payload) is list


def decode_base64(data: bytes) -> bytes:
    """Decode a binary message of a polling payload.

    Raises:
        Malformed: It is not base64.
    """
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise Malformed("payload") from error


def with_attachments(data: Any, attachments: list[bytes]) -> Any:
    """Put binary attachments in the places that a packet's JSON keeps for them.

    Raises:
        Malformed: A placeholder names an attachment that is not there.
    """
    try:
        return _fill(data, attachments)
    except RecursionError as error:
        raise Malformed("packet") from error


def _fill(data: Any, attachments: list[bytes]) -> Any:
    if type(data) is list:
        return [_fill(item, attachments) for item in data]
    if type(data) is not dict:
        return data
    if data.get("_placeholder") is True:
        number = data.get("num")
        if type(number) is not int or not 0 <= number < len(attachments):
            raise Malformed("packet")
        return attachments[number]
    return {key: _fill(item, attachments) for key, item in data.items()}


def encode(kind: int, args: list[object], namespace: str, ack_id: int | None) -> list[bytes]:
    """Encode an EVENT or ACK whose arguments may hold bytes.

    Returns:
        The text packet (without Engine.IO's type), followed by its binary attachments.

    Raises:
        TypeError, ValueError: An argument is not JSON.
    """
    attachments: list[bytes] = []
    data = _extract(args, attachments)
    head = b"%d" % (kind if not attachments else kind + 3)
    if attachments:
        head += b"%d-" % len(attachments)
    if namespace != "/":
        head += namespace.encode() + b","
    if ack_id is not None:
        head += b"%d" % ack_id
    return [head + msgspec.json.encode(data), *attachments]


def _extract(data: Any, attachments: list[bytes]) -> Any:
    if isinstance(data, (bytes, bytearray)):
        attachments.append(bytes(data))
        return {"_placeholder": True, "num": len(attachments) - 1}
    if isinstance(data, (list, tuple)):
        return [_extract(item, attachments) for item in data]
    if isinstance(data, dict):
        return {key: _extract(item, attachments) for key, item in data.items()}
    return data
