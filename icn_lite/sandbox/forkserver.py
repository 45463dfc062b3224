"""The node's end of a zygote: start it, have it fork children, have it reap them.

Every child is forked around one socket whose other end the node keeps. A child is known by a pidfd where the kernel
has them (Linux 5.3), so that a signal can't hit a stranger who got the same number later; elsewhere it is signalled
by number, and only while the zygote that hasn't reaped it is alive.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import icn_lite
from icn_lite.model.errors import IcnLiteError, NotSupported
from icn_lite.sandbox import zygote

START_TIMEOUT_S: Final = 60.0  # 0.05 s on a PC; a busy Pi Zero with a cold disk takes many seconds
EXCHANGE_TIMEOUT_S: Final = 60.0  # a fork takes milliseconds; under memory pressure it can stall
BOOT: Final = "import sys; sys.path += sys.argv[4:]; from icn_lite.sandbox.zygote import main; main(sys.argv)"
_KEPT_ENVIRONMENT: Final = ("LD_LIBRARY_PATH",)  # a Python outside the system's folders needs it to start


class SandboxError(IcnLiteError):
    """The sandbox itself can't work: no process, no engine, or a queue that is full."""

    kind = "sandbox"


class ProcessRefused(SandboxError):
    """The system gives no process at the moment: too many of them, or too little memory."""


class ZygoteGone(Exception):
    """The zygote has ended or doesn't answer."""


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Where the zygote finds an engine."""

    module: str
    class_name: str
    package: str


ENGINES: dict[str, EngineSpec] = {
    "wasm3": EngineSpec("icn_lite.sandbox.engine_wasm3", "Wasm3Engine", "wasm3"),
    "wasmtime": EngineSpec("icn_lite.sandbox.engine_wasmtime", "WasmtimeEngine", "wasmtime"),
    "wasmtime-stock": EngineSpec("icn_lite.sandbox.engine_stock", "StockEngine", "wasmtime"),
}


@dataclass(frozen=True, slots=True)
class Ending:
    """How a child ended: its wait status as `os.waitpid` gives it."""

    status: int

    @property
    def signal(self) -> int | None:
        return os.WTERMSIG(self.status) if os.WIFSIGNALED(self.status) else None

    @property
    def exit_code(self) -> int | None:
        return os.WEXITSTATUS(self.status) if os.WIFEXITED(self.status) else None


class ChildProcess:
    """A forked child that the zygote hasn't reaped yet."""

    def __init__(self, pid: int, keeper: Zygote) -> None:
        self.pid = pid
        self._keeper: Zygote | None = keeper
        self._pidfd: int | None = None
        with contextlib.suppress(OSError, AttributeError):  # no pidfds in this kernel or this libc
            self._pidfd = os.pidfd_open(pid)

    def signal(self, number: signal.Signals) -> None:
        """Send a signal; nothing happens when the child is gone."""
        with contextlib.suppress(ProcessLookupError):
            if self._pidfd is not None:
                signal.pidfd_send_signal(self._pidfd, number)
            elif self._keeper is not None and self._keeper.alive:
                os.kill(self.pid, number)

    def forget(self) -> None:
        """Call once the child is reaped."""
        self._keeper = None
        if self._pidfd is not None:
            os.close(self._pidfd)
            self._pidfd = None


