"""What `up` becomes: one process number, its words in the process list, and nothing loaded that only words need."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from icn_lite.cli import daemon
from icn_lite.cli.daemon import Order, hand_over
from icn_lite.model import digest

ORDER = Order("/home/of/node", bytes(range(32)), {"port": "0", "roles": ["submit"]}, True, False, False)
# In the place of a node: what the process has loaded, whether TLS can still be had, and that large blocks still hash.
PROBE = """
import json, sys
from icn_lite.cli import daemon
def serve(order):
    before = sorted({"ssl", "_hashlib", "click", "rich"} & sys.modules.keys())
    from icn_lite.model import digest
    import hashlib
    agree = digest.sha256(bytes(1 << 20)) == hashlib.sha256(bytes(1 << 20)).digest()
    import ssl
    print(json.dumps({"loaded": before, "agree": agree, "tls": ssl.OPENSSL_VERSION, "seed": order.seed.hex()}))
daemon.serve = serve
daemon.main()
"""


def test_an_order_is_read_as_it_was_written() -> None:
    assert Order.decode(ORDER.encode()) == ORDER


def test_the_nodes_process_has_loaded_neither_words_nor_tls_and_can_have_tls_later() -> None:
    reading, writing = os.pipe()
    os.write(writing, ORDER.encode())
    os.close(writing)
    with os.fdopen(reading, "rb"):
        done = subprocess.run(
            [sys.executable, "-c", PROBE, "", str(reading)], pass_fds=(reading,), capture_output=True, check=False
        )
    assert done.returncode == 0, done.stderr.decode()
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["loaded"] == []
    assert told["agree"]
    assert told["tls"]
    assert told["seed"] == ORDER.seed.hex()


def test_up_keeps_its_process_and_its_words(tmp_path: Path) -> None:
    words = ["--home", str(tmp_path / "home"), "up", "--json", "--no-mdns", "--port", "0", "--bind", "127.0.0.1"]
    (tmp_path / "json.py").write_text("raise SystemExit('what lies around was loaded')")
    script = "import sys; sys.path.remove(''); from icn_lite.cli.main import main; main()"  # as the installed one is
    environ = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    with subprocess.Popen(
        [sys.executable, "-c", script, *words, "--until-eof"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=tmp_path, env=environ,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        told = b""
        while not told.endswith(b"}\n"):
            line = process.stdout.readline()
            assert line
            told += line
        if sys.platform == "linux":
            shown = Path(f"/proc/{process.pid}/cmdline").read_bytes().decode().split("\0")
            assert daemon.BOOT in shown
            assert shown[-len(words) - 2 : -2] == words
            variables = Path(f"/proc/{process.pid}/environ").read_bytes()
            seed = (tmp_path / "home" / "key").read_bytes()[-32:]
            assert seed.hex().encode() not in variables
            assert seed.hex() not in "".join(shown)
        process.communicate(timeout=60)
    assert process.returncode == 0


def test_where_exec_fails_the_same_process_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def refuse(path: str, command: list[str]) -> None:
        seen.append(command)
        raise OSError(errno.EACCES, "no")

    monkeypatch.setattr(os, "execv", refuse)
    monkeypatch.setattr(sys, "argv", ["icn-lite", "up", "--port", "0"])
    before = set(os.listdir("/dev/fd"))
    hand_over(ORDER)
    assert set(os.listdir("/dev/fd")) == before
    assert seen[0][-4:] == ["icn-lite", "up", "--port", "0"]
    assert ORDER.seed.hex() not in " ".join(seen[0])


def test_an_order_that_no_pipe_holds_is_carried_out_in_place(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "execv", lambda path, command: pytest.fail("handed over what was cut"))
    large = Order("/home", bytes(32), {"peers": ["coap://[::1]:5683"] * 20_000}, False, False, False)
    hand_over(large)


@pytest.mark.parametrize("size", [0, 1, digest.LARGE_BYTES - 1, digest.LARGE_BYTES, 1 << 20])
def test_large_and_small_are_hashed_alike(size: int) -> None:
    data = bytes(size)
    assert digest.sha256(data) == digest.sha256(memoryview(data)) == hashlib.sha256(data).digest()


def test_without_openssl_pythons_own_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "_hashlib", None)  # type: ignore[arg-type]
    digest.bulk.cache_clear()
    try:
        assert digest.sha256(bytes(1 << 20)) == hashlib.sha256(bytes(1 << 20)).digest()
        assert digest.bulk() is hashlib.sha256
    finally:
        digest.bulk.cache_clear()


def test_an_error_of_the_nodes_process_is_told_as_any_other(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def fail(order: Order) -> None:
        raise ValueError("deep inside")

    monkeypatch.setattr(daemon, "serve", fail)
    out = daemon.Output(as_json=True)
    assert daemon._run(ORDER, out) == 1
    error = json.loads(capsys.readouterr().out)["error"]
    assert "unexpected ValueError: deep inside" in error["message"]
