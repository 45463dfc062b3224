"""The control socket: whatever arrives gets one line of JSON back, and the node goes on."""

from __future__ import annotations

import asyncio
import json
import socket
import stat
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from icn_lite.model.errors import JobError, PeerError
from icn_lite.node import control
from icn_lite.node.control import MAX_BODY_BYTES, MAX_CONNECTIONS, MAX_LINE_BYTES, ControlServer, RemoteError, ask


class Answers:
    """Commands that answer, refuse, fail and wait."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.waiting = 0
        self.full = asyncio.Event()

    def table(self) -> dict[str, control.Command]:
        return {"echo": self.echo, "refuse": self.refuse, "break": self.fail, "wait": self.wait}

    async def echo(self, request: Mapping[str, Any], body: bytes) -> Any:
        return {"body": body.hex(), "word": request.get("word")}

    async def refuse(self, request: Mapping[str, Any], body: bytes) -> Any:
        raise JobError("no such job", hint="look again")

    async def fail(self, request: Mapping[str, Any], body: bytes) -> Any:
        raise KeyError("a secret of ours")

    async def wait(self, request: Mapping[str, Any], body: bytes) -> Any:
        self.waiting += 1
        if self.waiting == MAX_CONNECTIONS:
            self.full.set()
        await self.go.wait()
        return True


@pytest.fixture
def answers() -> Answers:
    return Answers()


@pytest_asyncio.fixture
async def path(tmp_path: Path, answers: Answers) -> AsyncIterator[Path]:
    server = ControlServer(tmp_path / "control.sock", answers.table())
    await server.start()
    yield tmp_path / "control.sock"
    await server.close()


async def raw(path: Path, data: bytes) -> dict[str, Any]:
    """What the socket answers to these bytes and the end of them."""
    reader, writer = await asyncio.open_unix_connection(path)
    writer.write(data)
    writer.write_eof()
    answer = await reader.readline()
    writer.close()
    value = json.loads(answer)
    assert isinstance(value, dict)
    return value


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


async def asked(path: Path, command: str, body: bytes = b"", **fields: Any) -> Any:
    return await asyncio.to_thread(ask, path, {**fields, "command": command}, body)


async def test_a_command_and_its_answer(path: Path) -> None:
    assert await asked(path, "echo", b"\0\xff", word="ü") == {"body": "00ff", "word": "ü"}
    assert mode_of(path) == 0o600


async def test_a_refusal_keeps_its_words_and_exit_code(path: Path) -> None:
    with pytest.raises(RemoteError) as refused:
        await asked(path, "refuse")
    assert refused.value.as_json() == {
        "code": "J001",
        "kind": "invalid_job",
        "message": "no such job",
        "hint": "look again",
    }
    assert refused.value.exit_code == 1


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        b"nonsense\n",
        b"[1, 2]\n",
        b'"echo"\n',
        b"{}\n",
        b'{"command": "nothing like it"}\n',
        b'{"command": ["echo"]}\n',
        b'{"command": {"echo": 1}}\n',
        b'{"command": null}\n',
        b'{"command": "echo", "size": -1}\n',
        b'{"command": "echo", "size": true}\n',
        b'{"command": "echo", "size": "1"}\n',
        b'{"command": "echo", "size": %d}\n' % (MAX_BODY_BYTES + 1),
        b'{"command": "echo", "size": 9}\nshort',
        b'{"command": "echo", "word": "\xff"}\n',
        b"[" * 100_000 + b"\n",
        b"x" * (MAX_LINE_BYTES + 1),
    ],
    ids=range(18),
)
async def test_what_is_no_command_is_a_usage_error(path: Path, data: bytes) -> None:
    answer = await raw(path, data)
    assert answer["error"]["kind"] == "usage"
    assert answer["exit_code"] == 2
    assert "expected" in answer["error"]["message"]
    assert await asked(path, "echo") == {"body": "", "word": None}


async def test_a_fault_of_ours_is_answered_and_tells_nothing(path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(RemoteError, match="a fault of this node") as failed:
        await asked(path, "break")
    assert failed.value.exit_code == 1
    assert "secret" not in str(failed.value)
    assert "a secret of ours" in caplog.text
    assert await asked(path, "echo", b"x") == {"body": "78", "word": None}


async def test_no_more_than_so_many_at_once(path: Path, answers: Answers) -> None:
    connections = [await asyncio.open_unix_connection(path) for _ in range(MAX_CONNECTIONS)]
    for _, writer in connections:
        writer.write(b'{"command": "wait"}\n')
    await asyncio.wait_for(answers.full.wait(), 20)
    answer = await raw(path, b'{"command": "echo"}\n')
    assert "are being answered already" in answer["error"]["message"]
    answers.go.set()
    for reader, writer in connections:
        assert json.loads(await reader.readline()) == {"result": True}
        await reader.read()  # the end, so that the server has let go
        writer.close()
    assert await asked(path, "echo", b"x") == {"body": "78", "word": None}


async def test_a_socket_that_a_killed_node_left_is_replaced(tmp_path: Path, answers: Answers) -> None:
    path = tmp_path / "control.sock"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    with pytest.raises(PeerError, match="no node runs on"):
        await asked(path, "echo")
    server = ControlServer(path, answers.table())
    await server.start()
    assert await asked(path, "echo") == {"body": "", "word": None}
    await server.close()
    assert not path.exists()
    with pytest.raises(PeerError, match="no node runs on"):
        await asked(path, "echo")


async def test_a_home_that_lies_deep(tmp_path: Path, answers: Answers) -> None:
    deep = tmp_path / ("d" * 100) / ("ü" * 60)
    deep.mkdir(parents=True)
    path = deep / "control.sock"
    server = ControlServer(path, answers.table())
    await server.start()
    assert await asked(path, "echo", b"x") == {"body": "78", "word": None}
    assert mode_of(path) == 0o600
    await server.close()
    assert not path.exists()


async def test_a_node_that_ends_lets_go_of_those_who_wait(tmp_path: Path, answers: Answers) -> None:
    server = ControlServer(tmp_path / "control.sock", answers.table())
    await server.start()
    reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
    writer.write(b'{"command": "wait"}\n')
    waiting = asyncio.create_task(reader.read())
    while not answers.waiting:
        await asyncio.wait({waiting}, timeout=0.01)
    await server.close()
    assert await waiting == b""
    writer.close()


async def test_an_answer_comes_in_time_or_not_at_all(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(control, "ANSWER_S", 0.01)
    with pytest.raises(RemoteError, match="no answer in time"):
        await asked(path, "wait")
    monkeypatch.setattr(control, "READ_S", 0.01)
    reader, writer = await asyncio.open_unix_connection(path)
    assert "no answer in time" in json.loads(await reader.readline())["error"]["message"]  # who says nothing
    writer.close()
