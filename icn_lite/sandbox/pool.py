"""The pool: at most so many runs at once, each in a process of its own that is gone afterwards.

A run's way: wait for a place, take a child, send the request, answer its host calls, take its outcome and hand it to
the caller, put the child away, give the place back. Whatever ends the child earlier (deadline, signal, memory,
cancellation) ends the conversation, and the wait status says why: the run has failed, the pool and the node go on.

Each run is a task of the pool, and its caller waits for a future: a cancelled caller kills its child and never leaves
an exchange with the zygote half done. Deadlines count the time in which the run was allowed to run: `suspend`
(SIGSTOP) stops the clock, `resume` starts it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Final, Self

from icn_lite.model import cbor
from icn_lite.model.errors import FailureReason, HostAbiError, IcnLiteError, UsageError
from icn_lite.sandbox import child as protocol
from icn_lite.sandbox import wire
from icn_lite.sandbox.children import Child, Children
from icn_lite.sandbox.conversation import FrameReader
from icn_lite.sandbox.entry import Entry, plan_entry
from icn_lite.sandbox.forkserver import Ending, ProcessRefused, SandboxError
from icn_lite.sandbox.host import BUILT_IN, HostAnswer, HostCall, HostPort, answer_built_in
from icn_lite.sandbox.outcome import RunOutcome, RunRequest

MAX_WORKERS: Final = 64  # far above the cores of any device this is for
MAX_QUEUE: Final = 4096
# Processes are refused for moments: while another application starts, or until a run of ours has ended. A run that is
# given up counts against the node, so it waits a little; what takes longer than this is the device's state.
FORK_WAITS_S: Final = (0.05, 0.2, 0.8, 2.0)
CLOSE_STEP_S: Final = 1.0  # while closing, children that were just forked are looked for this often

_SIGNALS: Final = {
    signal.SIGKILL: (FailureReason.CRASH_OR_PANIC, "killed from outside, as the kernel does when memory runs out"),
    signal.SIGPROF: (FailureReason.CPU_TIMEOUT, "used more processor time than the run may take"),
    signal.SIGXCPU: (FailureReason.CPU_TIMEOUT, "used more processor time than the run may take"),
    signal.SIGSYS: (FailureReason.CRASH_OR_PANIC, "tried a system call that the sandbox forbids"),
}


@dataclass(frozen=True, slots=True)
class PoolConfig:
    """`workers` runs at once, `queue` more may wait; `spares` children are forked ahead (0 where processes are few)."""

    workers: int = 2
    engine: str = "wasm3"
    queue: int = 64
    spares: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.workers <= MAX_WORKERS or not 0 <= self.queue <= MAX_QUEUE:
            raise UsageError(f"expected 1 to {MAX_WORKERS} workers and a queue of at most {MAX_QUEUE}")
        if not 0 <= self.spares <= self.workers:
            raise UsageError(f"expected at most as many spares as workers, found {self.spares}")


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a run is: the fuel it may use, how long it was allowed to run so far, and how long it may at most."""

    fuel_limit: int
    active_ms: int
    timeout_ms: int


class _Run:
    """One run while it is under way."""

    def __init__(self, request: RunRequest, entry: Entry) -> None:
        self.request = request
        self.entry = entry
        self.done: asyncio.Future[RunOutcome] = asyncio.get_running_loop().create_future()
        self.asking: asyncio.Future[HostAnswer] | None = None  # what the node is asked at the moment
        self.child: Child | None = None
        self.aborted = asyncio.Event()
        self.timed_out = False
        self.asked = False  # whether the node has been asked for anything
        self.log = bytearray()  # what the guest said so far
        self.on_log: Callable[[int, bytes], None] | None = None
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

    @property
    def progress(self) -> Progress:
        since_s = asyncio.get_running_loop().time() - self._since if self._timer is not None else 0.0
        active_ms = self.request.timeout_ms - int((self._left_s - since_s) * 1000)
        return Progress(self.request.fuel_limit, max(0, active_ms), self.request.timeout_ms)

    def _deadline(self) -> None:
        self.timed_out = True
        self.kill()

    def abort(self) -> None:
        self.aborted.set()
        self.kill()

    def kill(self) -> None:
        self.signal(signal.SIGKILL)
        if self.asking is not None:
            self.asking.cancel()

    def signal(self, number: signal.Signals) -> None:
        if self.child is not None:
            self.child.process.signal(number)

    def finish(self, outcome: RunOutcome) -> None:
        """Hand it to the caller; the child is put away after that."""
        self.stop_clock()
        if not self.done.done():
            self.done.set_result(outcome)


