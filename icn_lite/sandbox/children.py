"""Children for the pool: a zygote that is replaced when it dies, and a spare that is forked ahead.

Forking and entering half of the jail is a third of a trivial run's time, and none of it depends on the run; so one
child waits ready, blocked on its socket, holding nothing of anybody's. It is used once, like every other.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from dataclasses import dataclass
from typing import Final

from icn_lite.sandbox.forkserver import ChildProcess, Ending, SandboxError, Zygote, ZygoteGone

ZYGOTE_TRIES: Final = 2  # a zygote killed between two runs is replaced once; twice in a row is a device's refusal


@dataclass(frozen=True, slots=True)
class Child:
    """A child that waits for its request on the other end of `socket`."""

    keeper: Zygote
    process: ChildProcess
    socket: socket.socket

    def is_waiting(self) -> bool:
        """False when it has died since it was forked."""
        try:
            self.socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        except BlockingIOError:
            return self.keeper.alive
        except OSError:
            return False
        return False  # it closed its end, or spoke without being asked


class Children:
    """Forks, replaces, puts away."""

    def __init__(self, engine: str, spares: int) -> None:
        self._engine = engine
        self._wanted = spares
        self._spares: list[Child] = []
        self._zygote: Zygote | None = None
        self._starting = asyncio.Lock()
        self._refill: asyncio.Task[None] | None = None
        self._closed = False

    @property
    def zygote_pid(self) -> int | None:
        return self._zygote.pid if self._zygote is not None and self._zygote.alive else None

    @property
    def spare_pids(self) -> list[int]:
        return [spare.process.pid for spare in self._spares]

    async def start(self) -> None:
        """Have the zygote ready; raises `SandboxError` or `NotSupported`."""
        await self._ready()
        self.replenish()

    async def take(self) -> Child:
        """A child of the caller's own, to be put away by it."""
        while self._spares:
            spare = self._spares.pop()
            if spare.is_waiting():
                return spare
            await self.put_away(spare)
        return await self._fork(ahead=False)

    async def put_away(self, child: Child, *, ask: bool = True) -> Ending | None:
        """Kill it, have it reaped; None when nobody can say how it ended, or nobody asks."""
        # Most end by themselves, but one that was taken over might not. Not being reaped, its number is its own.
        child.process.signal(signal.SIGKILL)
        child.socket.close()
        if not ask and child.keeper.forget(child.process):
            return None
        try:
            return await child.keeper.reap(child.process)
        except ZygoteGone:
            return None

    async def close(self) -> None:
        """Every spare is reaped and the zygote ended."""
        self._closed = True
        if self._refill is not None:
            await asyncio.wait({self._refill})
        while self._spares:
            await self.put_away(self._spares.pop())
        if self._zygote is not None:
            self._zygote.close()
            self._zygote = None

    def replenish(self) -> None:
        """Have a spare made, if one is missing; best called once the child just taken has work to do."""
        if not self._closed and len(self._spares) < self._wanted and (self._refill is None or self._refill.done()):
            self._refill = asyncio.get_running_loop().create_task(self._make_spares(), name="sandbox spare")

    async def _make_spares(self) -> None:
        """A spare that can't be had is no loss: the next run forks its own and reports what is wrong."""
        with contextlib.suppress(SandboxError):
            while not self._closed and len(self._spares) < self._wanted:
                self._spares.append(await self._fork(ahead=True))

    async def _fork(self, *, ahead: bool) -> Child:
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                keeper, process = await self._fork_around(theirs, ahead)
        except BaseException:
            ours.close()
            raise
        ours.setblocking(False)
        return Child(keeper, process, ours)

    async def _fork_around(self, theirs: socket.socket, ahead: bool) -> tuple[Zygote, ChildProcess]:
        for _ in range(ZYGOTE_TRIES):
            keeper = await self._ready()
            try:
                return keeper, await keeper.fork(theirs.fileno(), ahead=ahead)
            except ZygoteGone:
                continue
        raise SandboxError("the sandbox's process keeps ending", hint="is the device out of memory or processes?")

    async def _ready(self) -> Zygote:
        async with self._starting:
            if self._zygote is None or not self._zygote.alive:
                fresh = Zygote(self._engine)
                await fresh.start()
                self._zygote = fresh
            return self._zygote
