"""Which calls to make into a generated module."""

from __future__ import annotations

from random import Random

from icn_lite.wasm.prepare import Prepared

INTERESTING = (0, 1, 5, (1 << 32) - 1, (1 << 31) - 1, 1 << 31, 1 << 63, 0x7FC00000, 0x7FA00001, 0xFF800001,
               0x7FF4000000000001, 0x3FF0000000000000, 0x3F800000)  # fmt: skip


def calls_of(prepared: Prepared, rng: Random) -> list[tuple[str, list[int]]]:
    """Every wrapper once or twice, in any order, and the globals after them."""
    calls = []
    for export in prepared.exports:
        if export.type is not None and export.name.startswith("w"):
            widths = [32 if t in (0x7F, 0x7D) else 64 for t in export.type.params]
            for _ in range(rng.choice([1, 1, 2])):
                args = [rng.choice([*INTERESTING, rng.getrandbits(64)]) & ((1 << width) - 1) for width in widths]
                calls.append((export.name, args))
    rng.shuffle(calls)
    return [*calls[:6], ("spill", [])]
