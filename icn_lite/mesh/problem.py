"""Concise Problem Details (RFC 9290), content format 257: why a request was refused, for people and programs.

A problem is the CBOR map `{-1: title, -2: detail, "urn:icn-lite:problem": {"kind", "code", "hint"}}`; the last is a
custom entry (RFC 9290 §3.2) with the error's kind, its J-code where there is one, and the next step. Decoding reads
strangers' bytes: bounded in length and depth, unknown keys skipped, anything odd answers None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, TypeAlias

import cbor2

CONTENT_FORMAT: Final = 257
CUSTOM_KEY: Final = "urn:icn-lite:problem"
TITLE: Final = -1
DETAIL: Final = -2

MAX_BYTES: Final = 1024  # one datagram, and nothing that a stranger can make us work on
MAX_TITLE: Final = 96  # bytes of each text, so that all of them and their keys stay under MAX_BYTES
MAX_DETAIL: Final = 512
MAX_HINT: Final = 192
MAX_WORD: Final = 48
MAX_DEPTH: Final = 4
MAX_ENTRIES: Final = 32

_Value: TypeAlias = "int | str | bytes | dict[int | str, _Value] | None"


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a request was refused. `kind` is a word for machines, `code` a J-code or empty."""

    title: str
    detail: str = ""
    kind: str = ""
    code: str = ""
    hint: str = ""

    def encode(self) -> bytes:
        """The CBOR of the problem, at most `MAX_BYTES`; texts that are too long are cut."""
        own = {"kind": _cut(self.kind, MAX_WORD), "code": _cut(self.code, MAX_WORD), "hint": _cut(self.hint, MAX_HINT)}
        entries: dict[int | str, str | dict[str, str]] = {TITLE: _cut(self.title, MAX_TITLE)}
        if self.detail:
            entries[DETAIL] = _cut(self.detail, MAX_DETAIL)
        present = {key: text for key, text in own.items() if text}
        if present:
            entries[CUSTOM_KEY] = present
        return bytes(cbor2.dumps(entries, canonical=True))


def decode(payload: bytes) -> Problem | None:
    """Read a problem; None if the bytes are not one."""
    if len(payload) > MAX_BYTES:
        return None
    reader = _Reader(payload)
    try:
        value = reader.value(0)
    except _NotReadableError:
        return None
    if not isinstance(value, dict) or reader.at != len(payload):
        return None
    custom = value.get(CUSTOM_KEY)
    own = custom if isinstance(custom, dict) else {}
    return Problem(
        title=_text(value.get(TITLE)),
        detail=_text(value.get(DETAIL)),
        kind=_text(own.get("kind")),
        code=_text(own.get("code")),
        hint=_text(own.get("hint")),
    )


def _text(value: _Value) -> str:
    """A text made safe for a terminal, or nothing."""
    return "".join(c if c.isprintable() else " " for c in value) if isinstance(value, str) else ""


def _cut(text: str, limit: int) -> str:
    """At most `limit` bytes of UTF-8, cut between characters."""
    data = text.encode("utf-8", "replace")
    return text if len(data) <= limit else data[: limit - 3].decode("utf-8", "ignore") + "…"


class _NotReadableError(Exception):
    """The bytes are not CBOR of the kind that a problem is made of."""


class _Reader:
    """CBOR of integers, texts, byte strings, maps, arrays and tags of definite length; the last two are skipped."""

    __slots__ = ("at", "data")

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def value(self, depth: int) -> _Value:
        if depth > MAX_DEPTH:
            raise _NotReadableError
        major, argument = self._head()
        if major == 0:
            return argument
        if major == 1:
            return -1 - argument
        if major == 2:
            return self._take(argument)
        if major == 3:
            try:
                return self._take(argument).decode("utf-8")
            except UnicodeDecodeError as error:
                raise _NotReadableError from error
        if major == 5:
            return self._map(argument, depth)
        if major == 4:
            for _ in range(self._count(argument)):
                self.value(depth + 1)
        elif major == 6:
            return self.value(depth + 1)
        return None

    def _map(self, count: int, depth: int) -> dict[int | str, _Value]:
        result: dict[int | str, _Value] = {}
        for _ in range(self._count(count)):
            key = self.value(depth + 1)
            value = self.value(depth + 1)
            if isinstance(key, (int, str)):
                result[key] = value
        return result

    def _count(self, count: int) -> int:
        if count > MAX_ENTRIES:
            raise _NotReadableError
        return count

    def _head(self) -> tuple[int, int]:
        initial = self._take(1)[0]
        major, info = initial >> 5, initial & 31
        if info < 24:
            return major, info
        if info > 27:
            raise _NotReadableError
        return major, int.from_bytes(self._take(1 << (info - 24)), "big")

    def _take(self, count: int) -> bytes:
        data = self.data[self.at : self.at + count]
        if len(data) < count:
            raise _NotReadableError
        self.at += count
        return data
