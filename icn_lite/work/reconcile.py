"""Range-based reconciliation: two sides find out in a few rounds in which items their sets differ.

An item is a number and 16 bytes of a hash; a set is ordered by both. A message says something about every part of that
order, from the lowest to the highest item: nothing (the part is settled), a fingerprint, the items themselves, or in
what the sides differ. Who gets a fingerprint that isn't its own answers with those of eight parts of it, or, where it
has few items there, with these; who gets items answers with the difference. The asking side begins with one
fingerprint of everything and goes on until nothing is left: 2 + log8(n / 16) rounds for sets of n items, and about a
kilobyte an item in which they differ. The idea is Negentropy's (range-based set reconciliation, A. Meyer 2022).

Sets may change between rounds; then a difference may be missed or be none any more, and the next time finds it. A
fingerprint is a sum, so that it can be made of parts: whoever may choose items freely could make two sets look the
same (Wagner 2002). Here the numbers of a chain are its executor's own, and it would hide nobody's receipts but its own.

Pure. A message is bounded by `most` bytes; what has no room is left as one fingerprint for the next round.
"""

from __future__ import annotations

import bisect
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final, Protocol, TypeAlias

from icn_lite.model.dag_pb import read_varint, varint
from icn_lite.model.errors import DocumentError
from icn_lite.model.sync import ID_BYTES, MAX_SEQ

Item: TypeAlias = tuple[int, bytes]

LOWEST: Final[Item] = (0, b"")
HIGHEST: Final[Item] = (MAX_SEQ + 1, b"")  # above every item
SPLIT: Final = 8  # parts of a part: more save a round and cost bytes
FEW: Final = 16  # items that are listed rather than split
LISTED: Final = 64  # items of one part in a message; a sum of bytes that nobody may exceed
MAX_RANGES: Final = 4_096  # in one message of 48 KiB
FINGERPRINT_BYTES: Final = 16
_REST_BYTES: Final = 64  # what the last part of a message takes


class Items(Protocol):
    """An ordered set, bounded below (inclusive) and above (exclusive)."""

    def count(self, lower: Item, upper: Item) -> int:
        """How many there are."""
        ...

    def walk(self, lower: Item, upper: Item) -> Iterator[Item]:
        """They, in their order."""
        ...


class SortedItems:
    """A set in memory."""

    def __init__(self, items: Sequence[Item]) -> None:
        self._items = sorted(set(items))

    def count(self, lower: Item, upper: Item) -> int:
        """How many there are."""
        return bisect.bisect_left(self._items, upper) - bisect.bisect_left(self._items, lower)

    def walk(self, lower: Item, upper: Item) -> Iterator[Item]:
        """They, in their order."""
        start, stop = bisect.bisect_left(self._items, lower), bisect.bisect_left(self._items, upper)
        yield from self._items[start:stop]


class Mode(IntEnum):
    """What a part of a message says."""

    SETTLED = 0
    FINGERPRINT = 1
    ITEMS = 2
    DIFFERENCE = 3  # items that only the answering side has, and items that it lacks


@dataclass(frozen=True, slots=True)
class Range:
    """One part: from where the one before ended to before `upper`."""

    upper: Item
    mode: Mode
    fingerprint: bytes = b""
    items: tuple[Item, ...] = ()
    lacked: tuple[Item, ...] = ()


def fingerprint(items: Iterator[Item]) -> bytes:
    """Of any number of items: the hash of their sum and count."""
    total = count = 0
    for number, name in items:
        total += int.from_bytes(hashlib.sha256(number.to_bytes(8, "big") + name).digest(), "big")
        count += 1
    data = (total & ((1 << 256) - 1)).to_bytes(32, "big") + count.to_bytes(8, "big")
    return hashlib.sha256(data).digest()[:FINGERPRINT_BYTES]


# -- the two sides


def begin(items: Items) -> bytes:
    """The asking side's first message."""
    return write((_told(items, LOWEST, HIGHEST),))


def answer(items: Items, message: bytes, most: int) -> bytes:
    """The other side's message; raises `DocumentError`."""
    return _reply(items, message, most, None)


