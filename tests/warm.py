"""Pools that stay open from one test to the next: a zygote with wasmtime takes a second of processor time to start.

`warm_run` is the sandbox's `run_once` in such a pool: every run still has a child of its own. The pools live in a
thread with an event loop of its own, as that of a test ends with the test; `close_warm` ends them (the conftests of
the folders that use them call it behind each file).
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future

from icn_lite.sandbox.outcome import RunOutcome, RunRequest
from icn_lite.sandbox.pool import Pool, PoolConfig

LONGEST_S = 300.0  # only a failing test waits so long


class _Warm:
    def __init__(self) -> None:
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever, name="warm pools")
        self.thread.start()
        self.pools: dict[str, Pool] = {}
        self.opening = asyncio.Lock()

    async def run(self, request: RunRequest, engine: str) -> RunOutcome:
        async with self.opening:
            if engine not in self.pools:
                self.pools[engine] = await Pool(PoolConfig(workers=1, engine=engine)).__aenter__()
        return await self.pools[engine].run(request)

    async def end(self) -> None:
        for pool in self.pools.values():
            await pool.__aexit__(None, None, None)

    def close(self) -> None:
        try:
            asyncio.run_coroutine_threadsafe(self.end(), self.loop).result(LONGEST_S)
        finally:
            self.loop.call_soon_threadsafe(self.loop.stop)
            self.thread.join(LONGEST_S)
            self.loop.close()


_open: list[_Warm] = []


def warm_future(request: RunRequest, engine: str = "wasm3") -> Future[RunOutcome]:
    if not _open:
        _open.append(_Warm())
    return asyncio.run_coroutine_threadsafe(_open[0].run(request, engine), _open[0].loop)


def warm_run(request: RunRequest, engine: str = "wasm3") -> RunOutcome:
    """One run, for tests without an event loop."""
    return warm_future(request, engine).result(LONGEST_S)


async def warm_runs(requests: tuple[RunRequest, ...], engine: str = "wasm3") -> list[RunOutcome]:
    """Some in their order, for tests with one."""
    return [await asyncio.wrap_future(warm_future(request, engine)) for request in requests]


def close_warm() -> None:
    while _open:
        _open.pop().close()
