"""`memory.init` and `data.drop` for an engine that has neither: passive data as code.

A segment becomes functions that put 64 bytes of it, by number, into eight globals: a tree of comparisons down to
constants, in parts of 16 KiB so that an engine compiles what is used. A function for each segment does what the
instruction does (core specification §4.4.7): pay by the byte, check both ranges, then store chunk by chunk. A global
holds how much of the segment there is; dropping it makes that zero.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from icn_lite.wasm import opcodes as op
from icn_lite.wasm.body import FunctionCode
from icn_lite.wasm.encode import Draft, locals_of
from icn_lite.wasm.leb import write_signed, write_u32
from icn_lite.wasm.module import Global, Module
from icn_lite.wasm.opcodes import I32, I64
from icn_lite.wasm.types import FuncType

_WORD: Final = 8
_CHUNK: Final = 64
_PART_CHUNKS: Final = 256
_WORDS: Final = _CHUNK // _WORD
_INIT_TYPE: Final = FuncType((I32, I32, I32), ())
_LOAD_TYPE: Final = FuncType((I32,), ())
_END: Final = b"\x0b"
# `local.get` and `local.set` of the first locals.
_GET0, _GET1, _GET2, _GET3, _GET4, _GET5 = (b"\x20" + bytes((i,)) for i in range(6))
_SET4, _SET5 = b"\x21\x04", b"\x21\x05"


@dataclass(frozen=True, slots=True)
class Segment:
    """How a passive segment is reached: its `memory.init` and the global with its size, both encoded."""

    init: bytes
    size: bytes | None  # None when nothing is ever there


class PassiveData:
    """Writes the functions of a module's passive segments; `pay` is the code that charges local 2 by the byte."""

    def __init__(self, draft: Draft, pay: bytes) -> None:
        self.draft = draft
        self.pay = pay
        self.first_word = len(draft.globals)
        for _ in range(_WORDS):
            self.add_global(Global(I64, True, b"\x42\x00"))
        self.edge = draft.function(FuncType((I32, I64, I32, I32), ()), _edge())
        self.put = draft.function(FuncType((I32, I32, I32), ()), self.put_code())

    def add_global(self, variable: Global) -> bytes:
        """A global of our own; returns its encoded index."""
        self.draft.globals.append(variable)
        return write_u32(len(self.draft.globals) - 1)

    def word(self, number: int) -> bytes:
        """The encoded index of one of the eight globals."""
        return write_u32(self.first_word + number)

    def segment(self, raw: bytes) -> Segment:
        """All functions of one segment."""
        size = self.add_global(Global(I32, True, b"\x41" + write_signed(len(raw))))
        parts = [
            self.draft.function(_LOAD_TYPE, b"\x00" + self.part(raw, at) + _END)
            for at in range(0, len(raw), _CHUNK * _PART_CHUNKS)
        ]
        load = parts[0] if len(parts) == 1 else None
        if load is None and parts:
            tree = _tree(0, len(parts), lambda part: _GET0 + b"\x10" + write_u32(parts[part]), _PART_CHUNKS)
            load = self.draft.function(_LOAD_TYPE, b"\x00" + tree + _END)
        return Segment(write_u32(self.init(b"\x23" + size, load)), size)

    def empty(self) -> Segment:
        """A segment that was dropped when the module began, as active ones are."""
        return Segment(write_u32(self.init(b"\x41\x00", None)), None)

    def part(self, raw: bytes, at: int) -> bytes:
        """Chunks of a segment from an offset on, by their number in the segment."""
        first = at // _CHUNK
        count = min(_PART_CHUNKS, (len(raw) - at + _CHUNK - 1) // _CHUNK)

        def leaf(number: int) -> bytes:
            chunk = raw[number * _CHUNK : (number + 1) * _CHUNK]
            out = []
            for i in range(0, len(chunk), _WORD):
                value = int.from_bytes(chunk[i : i + _WORD].ljust(_WORD, b"\x00"), "little", signed=True)
                out.append(b"\x42" + write_signed(value) + b"\x24" + self.word(i // _WORD))
            return b"".join(out)

        return _tree(first, first + count, leaf, 1)

    def put_code(self) -> bytes:
        """Store the bytes from local 1 to local 2 of the chunk that lies at the address in local 0."""
        whole = b"".join(
            _GET0 + b"\x23" + self.word(i) + b"\x37\x00" + write_u32(i * _WORD) for i in range(_WORDS)
        )
        edges = b"".join(
            _GET0 + _plus(i * _WORD) + b"\x23" + self.word(i) + _GET1 + _plus(-i * _WORD) + _GET2 + _plus(-i * _WORD)
            + b"\x10" + write_u32(self.edge)
            for i in range(_WORDS)
        )  # fmt: skip
        is_whole = _GET2 + _GET1 + b"\x6b\x41" + write_signed(_CHUNK) + b"\x46"  # i32.sub; i32.eq
        return b"\x00" + is_whole + b"\x04\x40" + whole + b"\x05" + edges + _END + _END

    def init(self, size: bytes, load: int | None) -> int:
        """`memory.init` of a segment: destination, source, length. Local 3 is the address of the segment's start in
        the memory as it will be, 4 the chunk's offset, 5 where it ends.
        """
        fits = (
            _GET1 + b"\xad" + _GET2 + b"\xad\x7c" + size + b"\xad\x56"  # source + length > size, in 64 bits
            + _GET0 + b"\xad" + _GET2 + b"\xad\x7c\x3f\x00\xad\x42\x10\x86\x56"  # or past the memory's pages
            + b"\x72\x04\x40\x41\x7f\x28\x00\x00\x1a" + _END  # the trap that the engine has for that
        )  # fmt: skip
        body = self.pay + fits
        if load is not None:
            body += (
                _GET0 + _GET1 + b"\x6b\x21\x03"
                + b"\x02\x40\x03\x40" + _GET2 + b"\x45\x0d\x01"  # until the length is 0
                + _GET1 + b"\x41\x40\x71" + _SET4  # source & -64
                + _GET4 + _plus(_CHUNK) + _GET1 + _GET2 + b"\x6a" + _GET4 + _plus(_CHUNK) + _GET1 + _GET2
                + b"\x6a\x49\x1b" + _SET5  # the smaller of chunk + 64 and source + length
                + _GET4 + b"\x41\x06\x76\x10" + write_u32(load)
                + _GET3 + _GET4 + b"\x6a" + _GET1 + _GET4 + b"\x6b" + _GET5 + _GET4 + b"\x6b"
                + b"\x10" + write_u32(self.put)
                + _GET2 + _GET5 + _GET1 + b"\x6b\x6b\x21\x02" + _GET5 + b"\x21\x01"
                + b"\x0c\x00" + _END + _END
            )  # fmt: skip
        return self.draft.function(_INIT_TYPE, locals_of((I32, I32, I32)) + body + _END)


def _plus(amount: int) -> bytes:
    """`i32.const; i32.add`."""
    return b"\x41" + write_signed(amount) + b"\x6a" if amount else b""


def _edge() -> bytes:
    """Store bytes of a word, from local 2 to local 3 as far as it has them; local 0 is the address of its first."""
    low = b"\x41\x00" + _GET2 + _GET2 + b"\x41\x00\x48\x1b\x21\x02"  # i32.lt_s; select
    high = b"\x41\x08" + _GET3 + _GET3 + b"\x41\x08\x4a\x1b\x21\x03"  # i32.gt_s; select
    step = (
        _GET2 + _GET3 + b"\x4e\x0d\x01"  # i32.ge_s; br_if
        + _GET0 + _GET2 + b"\x6a" + _GET1 + _GET2 + b"\x41\x03\x74\xad\x88\x3c\x00\x00"  # shift; i64.store8
        + _GET2 + _plus(1) + b"\x21\x02\x0c\x00"
    )  # fmt: skip
    return b"\x00" + low + high + b"\x02\x40\x03\x40" + step + _END + _END + _END


def _tree(first: int, last: int, leaf: Callable[[int], bytes], scale: int) -> bytes:
    """Choose a leaf by local 0: binary, so as deep as the logarithm of their number."""
    if last - first == 1:
        return leaf(first)
    middle = (first + last) // 2
    left, right = _tree(first, middle, leaf, scale), _tree(middle, last, leaf, scale)
    return _GET0 + b"\x41" + write_signed(middle * scale) + b"\x49\x04\x40" + left + b"\x05" + right + _END


def passive_segments(
    draft: Draft, module: Module, code: Sequence[FunctionCode], pay: bytes
) -> dict[int, Segment]:
    """The segments that some `memory.init` reads, by number."""
    special = (function.events for function in code if function.special)
    used = sorted(set().union(*(events.arguments(op.EVENT_MEMORY_INIT) for events in special)))
    if not used:
        return {}
    writer = PassiveData(draft, pay)
    found: dict[int, Segment] = {}
    for number in used:
        data = module.segments[number]
        raw = module.data[data.start : data.end]
        found[number] = writer.segment(raw) if data.offset is None else writer.empty()
    return found
