"""Bounds that stand in the annotations of the model's fields; `schema` reads and enforces them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

DEFAULT_MAX_TEXT: Final = 256  # a sentence; longer texts say so
DEFAULT_MAX_BYTES: Final = 4096  # larger data travels as a block by CID
DEFAULT_MAX_ITEMS: Final = 64
INT_MAX: Final = (1 << 63) - 1  # what every language and SQLite hold in a signed integer


@dataclass(frozen=True, slots=True)
class Range:
    """Inclusive bounds of an integer; without it `0 … 2^63-1`."""

    least: int
    most: int


@dataclass(frozen=True, slots=True)
class MaxLen:
    """Most characters of text, bytes of a byte string, or items of a tuple; `least` likewise."""

    most: int
    least: int = 0


@dataclass(frozen=True, slots=True)
class Ascii:
    """Text of printable ASCII only, where a bound in characters has to be one in bytes too."""
