"""Frames from a child that may say anything: never more than one limit's worth is held."""

from __future__ import annotations

import asyncio
import socket
from typing import Final

from icn_lite.sandbox.wire import ProtocolError

READ_BYTES: Final = 1 << 16  # a trivial run's whole answer
MAX_READ_BYTES: Final = 1 << 20
HEADER_BYTES: Final = 4


class FrameReader:
    """The frames that arrive on one socket; none may be longer than `limit`."""

    def __init__(self, sock: socket.socket, limit: int) -> None:
        self._sock = sock
        self._limit = limit
        self._buffer = bytearray()

    async def next(self) -> bytes | None:
        """The next frame's body; None when the child ended between frames or within one."""
        if not await self._fill(HEADER_BYTES):
            return None
        length = int.from_bytes(self._buffer[:HEADER_BYTES], "big")
        if length > self._limit:
            raise ProtocolError(f"a frame of {length} bytes, at most {self._limit} are allowed")
        if not await self._fill(HEADER_BYTES + length):
            return None
        body = bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])
        del self._buffer[: HEADER_BYTES + length]
        return body

    async def _fill(self, size: int) -> bool:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < size:
            chunk = await loop.sock_recv(self._sock, max(READ_BYTES, min(size - len(self._buffer), MAX_READ_BYTES)))
            if not chunk:
                return False
            self._buffer += chunk
        return True
