"""How long until a node that starts is known to one that listens, and knows it: by mDNS, over loopback's multicast."""

from __future__ import annotations

import asyncio
import statistics
from collections.abc import Iterator

from icn_lite.mesh.discovery import Candidate, Discovery, DiscoveryConfig
from icn_lite.model.cose import KeySigner

RUNS = 5
WAIT_S = 20.0
BIND = "127.0.0.1"
PORT = 40_000  # announced, never opened

Row = dict[str, str | int | float | bool | None]


def rows() -> Iterator[Row]:
    measured = [asyncio.run(_measure(number)) for number in range(RUNS)]
    if any(found is None for found in measured):
        return  # multicast doesn't pass here, so there is nothing to time
    heard, hears = zip(*(found for found in measured if found is not None), strict=True)
    for name, times in (("is known to one that listens", heard), ("knows one that is there", hears)):
        yield {"name": f"mDNS: a node that starts {name}", "value": round(statistics.median(times), 2), "unit": "s"}


async def _measure(number: int) -> tuple[float, float] | None:
    """Seconds from a node's start until each of the two has the other as a candidate."""
    loop = asyncio.get_running_loop()
    there: asyncio.Queue[Candidate] = asyncio.Queue()
    here: asyncio.Queue[Candidate] = asyncio.Queue()
    first = _discovery(1 + 2 * number, there)
    await first.start()
    try:
        if not first.available:
            return None
        second = _discovery(2 + 2 * number, here)
        begun_s = loop.time()
        starting = asyncio.create_task(second.start())
        try:
            heard, hears = await asyncio.gather(_until(there, second.name), _until(here, first.name))
            await starting
        finally:
            await second.close()
        return heard - begun_s, hears - begun_s
    finally:
        await first.close()


def _discovery(seed: int, found: asyncio.Queue[Candidate]) -> Discovery:
    config = DiscoveryConfig(KeySigner(bytes([seed]) * 32).did, PORT + seed, BIND)
    return Discovery(config, found.put_nowait, lambda name: None)


async def _until(found: asyncio.Queue[Candidate], name: str) -> float:
    async with asyncio.timeout(WAIT_S):
        while (await found.get()).name != name:
            pass
    return asyncio.get_running_loop().time()
