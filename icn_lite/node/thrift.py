"""Memory that isn't needed goes back to the system.

A node handles blocks whole, some of them as large as a guest's memory. glibc raises the size from which it maps a
buffer by itself with every such buffer that is freed, up to 32 MiB, and later ones come from a heap that never
shrinks: after a job with blocks of 40 MB a node held 140 MB for good. A fixed limit keeps them apart, and what the
heap still holds free is given back when nothing is left to do. Other C libraries (musl, Android's) map large buffers
anyway and have nothing to be told; there nothing happens.

Once a node listens, the machine code that only starting ran goes back as well (`sandbox/resident.py`).

All of this concerns the whole process, so it is for `icn-lite up`, whose process is the node's own.
"""

from __future__ import annotations

import ctypes
import gc
from typing import Final

from icn_lite.sandbox import resident

M_MMAP_THRESHOLD: Final = -3  # mallopt(3)
M_ARENA_MAX: Final = -8
MAP_FROM_BYTES: Final = 256 << 10  # whole blocks, and the pieces of 460 kB in which they travel
ARENAS: Final = 2  # the event loop's and the store's; each further thread's would keep free memory of its own


class Thrift:
    """The C library's allocator, where it can be told."""

    def __init__(self) -> None:
        library = ctypes.CDLL(None)
        self._trim = getattr(library, "malloc_trim", None)  # glibc has it, nobody else
        if self._trim is not None:
            library.mallopt(M_MMAP_THRESHOLD, MAP_FROM_BYTES)
            library.mallopt(M_ARENA_MAX, ARENAS)

    def settle(self) -> None:
        """Everything is loaded and stays: collect what loading left over, and never look at the rest again."""
        gc.collect()
        gc.freeze()
        self.give_back()
        resident.let_go()

    def give_back(self) -> None:
        """Free pages go back; takes a millisecond or two."""
        if self._trim is not None:
            self._trim(0)
