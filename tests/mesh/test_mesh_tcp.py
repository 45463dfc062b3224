"""Messages out of a stream of bytes and into one: the same as the library's own, however they are cut."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from types import SimpleNamespace

import pytest
from aiocoap import Message
from aiocoap.error import UnparsableMessage
from aiocoap.numbers.codes import Code
from aiocoap.transports.tcp import _decode_message, _extract_message_size, _serialize
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.tcp import TCP_SLACK_BYTES, Connection, _message, _serialized

SOME = settings(max_examples=150, deadline=None, derandomize=True)
PAYLOADS = st.one_of(
    st.binary(max_size=40), st.sampled_from([250, 2_040, 4_096, 65_800, 66_000]).map(lambda size: b"\xff\x01" * size)
)


@st.composite
def messages(draw: st.DrawFn) -> Message:
    message = Message(code=Code.GET, payload=draw(PAYLOADS), _token=draw(st.binary(max_size=8)))
    message.opt.uri_path = draw(st.lists(st.text(max_size=30), max_size=3))
    message.opt.uri_query = draw(st.lists(st.text("ab", max_size=300), max_size=2))
    message.opt.etags = draw(st.lists(st.binary(min_size=1, max_size=8), max_size=2))
    return message


def same(one: Message, other: Message) -> bool:
    return (one.code, one.token, one.payload, one.opt.encode()) == (
        other.code, other.token, other.payload, other.opt.encode()
    )  # fmt: skip


@SOME
@given(messages(), st.binary(max_size=30), st.binary(max_size=30))
def test_one_message_is_written_and_read_as_the_library_does(message: Message, before: bytes, behind: bytes) -> None:
    data = _serialized(message)
    assert data == _serialize(message)
    read = _message(before + data + behind, len(before), len(before) + len(data))
    assert same(read, _decode_message(data))
    assert same(read, message)


@SOME
@given(st.binary(max_size=200), st.integers(0, 12))
def test_bytes_that_are_no_options_are_refused_alike(junk: bytes, token_bytes: int) -> None:
    body = junk + b"\xff" * 2_100  # long enough for the way of its own
    length = len(body) - 269
    data = bytes((14 << 4 | token_bytes,)) + length.to_bytes(2, "big") + bytes((1,)) + bytes(token_bytes) + body
    outcomes: list[object] = []
    for read in (_decode_message, lambda held: _message(held, 0, len(held))):
        try:
            found = read(data)
            outcomes.append((found.code, found.token, found.payload, found.opt.encode()))
        except Exception as error:  # noqa: BLE001 - the library raises whatever the bytes lead it to
            outcomes.append(type(error))
    assert outcomes[0] == outcomes[1]


@pytest.fixture
async def wire() -> tuple[Connection, list[Message], list[str]]:
    """A connection without a socket, what it took in, and what was refused on it."""
    taken: list[Message] = []
    refused: list[str] = []
    closed: list[bool] = []

    def dispatch(connection: Connection, message: Message) -> None:
        taken.append(message)

    pool = SimpleNamespace(log=logging.getLogger("test"), _dispatch_incoming=dispatch, _scheme="coap+tcp")
    guard = SimpleNamespace(loop=asyncio.get_running_loop(), limits=MeshLimits(), refused=refused.append)
    connection = Connection(pool, guard, is_server=True)  # type: ignore[arg-type]
    connection._transport = SimpleNamespace(  # type: ignore[assignment]
        is_closing=lambda: bool(closed),
        abort=lambda: closed.append(True),
        close=lambda: closed.append(True),
        write=lambda data: None,
        get_write_buffer_size=lambda: 0,
    )
    connection._remote_hostinfo = ("127.0.0.1", 1)
    connection._remote_settings = {}
    return connection, taken, refused


SENT = [Message(code=Code.POST, payload=bytes([n]) * size, _token=bytes([n]), uri_path=["icn"])
        for n, size in enumerate((0, 1, 12, 13, 300, 3_000, 60_000, 5))]  # fmt: skip


@pytest.mark.parametrize("cut", [lambda n: 1, lambda n: 7, lambda n: 1_000, lambda n: 1 + n * n % 997, lambda n: 10**6])
async def test_a_stream_may_come_in_any_pieces(
    wire: tuple[Connection, list[Message], list[str]], cut: Callable[[int], int]
) -> None:
    connection, taken, refused = wire
    stream = b"".join(_serialize(message) for message in SENT)
    at = count = 0
    while at < len(stream):
        connection.data_received(stream[at : at + cut(count)])
        at += cut(count)
        count += 1
    assert not refused
    assert len(taken) == len(SENT)
    assert all(same(one, other) for one, other in zip(taken, SENT, strict=True))
    assert connection._held_bytes == 0


async def test_what_announces_too_much_is_closed_before_it_comes(
    wire: tuple[Connection, list[Message], list[str]],
) -> None:
    connection, taken, _ = wire
    limit = TCP_SLACK_BYTES + MeshLimits().tcp_message_bytes
    connection.data_received(_serialize(SENT[1]) + bytes((0xF0,)) + (limit - 65_805).to_bytes(4, "big"))
    assert len(taken) == 1
    assert not connection.is_open
    connection.data_received(_serialize(SENT[1]))
    assert len(taken) == 1


async def test_a_flood_of_tiny_messages_is_cut_once_and_not_once_each(
    wire: tuple[Connection, list[Message], list[str]],
) -> None:
    connection, taken, _ = wire
    ping = _serialize(Message(code=Code.GET))
    connection.data_received(ping * 20_000)  # 40 kB, of which the library would copy 400 MB
    assert len(taken) == 20_000


async def test_nonsense_closes_the_connection_and_is_counted(
    wire: tuple[Connection, list[Message], list[str]],
) -> None:
    connection, taken, refused = wire
    connection.data_received(b"\x3a\x01" + bytes(13))  # a token of ten bytes
    assert (taken, connection.is_open) == ([], False)
    assert refused in ([], ["malformed_message"])
    with pytest.raises(UnparsableMessage):
        _decode_message(b"\x3a\x01" + bytes(13))
    assert _extract_message_size(b"\x3a") is not None
