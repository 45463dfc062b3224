"""The pool: at most so many runs at once, each in a process of its own that is gone afterwards.

A run's way: wait for a place, have the zygote fork a child around one end of a socket pair, send the request, answer
its host calls, take its outcome, kill it, have it reaped, give the place back. Whatever ends the child earlier
(deadline, signal, memory, cancellation) ends the conversation, and the wait status says why: the run has failed, the
pool and the node go on.

Each run is a task of the pool. The caller waits for it behind a shield, so that a cancelled caller kills its child
and never leaves an exchange with the zygote half done. Deadlines count the time in which the run was allowed to run:
`suspend` (SIGSTOP) stops the clock, `resume` starts it again.
"""

from __future__ import annotations

import asyncio
import signal
import socket
import time
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from icn_lite.model import cbor
from icn_lite.model.errors import FailureReason, HostAbiError, IcnLiteError, UsageError
from icn_lite.sandbox import child, wire
from icn_lite.sandbox.entry import Entry, plan_entry
from icn_lite.sandbox.forkserver import ChildProcess, Ending, SandboxError, Zygote, ZygoteGone
from icn_lite.sandbox.host import BUILT_IN, HostAnswer, HostCall, HostPort, answer_built_in
from icn_lite.sandbox.outcome import RunOutcome, RunRequest

MAX_WORKERS: Final = 64  # far above the cores of any device this is for
MAX_QUEUE: Final = 4096
READ_BYTES: Final = 1 << 16
HEADER_BYTES: Final = 4
ZYGOTE_TRIES: Final = 2  # a zygote killed between two runs is replaced once; twice in a row is a device's refusal

_SIGNALS: Final = {
    signal.SIGKILL: (FailureReason.CRASH_OR_PANIC, "killed from outside, as the kernel does when memory runs out"),
    signal.SIGPROF: (FailureReason.CPU_TIMEOUT, "used more processor time than the run may take"),
    signal.SIGXCPU: (FailureReason.CPU_TIMEOUT, "used more processor time than the run may take"),
    signal.SIGSYS: (FailureReason.CRASH_OR_PANIC, "tried a system call that the sandbox forbids"),
}


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """`workers` runs at once, `queue` more may wait."""

    workers: int = 2
    engine: str = "wasm3"
    queue: int = 64

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS or not 0 <= self.queue <= MAX_QUEUE:
            raise UsageError(f"expected 1 to {MAX_WORKERS} workers and a queue of at most {MAX_QUEUE}")


