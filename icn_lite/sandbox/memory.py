"""Bounds-checked access to a guest's linear memory for host functions.

Pointers and lengths arrive as signed i32 and mean unsigned numbers; sums are made in Python's unbounded integers, so
nothing wraps round 2^32. A view is taken anew in every call, because the memory may have moved by growing, and only
once, because the binding loses some 100 bytes each time it gives one.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from icn_lite.sandbox.engine import Engine

U32 = 0xFFFFFFFF


class BadPointer(Exception):
    """A range that doesn't lie inside the memory."""


class GuestMemory:
    """Reads and writes by the guest's numbers."""

    __slots__ = ("_engine", "_taken")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._taken: memoryview | None = None

    def begin(self) -> None:
        """A host call begins: what was known of the memory is out of date."""
        self._taken = None

    def _view(self) -> memoryview:
        if self._taken is None:
            self._taken = self._engine.memory()
        return self._taken

    def check(self, pointer: int, length: int) -> int:
        """The start of a range that lies inside; its end is `start + (length & U32)`."""
        start = pointer & U32
        if start + (length & U32) > len(self._view()):
            raise BadPointer
        return start

    def read(self, pointer: int, length: int) -> bytes:
        start, size = pointer & U32, length & U32
        view = self._view()
        if start + size > len(view):
            raise BadPointer
        return bytes(view[start : start + size])

    def write(self, pointer: int, data: bytes | bytearray | memoryview) -> None:
        start = pointer & U32
        view = self._view()
        if start + len(data) > len(view):
            raise BadPointer
        view[start : start + len(data)] = data

    def write_u32(self, pointer: int, value: int) -> None:
        self.write(pointer, (value & U32).to_bytes(4, "little"))

    def write_u64(self, pointer: int, value: int) -> None:
        self.write(pointer, value.to_bytes(8, "little"))