@dataclass(slots=True)
class Differences:
    """What the asking side has found: items that only the other side has, and that only it has itself."""

    lacking: set[Item] = field(default_factory=set)
    extra: set[Item] = field(default_factory=set)

    def __len__(self) -> int:
        return len(self.lacking) + len(self.extra)


def go_on(items: Items, message: bytes, most: int, found: Differences) -> bytes:
    """The asking side's next message, empty when everything is settled; raises `DocumentError`."""
    reply = _reply(items, message, most, found)
    return b"" if all(part.mode is Mode.SETTLED for part in read(reply)) else reply


def _reply(items: Items, message: bytes, most: int, found: Differences | None) -> bytes:
    out = _Writer(most)
    lower = LOWEST
    for part in read(message):
        for told in _answered(items, lower, part, found):
            if not out.add(told):
                out.add(Range(HIGHEST, Mode.FINGERPRINT, fingerprint(items.walk(out.upper, HIGHEST))), last=True)
                return bytes(out.data)
        lower = part.upper
    return bytes(out.data)


def _answered(items: Items, lower: Item, part: Range, found: Differences | None) -> Iterator[Range]:
    settled = Range(part.upper, Mode.SETTLED)
    if part.mode is Mode.SETTLED:
        yield settled
    elif part.mode is Mode.FINGERPRINT:
        if fingerprint(items.walk(lower, part.upper)) == part.fingerprint:
            yield settled
        else:
            yield from _split(items, lower, part.upper)
    elif part.mode is Mode.ITEMS:
        own, theirs = set(items.walk(lower, part.upper)), set(part.items)
        lacking, extra = theirs - own, own - theirs
        if found is not None:
            found.lacking |= lacking
            found.extra |= extra
            yield settled
        elif len(lacking) + len(extra) > LISTED:  # it grew meanwhile
            yield from _split(items, lower, part.upper)
        elif lacking or extra:
            yield Range(part.upper, Mode.DIFFERENCE, b"", tuple(sorted(extra)), tuple(sorted(lacking)))
        else:
            yield settled
    elif found is None:
        raise DocumentError("only who is asked tells differences")
    else:
        found.lacking |= {item for item in part.items if not _has(items, item)}
        found.extra |= {item for item in part.lacked if _has(items, item)}
        yield settled


def _has(items: Items, item: Item) -> bool:
    return items.count(item, (item[0], item[1] + b"\0")) > 0


def _told(items: Items, lower: Item, upper: Item) -> Range:
    """A part by its items where they are few, else by its fingerprint."""
    if items.count(lower, upper) <= FEW:
        return Range(upper, Mode.ITEMS, b"", tuple(items.walk(lower, upper)))
    return Range(upper, Mode.FINGERPRINT, fingerprint(items.walk(lower, upper)))


def _split(items: Items, lower: Item, upper: Item) -> Iterator[Range]:
    """A part in which the sides differ, in up to eight."""
    count = items.count(lower, upper)
    if count <= FEW:
        yield Range(upper, Mode.ITEMS, b"", tuple(items.walk(lower, upper)))
        return
    each, rest = divmod(count, SPLIT)
    sizes = [each + (index < rest) for index in range(SPLIT)]
    part: list[Item] = []
    before: Item | None = None
    for item in items.walk(lower, upper):
        if sizes and before is not None and len(part) == sizes[0]:
            bound = _between(before, item)
            yield _of(part, bound)
            part = []
            del sizes[0]
        part.append(item)
        before = item
    yield _of(part, upper)


def _of(part: list[Item], upper: Item) -> Range:
    if len(part) <= FEW // 2:
        return Range(upper, Mode.ITEMS, b"", tuple(part))
    return Range(upper, Mode.FINGERPRINT, fingerprint(iter(part)))


def _between(before: Item, item: Item) -> Item:
    """The shortest bound above `before` and not above `item`."""
    if before[0] != item[0]:
        return item[0], b""
    length = next(n for n in range(1, ID_BYTES + 1) if before[1][:n] != item[1][:n])
    return item[0], item[1][:length]


# -- messages: of each part the upper bound, the mode, and what it says


