"""Prepared modules, made once and kept: preparation is a pure function of module, limits and meter version.

What a job may notice (pages, stack) comes from the job or is the same everywhere, so that a run gives the same
result on any device; the profile's structural limits only decide whether a device takes a module at all.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.errors import ModuleError, ProfileError
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.prepared import Prepared

MAX_KEPT: Final = 8  # prepared modules in memory; a megabyte each at most on small devices
NOT_FOR_PROFILES: Final = frozenset({"memory_pages", "stack_bytes"})  # they change what a guest computes


def structural_limits(wasm: Mapping[str, int]) -> Limits:
    """The profile's `[wasm]` section as limits; raises `ProfileError` for a name that is none."""
    known = {field.name for field in fields(Limits)} - NOT_FOR_PROFILES
    for name in wasm:
        if name not in known:
            raise ProfileError(f"[wasm] {name} is no structural limit", hint=f"known: {', '.join(sorted(known))}")
    return replace(DEFAULT_LIMITS, **wasm)


class Preparations:
    """The prepared modules of one node."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._kept: OrderedDict[tuple[Cid, int], Prepared | ModuleError] = OrderedDict()
        self._lock = asyncio.Lock()

    async def get(self, module: Cid, code: bytes, pages: int) -> Prepared:
        """The prepared form of a module with a limit of `pages`; raises `ModuleError`, the same each time."""
        key = (module, pages)
        async with self._lock:  # one preparation at a time: it takes a core and the memory of several modules
            known = self._kept.get(key)
            if known is None:
                known = await asyncio.to_thread(self._prepare, code, pages)
                self._kept[key] = known
                while len(self._kept) > MAX_KEPT:
                    self._kept.popitem(last=False)
            self._kept.move_to_end(key)
        if isinstance(known, ModuleError):
            raise known
        return known

    def _prepare(self, code: bytes, pages: int) -> Prepared | ModuleError:
        from icn_lite.wasm.prepare import prepare  # loaded with the first module: 1 MB that a node at rest spares

        try:
            return prepare(code, replace(self._limits, memory_pages=pages))
        except ModuleError as error:
            return error
