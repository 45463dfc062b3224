"""The store on one thread of its own, so that a commit's fsync never holds up the event loop.

Calls run in the order in which they were made. What a call returned is on the disk.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from icn_lite.model.errors import StoreError
from icn_lite.store.db import Store

T = TypeVar("T")
MAX_WAITING: Final = 1_024  # calls that wait for the thread; past that the disk is the bottleneck and callers wait


class Storage:
    """An open store, used from coroutines."""

    def __init__(self, home: Path, block_budget_bytes: int) -> None:
        self._home = home
        self._budget = block_budget_bytes
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="store")
        self._room = asyncio.Semaphore(MAX_WAITING)
        self._store: Store | None = None

    async def open(self) -> None:
        """Open the store and take the home's lock; raises `HomeInUse` or another `StoreError`."""

        def opened() -> None:
            self._store = Store.open(self._home, block_budget_bytes=self._budget)

        try:
            await self._call(opened)
        except BaseException:
            self._thread.shutdown(wait=False)
            raise

    async def run(self, work: Callable[[Store], T]) -> T:
        """Call `work` with the store on its thread."""

        def call() -> T:
            if self._store is None:
                raise StoreError("the store is closed")
            return work(self._store)

        return await self._call(call)

    async def transact(self, work: Callable[[Store], T]) -> T:
        """Call `work` within one transaction: all of it is on the disk afterwards, or nothing."""

        def call(store: Store) -> T:
            with store.transaction():
                return work(store)

        return await self.run(call)

    async def close(self) -> None:
        """Close the store after what was asked before."""

        def close() -> None:
            if self._store is not None:
                self._store.close()
                self._store = None

        try:
            await self._call(close)
        finally:
            self._thread.shutdown(wait=False)

    async def _call(self, call: Callable[[], T]) -> T:
        async with self._room:
            # Shielded: a cancelled caller must not leave a half-known commit behind; the thread finishes it.
            return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, call))
