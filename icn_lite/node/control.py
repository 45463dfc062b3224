"""The running node's ear for its owner: a Unix socket in the home, which only the owner may open.

A request is one line of JSON, `{"command": …, …}`, followed by `size` bytes where it carries a block; the answer is
one line of JSON: the command's value under `result`, or `error` as in every `--json` answer. One request a
connection; requests and waits are bounded.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import socket
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final, TypeAlias

from icn_lite.model.errors import IcnLiteError, PeerError, UsageError

Json: TypeAlias = "bool | int | str | list[Json] | dict[str, Json] | None"
Command: TypeAlias = Callable[[Mapping[str, Json], bytes], Awaitable[Json]]

MAX_LINE_BYTES: Final = 256 << 10  # a job document with its policy; a list of the newest jobs as an answer
MAX_BODY_BYTES: Final = 64 << 20  # one block, as large as the store takes them
MAX_CONNECTIONS: Final = 32
MAX_ADDRESS_BYTES: Final = 103  # Linux has room for 107 and a NUL, the BSDs for 103
READ_S: Final = 30.0  # for a request to arrive; its owner sits on the same machine
ANSWER_S: Final = 3_600.0  # for a command that waits, such as `submit --wait`; it is asked again after that
MAX_ANSWER_BYTES: Final = 16 << 20
log = logging.getLogger(__name__)


class ControlServer:
    """Listens from `start` to `close`."""

    def __init__(self, path: Path, commands: Mapping[str, Command]) -> None:
        self._path = path
        self._commands = commands
        self._server: asyncio.Server | None = None
        self._serving: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen; a socket that a killed node left behind is replaced: the home's lock says that nobody uses it."""
        self._path.unlink(missing_ok=True)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with _address(self._path) as address:
            listener.bind(address)
            self._server = await asyncio.start_unix_server(self._connected, sock=listener, limit=MAX_LINE_BYTES)
        self._path.chmod(0o600)

    async def close(self) -> None:
        """Stop listening, end the commands that still wait, and remove the socket."""
        if self._server is not None:
            self._server.close()
            self._server = None
            for task in self._serving:
                task.cancel()
            await asyncio.gather(*self._serving, return_exceptions=True)
            self._path.unlink(missing_ok=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.get_running_loop().create_task(self._serve(reader, writer), name="control")
        self._serving.add(task)
        task.add_done_callback(self._serving.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answer = await self._answer(reader)
            with contextlib.suppress(ConnectionError, TimeoutError):
                async with asyncio.timeout(READ_S):
                    writer.write(json.dumps(answer).encode("utf-8") + b"\n")
                    await writer.drain()
        finally:
            writer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> Json:
        try:
            if len(self._serving) > MAX_CONNECTIONS:
                raise UsageError(f"{MAX_CONNECTIONS} commands are being answered already", hint="try again")
            command, request, body = await self._read(reader)
            async with asyncio.timeout(ANSWER_S):
                return {"result": await command(request, body)}
        except IcnLiteError as error:
            return {"error": dict(error.as_json()), "exit_code": error.exit_code}
        except TimeoutError:
            return {"error": dict(PeerError("no answer in time", hint="try again").as_json()), "exit_code": 7}
        except Exception:
            log.exception("a command failed")
            return {"error": dict(IcnLiteError("a fault of this node", hint="see its log").as_json()), "exit_code": 1}

    async def _read(self, reader: asyncio.StreamReader) -> tuple[Command, Mapping[str, Json], bytes]:
        async with asyncio.timeout(READ_S):
            try:
                request = json.loads(await reader.readline())
            except (ValueError, RecursionError) as error:
                raise UsageError("expected one line of JSON") from error
            command = request.get("command") if isinstance(request, dict) else None
            if not isinstance(command, str) or command not in self._commands:
                raise UsageError(f"expected a command, one of {', '.join(sorted(self._commands))}")
            size = request.get("size", 0)
            if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= MAX_BODY_BYTES:
                raise UsageError(f"expected a size of at most {MAX_BODY_BYTES} bytes, found {size!r}")
            try:
                return self._commands[command], request, await reader.readexactly(size)
            except asyncio.IncompleteReadError as error:
                raise UsageError(f"expected {size} bytes, found {len(error.partial)}") from error


@contextlib.contextmanager
def _address(path: Path) -> Iterator[str]:
    """The socket's path, or a short way to it: unix(7) allows 108 bytes, and homes may lie deep."""
    if len(os.fsencode(path)) <= MAX_ADDRESS_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


class RemoteError(IcnLiteError):
    """An error that the running node answered with."""

    def __init__(self, fields: Mapping[str, str | None], exit_code: int) -> None:
        super().__init__(fields.get("message") or "the node answered with an error", hint=fields.get("hint") or "")
        self._fields = dict(fields)
        self.exit_code = exit_code

    def as_json(self) -> dict[str, str | None]:
        """As the node wrote it."""
        return {key: self._fields.get(key) for key in ("code", "kind", "message", "hint")}


def ask(path: Path, request: Mapping[str, Json], body: bytes = b"", *, timeout_s: float = 60.0) -> Json:
    """Ask the node that runs on a home; raises `PeerError` when none does, `RemoteError` for what it refuses."""
    line = json.dumps({**request, "size": len(body)}).encode("utf-8") + b"\n"
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            connection.settimeout(timeout_s)
            with _address(path) as address:
                connection.connect(address)
            connection.sendall(line)
            with contextlib.suppress(BrokenPipeError):  # it has answered already and wants no more, not even b""
                connection.sendall(body)
            answer = _read_line(connection)
    except (FileNotFoundError, ConnectionError) as error:
        raise PeerError(f"no node runs on {path.parent}", hint="start it with `icn-lite up`") from error
    except OSError as error:
        raise PeerError(f"the node on {path.parent} doesn't answer: {error}", hint="see its log") from error
    value = json.loads(answer)
    if "error" in value:
        raise RemoteError(value["error"], int(value.get("exit_code", 1)))
    result: Json = value["result"]
    return result


def _read_line(connection: socket.socket) -> bytes:
    data = bytearray()
    while not data.endswith(b"\n"):
        piece = connection.recv(1 << 16)
        if not piece:
            raise ConnectionError("the node closed the connection")
        data += piece
        if len(data) > MAX_ANSWER_BYTES:
            raise ConnectionError("the answer is too large")
    return bytes(data)