class Zygote:
    """One zygote process. `start`, `fork`, `reap` may be called from several tasks; `close` ends it."""

    def __init__(self, engine: str) -> None:
        self.engine = engine
        self.pid = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._control: socket.socket | None = None
        self._lock = asyncio.Lock()
        self._reading: socket.socket | None = None

    @property
    def alive(self) -> bool:
        return self._control is not None

    def launch(self) -> socket.socket:
        """Start the process; its READY or FAILED message is still to be read from the socket."""
        engine = _engine_arguments(self.engine)
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                self._process = subprocess.Popen(
                    [sys.executable, "-I", "-S", "-c", BOOT, str(theirs.fileno()), *engine],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    pass_fds=(theirs.fileno(),),
                    cwd="/",
                    env={name: os.environ[name] for name in _KEPT_ENVIRONMENT if name in os.environ},
                    start_new_session=True,
                )
            except OSError as error:
                ours.close()
                raise SandboxError(f"the sandbox's process could not be started: {error}") from error
        self.pid = self._process.pid
        self._control = ours
        return ours

    async def start(self) -> None:
        """Start and wait until it can fork; raises `SandboxError` or `NotSupported`."""
        control = self.launch()
        control.setblocking(False)
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                message = await asyncio.get_running_loop().sock_recv(control, zygote.MESSAGE_BYTES)
        except (TimeoutError, OSError) as error:
            self.close()
            raise SandboxError(f"the sandbox's process did not start: {error or 'no answer'}") from error
        except BaseException:
            self.close()
            raise
        self.check_started(message)

    def check_started(self, message: bytes) -> None:
        """Raise unless the first message says that the engine is loaded."""
        if message == zygote.READY:
            return
        self.close()
        if message[:1] == zygote.FAILED:
            raise NotSupported(
                f"the engine {self.engine} can't be loaded here: {message[1:].decode('utf-8', 'replace')}",
                hint="install it, or choose another engine",
            )
        raise SandboxError("the sandbox's process ended while it started", hint="icn-lite doctor shows what is missing")

    async def fork(self, descriptor: int, *, ahead: bool = False) -> ChildProcess:
        """A child around the socket `descriptor`, which the caller closes. `ZygoteGone` or `ProcessRefused`."""
        answer = await self._exchange(zygote.AHEAD if ahead else zygote.FORK, (descriptor,))
        pid = int.from_bytes(answer[:8], "big", signed=True)
        if pid <= 0:
            raise ProcessRefused(
                f"this device refuses another process: {os.strerror(-pid)}",
                hint="fewer workers, or allow child processes in the developer options of the phone",
            )
        return ChildProcess(pid, self)

    async def reap(self, child: ChildProcess) -> Ending:
        """Wait for a child that has ended or was just killed; `ZygoteGone` when nobody can say how it ended."""
        try:
            answer = await self._exchange(zygote.REAP + child.pid.to_bytes(8, "big"))
        finally:
            child.forget()
        return Ending(int.from_bytes(answer[:8], "big"))

    def forget(self, child: ChildProcess) -> bool:
        """Have a killed child reaped whose ending nobody asks about; False when it must be asked for after all.

        The zygote takes messages in order, so there are never more processes than places even so.
        """
        if self._control is None:
            child.forget()
            return True
        try:
            self._control.send(zygote.FORGET + child.pid.to_bytes(8, "big"))
        except BlockingIOError:
            return False
        except OSError:
            self.close()
        child.forget()
        return True

    async def _exchange(self, message: bytes, descriptors: tuple[int, ...] = ()) -> bytes:
        """One question, one answer. The callers' tasks are the pool's own and are never cancelled in the middle."""
        async with self._lock:
            if self._control is None:
                raise ZygoteGone
            control = self._reading = self._control
            try:
                socket.send_fds(control, [message], list(descriptors))
                async with asyncio.timeout(EXCHANGE_TIMEOUT_S):
                    answer = await asyncio.get_running_loop().sock_recv(control, zygote.MESSAGE_BYTES)
            except (OSError, TimeoutError) as error:
                self.close()
                raise ZygoteGone from error
            finally:
                self._reading = None
                if self._control is not control:
                    control.close()
            if not answer:
                self.close()
                raise ZygoteGone
            return answer

    def close(self) -> None:
        """End the process; children that still run are killed with it.

        A socket that somebody reads is shut down, which wakes the reader, who closes it. Closed under the reader, its
        number would come back with another socket that the event loop takes for one it watches already.
        """
        control, self._control = self._control, None
        if control is not None:
            with contextlib.suppress(OSError):
                control.shutdown(socket.SHUT_RDWR)
            if control is not self._reading:
                control.close()
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None


def probe_engine(engine: str) -> str | None:
    """Why an engine can't be used here, or None when a zygote has loaded it. Blocks for some 50 ms.

    Found by loading it: a wheel may install and yet not load (wasmtime's does so on armv7 and Android).
    """
    keeper = Zygote(engine)
    try:
        control = keeper.launch()
        control.settimeout(START_TIMEOUT_S)
        keeper.check_started(control.recv(zygote.MESSAGE_BYTES))
    except (IcnLiteError, OSError) as error:
        return str(error)
    finally:
        keeper.close()
    return None


def _engine_arguments(engine: str) -> list[str]:
    """Module, class, and the folders that hold our package and the engine's."""
    spec = ENGINES.get(engine)
    if spec is None:
        raise NotSupported(f"expected an engine of {', '.join(sorted(ENGINES))}, found {engine!r}")
    found = importlib.util.find_spec(spec.package)
    if found is None or found.origin is None:
        raise NotSupported(f"the engine {engine} is not installed", hint=f"pip install 'icn-lite[{spec.package}]'")
    origin = Path(found.origin)
    folder = origin.parents[1] if origin.name.startswith("__init__") else origin.parent
    root = Path(icn_lite.__file__).resolve().parents[1]
    return [spec.module, spec.class_name, *dict.fromkeys([str(root), str(folder)])]
