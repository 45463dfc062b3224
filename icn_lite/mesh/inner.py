"""CoAP messages inside sealed ones: code, options and payload; what the outer message alone needs stays outside.

Layout: code (1 byte), length of the options (2 bytes), options as RFC 7252 §3.1 encodes them, payload. The length
stands first so that a payload of half a megabyte is cut off once and not once an option. Uri-Host and Uri-Port stay
outside: they name the way to a node, not what is asked of it.
"""

from __future__ import annotations

from typing import Final

from aiocoap import Message
from aiocoap.numbers.codes import Code
from aiocoap.numbers.optionnumbers import OptionNumber

from icn_lite.model.errors import DocumentError

MAX_OPTION_BYTES: Final = 1_024  # the longest path has 80; nothing here needs more
_HEAD_BYTES: Final = 3
_OUTSIDE: Final = (OptionNumber.URI_HOST, OptionNumber.URI_PORT)


def encode(message: Message) -> tuple[bytes, bytes]:
    """The bytes that are sealed: what stands before the payload, and the payload."""
    for number in _OUTSIDE:
        message.opt.delete_option(number)
    options = message.opt.encode()
    return b"".join((bytes((message.code,)), len(options).to_bytes(2, "big"), options)), message.payload


def decode_request(plain: bytes | bytearray, outer: Message) -> Message:
    """The request inside; it came from where the outer one came from."""
    message = _decode(plain, outer)
    if not message.code.is_request():
        raise DocumentError("expected a request inside")
    return message


def decode_answer(plain: bytes | bytearray, outer: Message) -> Message:
    """The answer inside."""
    message = _decode(plain, outer)
    if not message.code.is_response():
        raise DocumentError("expected an answer inside")
    return message


def _decode(plain: bytes | bytearray, outer: Message) -> Message:
    size = int.from_bytes(plain[1:_HEAD_BYTES], "big")
    if len(plain) < _HEAD_BYTES + size or size > MAX_OPTION_BYTES:
        raise DocumentError("expected a CoAP message inside", offset=0)
    end = _HEAD_BYTES + size
    message = Message(code=Code(plain[0]), payload=bytes(memoryview(plain)[end:]))
    try:
        rest = message.opt.decode(bytes(plain[_HEAD_BYTES:end]))
    except Exception as error:  # the library raises whatever the bytes lead it to
        raise DocumentError("expected CoAP options inside", offset=_HEAD_BYTES) from error
    if rest:
        raise DocumentError("expected nothing behind the options", offset=_HEAD_BYTES)
    message.remote = outer.remote
    message.direction = outer.direction
    return message
