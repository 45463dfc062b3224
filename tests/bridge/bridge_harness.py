"""What the conformance suite needs of an adapter: bridges by name, and a way to cut and mend what is between them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Protocol

from icn_lite.bridge.memory import MemoryHub
from icn_lite.bridge.upstream import Delivery, State, Upstream

PATIENCE_S = 30.0  # for anything that has to happen on a loaded machine; reaching it fails the test


class Harness(Protocol):
    """One hub with its bridges."""

    async def bridge(self, name: str) -> Upstream:
        """A bridge that is connected; with the same name again it is the same one after a restart."""
        ...

    async def cut(self) -> None: ...

    async def mend(self) -> None: ...

    async def close(self) -> None: ...


class MemoryHarness:
    """Bridges of one process."""

    def __init__(self) -> None:
        self.hub = MemoryHub()
        self._open: list[Upstream] = []

    async def bridge(self, name: str) -> Upstream:
        upstream = self.hub.upstream(name)
        await upstream.start()
        self._open.append(upstream)
        return upstream

    async def cut(self) -> None:
        self.hub.cut = True

    async def mend(self) -> None:
        self.hub.mend()

    async def close(self) -> None:
        for upstream in self._open:
            await upstream.close()


class Ear:
    """The events of one upstream, in a task of their own; unconfirmed until the test says so."""

    def __init__(self, upstream: Upstream) -> None:
        self.heard: asyncio.Queue[Delivery] = asyncio.Queue()
        self._task = asyncio.create_task(self._listen(upstream))

    async def _listen(self, upstream: Upstream) -> None:
        async for delivery in upstream.events():
            await self.heard.put(delivery)

    async def next(self, *, confirm: bool = True) -> Delivery:
        async with asyncio.timeout(PATIENCE_S):
            delivery = await self.heard.get()
        if confirm:
            await delivery.confirm()
        return delivery

    async def close(self) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for something that nobody rings for."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 -- nobody rings
            await asyncio.sleep(0.02)


async def up(upstream: Upstream) -> None:
    """Wait until an upstream is connected."""
    try:
        await until(lambda: upstream.health().state is State.UP)
    except TimeoutError:
        raise AssertionError(f"{upstream.name}: {upstream.health().sentence()}") from None
