"""The benchmark's own client speaks WebSocket and Socket.IO correctly."""

from __future__ import annotations

import struct

import pytest

from tests.bench import wire


def server_frame(payload: bytes, opcode: int = 0x1) -> bytes:
    """Make the frame a server sends: one fragment, no mask."""
    size = len(payload)
    if size < 126:
        return bytes((0x80 | opcode, size)) + payload
    if size < 65536:
        return struct.pack("!BBH", 0x80 | opcode, 126, size) + payload
    return struct.pack("!BBQ", 0x80 | opcode, 127, size) + payload


def unmask(frame: bytes) -> bytes:
    """Read a client's frame back to its payload."""
    assert frame[0] == 0x81
    assert frame[1] & 0x80
    start = 2 if frame[1] & 0x7F < 126 else 4
    size = frame[1] & 0x7F if start == 2 else int.from_bytes(frame[2:4], "big")
    mask, body = frame[start : start + 4], frame[start + 4 :]
    assert len(body) == size
    return bytes(byte ^ mask[i % 4] for i, byte in enumerate(body))


@pytest.mark.parametrize("size", [0, 1, 125, 126, 65_535])
def test_client_frames_carry_their_payload(size: int) -> None:
    """A frame of any size the generator sends unmasks to its payload."""
    payload = bytes(i % 251 for i in range(size))
    assert unmask(wire.frame(payload)) == payload


def test_client_frames_are_masked() -> None:
    """The mask is not zero, so that no server is spared the work of unmasking."""
    assert wire.frame(b"payload")[2:6] != bytes(4)


@pytest.mark.parametrize("step", [1, 7, 1_000_000])
def test_payloads_survive_any_cut_of_the_stream(step: int) -> None:
    """The reader yields the same payloads however TCP cuts them up."""
    payloads = [b"", b"2", b"x" * 125, b"y" * 126, b"z" * 70_000, b"3"]
    stream = b"".join(map(server_frame, payloads))
    reader = wire.FrameReader()
    read = [payload for at in range(0, len(stream), step) for payload in reader.feed(stream[at : at + step])]
    assert read == payloads


@pytest.mark.parametrize("opcode", [0x0, 0x2, 0x8, 0x9])
def test_what_a_text_client_cannot_read_is_an_error(opcode: int) -> None:
    """Fragments, binary frames, closes and WebSocket pings are refused."""
    with pytest.raises(wire.WireError):
        list(wire.FrameReader().feed(server_frame(b"\x03\xe8", opcode)))


def test_frames_before_a_close_are_still_read() -> None:
    """A close does not take back what came before it in the same bytes."""
    frames = wire.FrameReader().feed(server_frame(b"2") + server_frame(b"\x03\xe9gone", 0x8))
    assert next(frames) == b"2"
    with pytest.raises(wire.WireError, match="1001: gone"):
        next(frames)


def test_stamps_are_read_back_wherever_the_content_is() -> None:
    """A delivered message tells when it was sent and its number, in whatever order its keys come."""
    content = wire.message_packet("b", 123, 45, 100).partition(b'"content":')[2].partition(b",")[0]
    assert len(content) == 102
    payload = b'42["private message",{"to":"b","content":%b,"id":"1"},"offset"]' % content
    assert wire.read_stamp(payload) == (123, 45)


def test_a_message_without_content_is_an_error() -> None:
    """A delivery that holds no content of ours is not taken for one that does."""
    with pytest.raises(wire.WireError):
        wire.read_stamp(b'42["private message",{"to":"b"}]')


def test_acknowledged_messages_carry_id_and_number() -> None:
    """A message that asks for an acknowledgement is a Socket.IO event with an ack id and a message id."""
    packet = wire.message_packet_with_ack("b", 1, 7, 100, "me-7")
    assert packet.startswith(b'427["private message",{"content":"')
    assert packet.endswith(b'","to":"b","id":"me-7"}]')