class Pool:
    """`async with Pool(PoolConfig(workers=2)) as pool: outcome = await pool.run(request)`."""

    def __init__(self, config: PoolConfig | None = None, host: HostPort | None = None) -> None:
        self.config = config or PoolConfig()
        self._host = host
        self._children = Children(self.config.engine, self.config.spares)
        self._places = asyncio.Semaphore(self.config.workers)
        self._go = asyncio.Event()
        self._go.set()
        self._known: set[_Run] = set()  # accepted and not over
        self._runs: set[_Run] = set()  # those that have a child
        self._tasks: set[asyncio.Task[None]] = set()
        self._accepted = 0
        self._closed = False

    async def __aenter__(self) -> Self:
        await self._children.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    @property
    def accepted(self) -> int:
        """Runs that somebody waits for, running or not."""
        return self._accepted

    @property
    def under_way(self) -> list[Progress]:
        """Every accepted run, those that wait for a place as well."""
        return [run.progress for run in self._known]

    @property
    def zygote_pid(self) -> int | None:
        return self._children.zygote_pid

    @property
    def child_pids(self) -> list[int]:
        """Children that run a guest now."""
        return [run.child.process.pid for run in self._runs if run.child is not None]

    @property
    def spare_pids(self) -> list[int]:
        """Children that wait for one."""
        return self._children.spare_pids

    @property
    def suspended(self) -> bool:
        return not self._go.is_set()

    async def run(self, request: RunRequest, on_log: Callable[[int, bytes], None] | None = None) -> RunOutcome:
        """Run to the end; `UsageError` for a request that can't be run, `SandboxError` when the sandbox can't work.

        `on_log` hears what the guest says while it runs, with its offset; from the beginning if it is run again.
        Cancelling the caller kills the child.
        """
        if self._closed:
            raise SandboxError("the pool is closed")
        entry = plan_entry(request)
        if self._accepted >= self.config.workers + self.config.queue:
            raise SandboxError(f"{self._accepted} runs are waiting already", hint="try again later")
        run = _Run(request, entry)
        run.on_log = on_log
        task = asyncio.get_running_loop().create_task(self._perform(run), name="sandbox run")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._accepted += 1
        try:
            return await asyncio.shield(run.done)
        except asyncio.CancelledError:
            run.done.add_done_callback(_retrieve)
            run.abort()
            raise
        finally:
            self._accepted -= 1

    def suspend(self) -> None:
        """Stop every run where it stands and start no other; their clocks stand still."""
        self._go.clear()
        for run in self._runs:
            run.stop_clock()
            run.signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Let the runs go on."""
        for run in self._runs:
            run.signal(signal.SIGCONT)
            run.start_clock()
        self._go.set()

    async def close(self) -> None:
        """Kill what runs, wait until every child is reaped, end the zygote."""
        self._closed = True
        self._go.set()
        while self._tasks:
            for run in self._known:
                run.abort()
            await asyncio.wait(self._tasks, timeout=CLOSE_STEP_S)
        await self._children.close()

    async def _perform(self, run: _Run) -> None:
        self._known.add(run)
        try:
            async with self._places:
                await self._go.wait()
                if run.aborted.is_set() or self._closed:
                    run.finish(self._failed(run, 0, FailureReason.CRASH_OR_PANIC, "cancelled before it began"))
                    return
                await self._in_child(run)
        except asyncio.CancelledError:  # the event loop is being shut down
            run.done.cancel()
            raise
        except Exception as error:  # noqa: BLE001 - not swallowed: the caller gets it
            if not run.done.done():
                run.done.set_exception(error)
        finally:
            self._known.discard(run)

    async def _in_child(self, run: _Run) -> None:
        """One try, and a second one when the zygote died: that says nothing about the guest.

        Unless the guest has asked the node for anything, in which case a second run could ask twice.
        """
        outcome = await self._try(run)
        if outcome is None and not run.asked and not run.aborted.is_set() and not self._closed:
            outcome = await self._try(run)
        if outcome is None:
            detail = "killed when the sandbox's process ended"
            outcome = self._failed(run, 0, FailureReason.CRASH_OR_PANIC, detail)
        run.finish(outcome)

    async def _try(self, run: _Run) -> RunOutcome | None:
        """The outcome; None when nobody can say how the child ended."""
        run.child = await self._take(run)
        run.log.clear()
        started = time.monotonic()
        outcome: RunOutcome | None = None
        fault = ""
        try:
            self._begin(run)
            outcome = await self._converse(run, run.child, started)
            if outcome is not None:
                run.finish(outcome)
        except wire.ProtocolError as error:
            fault = str(error)
        finally:
            wall_ms = _ms_since(started)
            run.stop_clock()
            self._runs.discard(run)
            ending = await self._children.put_away(run.child, ask=outcome is None)
        return outcome or self._explain(run, ending, fault, wall_ms)

    async def _take(self, run: _Run) -> Child:
        """A child, asked for more than once; raises `SandboxError`."""
        for wait_s in FORK_WAITS_S:
            try:
                return await self._children.take()
            except ProcessRefused:
                if run.aborted.is_set() or self._closed:
                    raise
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(run.aborted.wait(), wait_s)
        return await self._children.take()

    def _begin(self, run: _Run) -> None:
        """Start the clock, and make good what happened while the child was taken."""
        self._runs.add(run)
        if self.suspended:
            run.signal(signal.SIGSTOP)
        else:
            run.start_clock()
        if run.aborted.is_set() or self._closed:
            run.kill()

    async def _converse(self, run: _Run, child: Child, started: float) -> RunOutcome | None:
        """Send the request, answer calls, return the outcome; None when the child ended without one."""
        loop = asyncio.get_running_loop()
        reader = FrameReader(child.socket, wire.answer_limit(run.request))
        try:
            await self._send(run, child)
            self._children.replenish()
            while True:
                body = await reader.next()
                if body is None:
                    return None
                fields = wire.decode_answer(body)
                if fields[0] == protocol.DONE:
                    timing = wire.Timing(self.config.engine, _ms_since(started), bytes(run.log))
                    return wire.read_done(fields, run.request, run.entry, timing)
                if fields[0] == protocol.LOG:
                    piece = wire.read_log(fields, run.request.log_limit - len(run.log))
                    if run.on_log is not None:
                        run.on_log(len(run.log), piece)
                    run.log += piece
                    continue
                await loop.sock_sendall(child.socket, await self._answer(run, fields))
        except ConnectionError:
            return None

    async def _send(self, run: _Run, child: Child) -> None:
        """The request; nothing keeps its bytes while the guest runs."""
        loop = asyncio.get_running_loop()
        for piece in wire.encode_request(run.request, run.entry, self._host):
            await loop.sock_sendall(child.socket, piece)

    async def _answer(self, run: _Run, fields: list[cbor.Value]) -> bytes:
        call = wire.read_call(fields)
        try:
            answer = await self._ask(run, call)
        except IcnLiteError:  # the node couldn't; the guest learns that much and no more
            answer = HostAnswer.refused(HostAbiError.UNKNOWN)
        return wire.encode_reply(answer.result, answer.data)

    async def _ask(self, run: _Run, call: HostCall) -> HostAnswer:
        if self._host is not None and self._host.serves(call.name):
            run.asking = asking = asyncio.ensure_future(self._host.call(run.request.context, call))
            run.asked = True
            try:
                await asyncio.wait({asking})
            finally:
                run.asking = None
                asking.cancel()
            if asking.cancelled():
                raise ConnectionAbortedError  # the child is gone, and with it the question
            return asking.result()
        if call.name in BUILT_IN:
            return answer_built_in(call)
        return HostAnswer.refused(HostAbiError.NOT_SUPPORTED)

    def _explain(self, run: _Run, ending: Ending | None, fault: str, wall_ms: int) -> RunOutcome | None:
        """Why there is no outcome; None when that can't be known."""
        if fault:
            return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, f"the child broke the protocol: {fault}")
        if run.timed_out:
            detail = f"ran longer than {run.request.timeout_ms} ms and was killed"
            return self._failed(run, wall_ms, FailureReason.CPU_TIMEOUT, detail)
        if run.aborted.is_set():
            return self._failed(run, wall_ms, FailureReason.CRASH_OR_PANIC, "killed because nobody waits for it")
        if ending is None:
            return None
        if ending.signal is not None:
            reason, detail = _SIGNALS.get(
                signal.Signals(ending.signal), (FailureReason.CRASH_OR_PANIC, f"crashed by signal {ending.signal}")
            )
            return self._failed(run, wall_ms, reason, detail)
        if ending.exit_code == protocol.EXIT_OUT_OF_MEMORY:
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
            log=bytes(run.log),
            wall_ms=wall_ms,
        )


def _retrieve(done: asyncio.Future[RunOutcome]) -> None:
    """Take the error of a run that nobody waits for any more."""
    if not done.cancelled():
        done.exception()


def _ms_since(started: float) -> int:
    return int((time.monotonic() - started) * 1000)


def run_once(request: RunRequest, *, engine: str = "wasm3", host: HostPort | None = None) -> RunOutcome:
    """One run in a pool of its own, for callers without an event loop."""

    async def once() -> RunOutcome:
        async with Pool(PoolConfig(workers=1, engine=engine, queue=0), host) as pool:
            return await pool.run(request)

    return asyncio.run(once())
