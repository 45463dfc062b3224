"""Prepared modules, made once and kept: preparation is a pure function of module, limits and meter version.

What a job may notice (pages, stack) comes from the job or is the same everywhere, so that a run gives the same
result on any device; the profile's structural limits only decide whether a device takes a module at all.

Kept twice: a few in memory, more on the disk (`prepared_cache`). A refusal is kept in memory alone, and leaves here
with advice for the module's author (`wasm.advice`).
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import fields, replace
from typing import Final

from icn_lite.model.cid import Cid
from icn_lite.model.errors import ModuleError, ProfileError
from icn_lite.node.prepared_cache import PreparedCache, cache_key
from icn_lite.wasm.limits import DEFAULT_LIMITS, Limits
from icn_lite.wasm.prepared import Prepared

MAX_KEPT: Final = 8  # in memory: more than the jobs that a small device has at once
MAX_KEPT_BYTES: Final = 4 << 20  # of their code; the one in use is kept even when it alone has more
NOT_FOR_PROFILES: Final = frozenset({"memory_pages", "stack_bytes"})  # they change what a guest computes


def structural_limits(wasm: Mapping[str, int]) -> Limits:
    """The profile's `[wasm]` section as limits; raises `ProfileError` for a name that is none."""
    known = {field.name for field in fields(Limits)} - NOT_FOR_PROFILES
    for name in wasm:
        if name not in known:
            raise ProfileError(f"[wasm] {name} is no structural limit", hint=f"known: {', '.join(sorted(known))}")
    return replace(DEFAULT_LIMITS, **wasm)


def prepare_module(code: bytes, limits: Limits, cache: PreparedCache | None = None) -> Prepared:
    """Prepare a module, or take it from the cache; raises `ModuleError` with advice."""
    known = known_module(code, limits, cache)
    if known is None:
        known = _prepare(code, limits)
        if cache is not None:
            cache.put(cache_key(Cid.of_raw(code), limits), known)
    return known


def known_module(code: bytes, limits: Limits, cache: PreparedCache | None) -> Prepared | None:
    """A module that was prepared before."""
    if cache is None or len(code) > limits.module_bytes:  # too long to be hashed, and refused at once
        return None
    return cache.get(cache_key(Cid.of_raw(code), limits))


def _prepare(code: bytes, limits: Limits) -> Prepared:
    from icn_lite.wasm.prepare import prepare  # loaded with the first module: 1 MB that a node at rest spares

    try:
        return prepare(code, limits)
    except ModuleError as error:
        from icn_lite.wasm.advice import advise

        error.hint = advise(code, error).hint
        raise


class Preparations:
    """The prepared modules of one node."""

    def __init__(self, limits: Limits, cache: PreparedCache | None = None) -> None:
        self._limits = limits
        self._cache = cache
        self._kept: OrderedDict[tuple[Cid, int], Prepared | ModuleError] = OrderedDict()
        self._lock = asyncio.Lock()

    async def get(self, module: Cid, code: bytes, pages: int) -> Prepared:
        """The prepared form of a module with a limit of `pages`; raises `ModuleError`, the same each time."""
        key = (module, pages)
        if key not in self._kept:  # what is known never waits for what is being prepared
            async with self._lock:  # one preparation at a time: it takes a core and the memory of several modules
                if key not in self._kept:
                    self._keep(key, await asyncio.to_thread(self._prepare, code, pages))
        self._kept.move_to_end(key)
        known = self._kept[key]
        if isinstance(known, ModuleError):
            raise known
        return known

    def _keep(self, key: tuple[Cid, int], known: Prepared | ModuleError) -> None:
        self._kept[key] = known
        while len(self._kept) > 1 and (len(self._kept) > MAX_KEPT or self.kept_bytes > MAX_KEPT_BYTES):
            self._kept.popitem(last=False)

    @property
    def kept_bytes(self) -> int:
        """Code of prepared modules in memory."""
        return sum(len(known.code) for known in self._kept.values() if isinstance(known, Prepared))

    def _prepare(self, code: bytes, pages: int) -> Prepared | ModuleError:
        try:
            return prepare_module(code, replace(self._limits, memory_pages=pages), self._cache)
        except ModuleError as error:
            return error