class _Run:
    """One run while it is under way."""

    def __init__(self, request: RunRequest, entry: Entry) -> None:
        self.request = request
        self.entry = entry
        self.child: ChildProcess | None = None
        self.aborted = False
        self.timed_out = False
        self._left_s = request.timeout_ms / 1000
        self._since = 0.0
        self._timer: asyncio.TimerHandle | None = None

    def start_clock(self) -> None:
        if self._timer is None:
            loop = asyncio.get_running_loop()
            self._since = loop.time()
            self._timer = loop.call_later(max(0.0, self._left_s), self._deadline)

    def stop_clock(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
            self._left_s -= asyncio.get_running_loop().time() - self._since

    def _deadline(self) -> None:
        self.timed_out = True
        self.kill()

    def abort(self) -> None:
        self.aborted = True
        self.kill()

    def kill(self) -> None:
        if self.child is not None:
            self.child.signal(signal.SIGKILL)


class Pool:
    """`async with Pool(PoolConfig(workers=2)) as pool: outcome = await pool.run(request)`."""

    def __init__(self, config: PoolConfig | None = None, host: HostPort | None = None) -> None:
        self.config = config or PoolConfig()
        self._host = host
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._places = asyncio.Semaphore(self.config.workers)
        self._go = asyncio.Event()
        self._go.set()
        self._runs: set[_Run] = set()
        self._tasks: set[asyncio.Task[RunOutcome]] = set()
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._ready_zygote()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def waiting(self) -> int:
        """Runs that are accepted and not finished."""
        return len(self._tasks)

    @property
    def zygote_pid(self) -> int | None:
        return self._zygote.pid if self._zygote is not None and self._zygote.alive else None

    @property
    def child_pids(self) -> list[int]:
        return [run.child.pid for run in self._runs if run.child is not None]

    async def run(self, request: RunRequest) -> RunOutcome:
        """Run to the end; `UsageError` for a request that can't be run, `SandboxError` when the sandbox can't work.

        Cancelling the caller kills the child.
        """
        if self._closed:
            raise SandboxError("the pool is closed")
        entry = plan_entry(request)
        if len(self._tasks) >= self.config.workers + self.config.queue:
            raise SandboxError(f"{len(self._tasks)} runs are waiting already", hint="try again later")
        run = _Run(request, entry)
        task = asyncio.get_running_loop().create_task(self._perform(run), name="sandbox run")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            run.abort()
            task.add_done_callback(_retrieve)
            raise

    def suspend(self) -> None:
        """Stop every run where it stands and start no other; their clocks stand still."""
        self._go.clear()
        for run in self._runs:
            run.stop_clock()
            if run.child is not None:
                run.child.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the runs go on."""
        for run in self._runs:
            if run.child is not None:
                run.child.signal(signal.SIGCONT)
            run.start_clock()
        self._go.set()

    @property
    def suspended(self) -> bool:
        return not self._go.is_set()

    async def close(self) -> None:
        """Kill what runs, wait until every child is reaped, end the zygote."""
        self._closed = True
        self._go.set()
        while self._tasks:
            for run in self._runs:
                run.abort()
            await asyncio.wait(self._tasks, timeout=1.0)
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    async def _perform(self, run: _Run) -> RunOutcome:
        async with self._places:
            await self._go.wait()
            if run.aborted or self._closed:
                return self._failed(run, 0, FailureReason.CRASH_OR_PANIC, "cancelled before it began")
            self._runs.add(run)
            try:
                return await self._in_child(run)
            finally:
                run.stop_clock()
                self._runs.discard(run)

    async def _in_child(self, run: _Run) -> RunOutcome:
        ours, theirs = socket.socketpair()
        with ours:
            with theirs:
                keeper, process = await self._fork(theirs)
            started = time.monotonic()
            run.child = process
            self._begin(run)
            outcome: RunOutcome | None = None
            fault = ""
            try:
                outcome = await self._converse(run, ours, started)
            except wire.ProtocolError as error:
                fault = str(error)
            finally:
                # It ends by itself, but a child that was taken over might not; it isn't reaped, so the number is its.
                process.signal(signal.SIGKILL)
                ending = await _ending(keeper, process)
        if outcome is not None:
            return outcome
        return self._explain(run, ending, fault, _ms_since(started))

    def _begin(self, run: _Run) -> None:
        """What may have happened while the child was forked."""
        if self.suspended and run.child is not None:
            run.child.signal(signal.SIGSTOP)
        else:
            run.start_clock()
        if run.aborted or self._closed:
            run.kill()

    async def _converse(self, run: _Run, ours: socket.socket, started: float) -> RunOutcome | None:
        """Send the request, answer calls, return the outcome; None when the child ended without one."""
        loop = asyncio.get_running_loop()
        ours.setblocking(False)
        reader = _FrameReader(ours, wire.answer_limit(run.request))
        try:
            await loop.sock_sendall(ours, wire.encode_request(run.request, run.entry, self._host))
            while True:
                body = await reader.next()
                if body is None:
                    return None
                fields = wire.decode_answer(body)
                if fields[0] == child.DONE:
                    timing = wire.Timing(self.config.engine, _ms_since(started))
                    return wire.read_done(fields, run.request, run.entry, timing)
                await loop.sock_sendall(ours, await self._answer(run, fields))
        except ConnectionError:
            return None

    async def _answer(self, run: _Run, fields: list[cbor.Value]) -> bytes:
        call = wire.read_call(fields)
        try:
            answer = await self._ask(run, call)
        except IcnLiteError:  # the node couldn't; the guest learns that much and no more
            answer = HostAnswer.refused(HostAbiError.UNKNOWN)
        return wire.encode_reply(answer.result, answer.data)

    async def _ask(self, run: _Run, call: HostCall) -> HostAnswer:
        if self._host is not None and self._host.serves(call.name):
            return await self._host.call(run.request.context, call)
        if call.name in BUILT_IN:
            return answer_built_in(call)
        return HostAnswer.refused(HostAbiError.NOT_SUPPORTED)

    async def _fork(self, theirs: socket.socket) -> tuple[Zygote, ChildProcess]:
        for _ in range(ZYGOTE_TRIES):
            keeper = await self._ready_zygote()
            try:
                return keeper, await keeper.fork(theirs.fileno())
            except ZygoteGone:
                continue
        raise SandboxError("the sandbox's process keeps ending", hint="is the device out of memory or processes?")

    async def _ready_zygote(self) -> Zygote:
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                fresh = Zygote(self.config.engine)
                await fresh.start()
                self._zygote = fresh
            return self._zygote

    def _explain(self, run: _Run, ending: Ending | None, fault: str, wall_ms: int) -> RunOutcome:
        """Why there is no outcome."""
        if fault:
            return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, f"the child broke the protocol: {fault}")
        if run.timed_out:
            detail = f"ran longer than {run.request.timeout_ms} ms and was killed"
            return self._failed(run, wall_ms, FailureReason.CPU_TIMEOUT, detail)
        if run.aborted:
            return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, "killed because nobody waits for it")
        if ending is None:
            return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, "killed when the sandbox's process ended")
        if ending.signal is not None:
            reason, detail = _SIGNALS.get(
                signal.Signals(ending.signal), (FailureReason.CRASH_OR_PANIC, f"crashed by signal {ending.signal}")
            )
            return self._failed(run, wall_ms, reason, detail)
        if ending.exit_code == child.EXIT_OUT_OF_MEMORY:
            return self._failed(run, wall_ms, FailureReason.OUT_OF_MEMORY, "the child ran out of memory")
        detail = f"the child ended with status {ending.exit_code} and no answer"
        return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, detail)

    def _failed(self, run: _Run, wall_ms: int, reason: FailureReason, detail: str) -> RunOutcome:
        return RunOutcome(
            status="failed",
            engine=self.config.engine,
            fuel_limit=run.request.fuel_limit,
            failure=reason,
            detail=detail,
            wall_ms=wall_ms,
        )


class _FrameReader:
    """Frames from a child that may say anything: never more than one limit's worth is held."""

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
            raise wire.ProtocolError(f"a frame of {length} bytes, at most {self._limit} are allowed")
        if not await self._fill(HEADER_BYTES + length):
            return None
        body = bytes(self._buffer[HEADER_BYTES : HEADER_BYTES + length])
        del self._buffer[: HEADER_BYTES + length]
        return body

    async def _fill(self, size: int) -> bool:
        loop = asyncio.get_running_loop()
        while len(self._buffer) < size:
            chunk = await loop.sock_recv(self._sock, max(READ_BYTES, min(size - len(self._buffer), 1 << 20)))
            if not chunk:
                return False
            self._buffer += chunk
        return True


async def _ending(keeper: Zygote, process: ChildProcess) -> Ending | None:
    try:
        return await keeper.reap(process)
    except ZygoteGone:
        return None


def _retrieve(task: asyncio.Task[RunOutcome]) -> None:
    """Take the error of a run that nobody waits for any more."""
    if not task.cancelled():
        task.exception()


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def run_once(request: RunRequest, *, engine: str = "wasm3", host: HostPort | None = None) -> RunOutcome:
    """One run in a pool of its own, for callers without an event loop."""

    async def once() -> RunOutcome:
        async with Pool(PoolConfig(workers=1, engine=engine, queue=0), host) as pool:
            return await pool.run(request)

    return asyncio.run(once())
