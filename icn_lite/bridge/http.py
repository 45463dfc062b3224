"""HTTP requests with a deadline and bounds, by the standard library in threads of their own.

One connection a request: a bridge asks a few times a minute, and a connection that is kept can be half dead.
"""

from __future__ import annotations

import asyncio
import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from icn_lite.model.errors import UpstreamError

MAX_ANSWER_BYTES: Final = 8 << 20  # a block of a MiB as a list of numbers takes up to four times as much
PIECE_BYTES: Final = 64 << 10
THREADS: Final = 4


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    body: bytes


@dataclass(frozen=True, slots=True)
class Server:
    """Where requests go: `http` or `https`, host and port."""

    secure: bool
    host: str
    port: int

    @classmethod
    def parse(cls, url: str, default_port: int) -> Server:
        """Read `http://HOST[:PORT]`; raises `ValueError`."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.path.strip("/"):
            raise ValueError(f"expected http://HOST:PORT or https://HOST:PORT, found {url!r}")
        if parts.username or parts.password:
            raise ValueError("expected no password in the address")
        return cls(parts.scheme == "https", parts.hostname, parts.port or default_port)

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.secure else 'http'}://{host}:{self.port}"


class HttpClient:
    """Asks one server."""

    def __init__(self, server: Server, headers: dict[str, str], deadline_s: float) -> None:
        self._server = server
        self._headers = headers
        self._deadline_s = deadline_s
        self._threads = ThreadPoolExecutor(THREADS, thread_name_prefix="http")

    async def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One request; raises `UpstreamError` where no whole answer comes in time."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._deadline_s + 1):
                return await loop.run_in_executor(self._threads, self._ask, method, path, body)
        except TimeoutError as late:
            raise UpstreamError(f"{self._server} gave no answer within {self._deadline_s:.0f} s") from late
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise UpstreamError(f"{self._server} is not reached: {error or type(error).__name__}") from error

    def close(self) -> None:
        """Take no more requests; what is under way ends by its deadline."""
        self._threads.shutdown(wait=False, cancel_futures=True)

    def _ask(self, method: str, path: str, body: bytes | None) -> Answer:
        until_s = time.monotonic() + self._deadline_s
        kind = http.client.HTTPSConnection if self._server.secure else http.client.HTTPConnection
        connection = kind(self._server.host, self._server.port, timeout=self._deadline_s)
        try:
            headers = {**self._headers, "Connection": "close"}
            if body is not None:
                headers["Content-Type"] = "application/json"
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            data = bytearray()
            while piece := response.read(PIECE_BYTES):
                data += piece
                if len(data) > MAX_ANSWER_BYTES:
                    raise ValueError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
                if time.monotonic() > until_s:
                    raise TimeoutError
            return Answer(response.status, bytes(data))
        finally:
            connection.close()