class _Writer:
    """Puts parts together, up to a length; settled parts that follow each other are one."""

    def __init__(self, most: int = 1 << 30) -> None:
        self.data = bytearray()
        self.upper = LOWEST
        self._most = most
        self._settled: Item | None = None
        self._parts = 0

    def add(self, part: Range, *, last: bool = False) -> bool:
        """Whether there was room for it and for the last part after it."""
        if part.mode is Mode.SETTLED and part.upper != HIGHEST:
            self._settled = part.upper
            self.upper = part.upper
            return True
        parts = [] if self._settled is None else [Range(self._settled, Mode.SETTLED)]
        text = b"".join(map(_encode, (*parts, part)))
        room = len(self.data) + len(text) + _REST_BYTES <= self._most and self._parts + 3 < MAX_RANGES
        if not last and part.upper != HIGHEST and not room:
            return False
        if part.upper == HIGHEST and not last and len(self.data) + len(text) > self._most:
            return False
        self.data += text
        self._parts += len(parts) + 1
        self._settled = None
        self.upper = part.upper
        return True


def write(parts: Sequence[Range]) -> bytes:
    """A message."""
    return b"".join(map(_encode, parts))


def _encode(part: Range) -> bytes:
    number, prefix = part.upper
    head = varint(number) + bytes((len(prefix),)) + prefix + bytes((part.mode,))
    if part.mode is Mode.FINGERPRINT:
        return head + part.fingerprint
    if part.mode is Mode.ITEMS:
        return head + _encode_items(part.items)
    if part.mode is Mode.DIFFERENCE:
        return head + _encode_items(part.items) + _encode_items(part.lacked)
    return head


def _encode_items(items: Sequence[Item]) -> bytes:
    out, before = bytearray(varint(len(items))), 0
    for number, name in items:
        out += varint(number - before) + name
        before = number
    return bytes(out)


def read(message: bytes) -> tuple[Range, ...]:
    """The parts of a message; refuses what is out of order, out of bounds or incomplete."""
    parts: list[Range] = []
    at, lower = 0, LOWEST
    while at < len(message):
        if len(parts) == MAX_RANGES:
            raise DocumentError(f"expected at most {MAX_RANGES} parts", offset=at)
        start = at
        number, at = read_varint(message, at)
        prefix, at = _take(message, at + 1, message[at] if at < len(message) else ID_BYTES + 1)
        upper: Item = (number, prefix)
        if not lower < upper <= HIGHEST:
            raise DocumentError("expected parts in ascending order", offset=start)
        part, at = _read_part(message, at, lower, upper)
        parts.append(part)
        lower = upper
    if lower != HIGHEST:
        raise DocumentError("expected parts up to the highest item", offset=at)
    return tuple(parts)


def _read_part(message: bytes, at: int, lower: Item, upper: Item) -> tuple[Range, int]:
    mode = message[at] if at < len(message) else -1
    if mode not in tuple(Mode):
        raise DocumentError("expected a mode of 0 to 3", offset=at)
    at += 1
    if mode == Mode.FINGERPRINT:
        data, at = _take(message, at, FINGERPRINT_BYTES)
        return Range(upper, Mode.FINGERPRINT, data), at
    items: tuple[Item, ...] = ()
    lacked: tuple[Item, ...] = ()
    if mode != Mode.SETTLED:
        items, at = _read_items(message, at, lower, upper)
    if mode == Mode.DIFFERENCE:
        lacked, at = _read_items(message, at, lower, upper)
    return Range(upper, Mode(mode), b"", items, lacked), at


def _read_items(message: bytes, at: int, lower: Item, upper: Item) -> tuple[tuple[Item, ...], int]:
    start = at
    count, at = read_varint(message, at)
    if count > LISTED:
        raise DocumentError(f"expected at most {LISTED} items in a part, found {count}", offset=start)
    items: list[Item] = []
    number = 0
    for _ in range(count):
        step, at = read_varint(message, at)
        number += step
        name, at = _take(message, at, ID_BYTES)
        item = (number, name)
        if not (items[-1] if items else lower) <= item < upper or (items and item == items[-1]):
            raise DocumentError("expected items in ascending order within their part", offset=at)
        items.append(item)
    return tuple(items), at


def _take(message: bytes, at: int, length: int) -> tuple[bytes, int]:
    if length > ID_BYTES or at + length > len(message):
        raise DocumentError("expected a name of up to 16 bytes, found the end or a longer one", offset=at)
    return message[at : at + length], at + length
