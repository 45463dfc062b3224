"""A module taken apart without any judgement: sections, bodies, instructions. For counting and for mutating."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from icn_lite.wasm.leb import read_u32, write_u32

HEADER = b"\0asm\1\0\0\0"
CODE = 10


@dataclass
class Section:
    id: int
    content: bytes


@dataclass
class Instruction:
    """`code` is the opcode, of the 0xFC prefix 0xFC00 + its second number; `raw` all of its bytes."""

    code: int
    raw: bytes


def sections(module: bytes) -> list[Section]:
    """The sections of a module that is well formed so far."""
    found, at = [], 8
    while at < len(module):
        size, start = read_u32(module, at + 1, len(module))
        found.append(Section(module[at], module[start : start + size]))
        at = start + size
    return found


def assemble(parts: Iterable[Section]) -> bytes:
    return HEADER + b"".join(bytes((s.id,)) + write_u32(len(s.content)) + s.content for s in parts)


def bodies(code: bytes) -> list[bytes]:
    """The bodies of a code section, locals included."""
    count, at = read_u32(code, 0, len(code))
    found = []
    for _ in range(count):
        size, start = read_u32(code, at, len(code))
        found.append(code[start : start + size])
        at = start + size
    return found


def join_bodies(found: list[bytes]) -> bytes:
    return write_u32(len(found)) + b"".join(write_u32(len(body)) + body for body in found)


def split_body(body: bytes) -> tuple[bytes, list[Instruction]]:
    """Local declarations, and instructions with the last `end`."""
    groups, at = read_u32(body, 0, len(body))
    for _ in range(groups):
        _, at = read_u32(body, at, len(body))
        at += 1
    return body[:at], list(instructions(body, at))


def instructions(body: bytes, at: int) -> Iterator[Instruction]:
    while at < len(body):
        start = at
        code, at = _immediates(body, at)
        yield Instruction(code, body[start:at])


def _leb(body: bytes, at: int) -> int:
    while body[at] > 127:
        at += 1
    return at + 1


def _immediates(body: bytes, at: int) -> tuple[int, int]:
    """Opcode and end of the instruction at a place."""
    code = body[at]
    at += 1
    if code in (0x02, 0x03, 0x04, 0x0C, 0x0D, 0x10, *range(0x20, 0x27), 0x41, 0x42, 0x3F, 0x40, 0xD2, 0xD0):
        at = _leb(body, at)
    elif code == 0x0E:
        count, at = read_u32(body, at, len(body))
        for _ in range(count + 1):
            at = _leb(body, at)
    elif code == 0x11 or 0x28 <= code <= 0x3E:
        at = _leb(body, _leb(body, at))
    elif code == 0x43 or code == 0x44:
        at += 4 if code == 0x43 else 8
    elif code == 0x1C:
        count, at = read_u32(body, at, len(body))
        at += count
    elif code == 0xFC:
        second, at = read_u32(body, at, len(body))
        code = 0xFC00 + second
        for _ in range({8: 2, 9: 1, 10: 2, 11: 1, 12: 2, 13: 1, 14: 2, 15: 1, 16: 1, 17: 1}.get(second, 0)):
            at = _leb(body, at)
    return code, at


def opcodes(module: bytes) -> Counter[int]:
    """How often each opcode stands in a module."""
    seen: Counter[int] = Counter()
    for section in sections(module):
        if section.id == CODE:
            for body in bodies(section.content):
                seen.update(instruction.code for instruction in split_body(body)[1])
    return seen
