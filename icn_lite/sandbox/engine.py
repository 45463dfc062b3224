"""The port that an engine stands behind, in the child.

An engine loads one prepared module, links host functions, reads and writes its exported globals, and calls its
exports. All values cross the port as bits (unsigned integers of the type's width); a trap crosses it under its name
in receipts, whatever the engine calls it. Everything is used once and dies with the process.

Light on purpose: this is imported by the zygote, which can't afford dataclasses, enum or typing.
"""

from __future__ import annotations

import sys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


class Trap(Exception):
    """The guest trapped; `name` is one of `outcome.TRAPS`."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.name = name


class GuestExit(Exception):
    """The guest asked to end (`proc_exit`)."""

    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code


class EngineError(Exception):
    """The engine could not do its work: a fault of ours or of the device, never an answer about the guest."""

    def __init__(self, detail: str, *, out_of_memory: bool = False) -> None:
        super().__init__(detail)
        self.out_of_memory = out_of_memory


class HostLink:
    """One import: its name, its type as tuples of `i32`, `i64`, `f32`, `f64`, and what answers it.

    `call` gets integers of the parameters' width, signed, and answers one (or None where there is no result).
    """

    __slots__ = ("call", "module", "name", "params", "results")

    def __init__(
        self, module: str, name: str, params: list[str], results: list[str], call: Callable[..., int | None]
    ) -> None:
        self.module = module
        self.name = name
        self.params = params
        self.results = results
        self.call = call


class Engine:
    """One module in one engine."""

    name = ""
    executable_memory = False  # does it need memory that is writable and executable at once
    rehearses = False  # is a run of nothing so cheap that a spare should make one

    def __init__(self, stack_bytes: int) -> None:
        """`stack_bytes` is what the prepared module's frames may take."""

    def load(self, code: bytes, links: list[HostLink]) -> None:
        """Parse, link, instantiate. `Trap` when a segment doesn't fit, `EngineError` otherwise."""
        raise NotImplementedError

    def get_global(self, name: str) -> int:
        """An exported integer global, signed."""
        raise NotImplementedError

    def set_global(self, name: str, value: int) -> None:
        raise NotImplementedError

    def call(self, name: str, args: list[tuple[str, int]], results: list[str]) -> list[int]:
        """Call an export with (type, bits); the bits of its results."""
        raise NotImplementedError

    def memory(self) -> memoryview:
        """The linear memory as it is now: never keep it across a call into the guest. Empty where there is none."""
        raise NotImplementedError


WIDTH = {"i32": 32, "i64": 64, "f32": 32, "f64": 64}


def signed(bits: int, width: int) -> int:
    return bits - (1 << width) if bits >> (width - 1) else bits


def to_python(kind: str, bits: int) -> int | float:
    """Bits as the bindings want them; a signalling NaN in an f32 doesn't survive this.

    Floats go through a memoryview, which spares the child the struct module.
    """
    if kind == "f32":
        return memoryview(bits.to_bytes(4, sys.byteorder)).cast("f")[0]
    if kind == "f64":
        return memoryview(bits.to_bytes(8, sys.byteorder)).cast("d")[0]
    return signed(bits, WIDTH[kind])


def to_bits(kind: str, value: int | float) -> int:
    """The other way."""
    width = WIDTH[kind]
    raw = bytearray(width // 8)
    if kind == "f32":
        memoryview(raw).cast("f")[0] = value
    elif kind == "f64":
        memoryview(raw).cast("d")[0] = value
    else:
        return int(value) % (1 << width)
    return int.from_bytes(raw, sys.byteorder)
