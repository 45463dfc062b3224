"""Background tasks with an owner: each is named, bounded in number, awaited at the end, and never fails unseen."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Final, TypeVar, cast

from icn_lite.model.errors import IcnLiteError

T = TypeVar("T")
MAX_TASKS: Final = 4_096  # deliveries and fetches under way; each is bounded by its own deadline
log = logging.getLogger(__name__)


class Tasks:
    """The tasks of one owner."""

    def __init__(self) -> None:
        self._running: set[asyncio.Task[None]] = set()
        self._closing = False

    def spawn(self, work: Coroutine[object, object, None], name: str) -> None:
        """Run `work` in the background; its errors are logged."""
        if self._closing or len(self._running) >= MAX_TASKS:
            work.close()
            if not self._closing:
                log.error("too many tasks: %s was dropped", name)
            return
        task = asyncio.get_running_loop().create_task(self._guard(work, name), name=name)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        task.add_done_callback(lambda _: work.close())  # a task cancelled before its first step never began it

    async def finish(self, work: Coroutine[object, object, T], name: str) -> T:
        """Run `work` to its end even if the caller is cancelled: what must not stop half-way, such as a commit."""
        task = asyncio.get_running_loop().create_task(work, name=name)
        owned = cast("asyncio.Task[None]", task)
        self._running.add(owned)
        owned.add_done_callback(self._running.discard)
        owned.add_done_callback(_seen)
        return await asyncio.shield(task)

    async def close(self) -> None:
        """Cancel what still runs and wait for it."""
        self._closing = True
        for task in tuple(self._running):
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)

    @staticmethod
    async def _guard(work: Coroutine[object, object, None], name: str) -> None:
        try:
            await work
        except IcnLiteError as error:
            log.warning("%s: %s", name, error)
        except Exception:
            log.exception("%s failed", name)


def _seen(task: asyncio.Task[None]) -> None:
    """The caller hears of the error; where it has gone, nobody else needs to."""
    if not task.cancelled():
        task.exception()
