"""The demo as a person runs it: a process, over a small installed package of known files."""

from __future__ import annotations

import base64
import hashlib
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

SEED = 20_261_122
PATIENCE_S = 90
FILES = 12
FILE_BYTES = 300_000  # four shards of the demo's size
REPOSITORY = Path(__file__).parents[2]
# What a device does that lets nobody join a multicast group: Android without its lock, many containers.
REFUSE_MULTICAST = """
import errno, socket
_setsockopt = socket.socket.setsockopt
def setsockopt(self, level, name, *value):
    groups = {(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP), (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP)}
    if (level, name) in groups:
        raise PermissionError(errno.EPERM, "Operation not permitted")
    return _setsockopt(self, level, name, *value)
socket.socket.setsockopt = setsockopt
"""


def install(folder: Path, *, damaged: int | None = None) -> list[str]:
    """An installed package whose names sort before all others; returns them. One file may not be what RECORD says."""
    dice = random.Random(SEED)
    info = folder / "sample-1.0.dist-info"
    info.mkdir(parents=True)
    rows, names = [], []
    (folder / "!sample").mkdir()
    for number in range(FILES):
        name, content = f"!sample/{number:02}.bin", dice.randbytes(FILE_BYTES + number)
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        rows.append(f"{name},sha256={digest},{len(content)}")
        names.append(name)
        (folder / name).write_bytes(content if number != damaged else content[:-1] + b"?")
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: sample\nVersion: 1.0\n")
    (info / "RECORD").write_text("\n".join(rows) + "\nsample-1.0.dist-info/RECORD,,\n")
    return names


@dataclass
class Demo:
    """A running demo. Its nodes and their helpers are found by their parents and by the folder that they work in."""

    folder: Path
    process: subprocess.Popen[str]
    said: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._changed = threading.Condition()
        self._ended = False
        self._family: dict[int, psutil.Process] = {}
        self._out: list[str] = []
        self._readers = [threading.Thread(target=self._listen), threading.Thread(target=self._collect)]
        for reader in self._readers:
            reader.start()

    def _listen(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            with self._changed:
                self.said.append(line.rstrip())
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def _collect(self) -> None:
        assert self.process.stdout is not None
        self._out.append(self.process.stdout.read())

    def until(self, words: str) -> None:
        """Wait until a line on stderr contains these words."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: self._ended or any(words in line for line in self.said), timeout=PATIENCE_S
            )
        assert found, f"never said {words!r}: {self.said}"
        assert any(words in line for line in self.said), f"ended without {words!r}: {self.said}"

    def end(self) -> tuple[int, str]:
        """Wait for the end; returns the exit code and stdout."""
        code = self.process.wait(PATIENCE_S)
        for reader in self._readers:
            reader.join(PATIENCE_S)
        return code, self._out[0]

    def family(self) -> list[psutil.Process]:
        """Everything that the demo started, as far as it has come."""
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True):
                self._family.setdefault(child.pid, child)
        except psutil.NoSuchProcess:
            pass
        for process in psutil.process_iter(["cmdline"]):
            if str(self.folder) in " ".join(process.info["cmdline"] or ()) and process.pid != self.process.pid:
                self._family.setdefault(process.pid, process)
        return list(self._family.values())

    def left(self) -> list[psutil.Process]:
        """What of all this still runs, after a moment to end."""
        _, alive = psutil.wait_procs(self.family(), timeout=20)
        return [process for process in alive if process.status() != psutil.STATUS_ZOMBIE]


@contextmanager
def demo(tmp_path: Path, *arguments: str, multicast: bool = True, damaged: int | None = None) -> Iterator[Demo]:
    """Start the demo over the sample package; nothing of it is left afterwards."""
    site = tmp_path / "site"
    install(site, damaged=damaged)
    if not multicast:
        (site / "sitecustomize.py").write_text(REFUSE_MULTICAST)
    environ = {name: value for name, value in os.environ.items() if not name.startswith("ICN_LITE")}
    environ |= {"PYTHONPATH": f"{site}:{REPOSITORY}", "HOME": str(tmp_path)}
    folder = tmp_path / "demo"
    command = [sys.executable, "-m", "icn_lite.cli", "demo", "--files", str(FILES), "--folder", str(folder)]
    process = subprocess.Popen(
        [*command, *arguments],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        cwd=tmp_path,
        text=True,
        start_new_session=True,
    )
    started = Demo(folder, process)
    try:
        yield started
    finally:
        family = started.family()
        process.kill()
        started.end()
        for pipe in (process.stdout, process.stderr):
            assert pipe is not None
            pipe.close()
        for child in psutil.wait_procs(family, timeout=20)[1]:
            child.kill()
