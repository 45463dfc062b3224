"""Annotated integers and texts that several documents share: their unit and bounds, said once."""

from __future__ import annotations

from typing import Annotated, Final, TypeAlias

from icn_lite.model.schema import MaxLen, Range

PPM: Final = 1_000_000  # one, in parts per million
MAX_MANA: Final = 10**15  # sums of thousands of accounts stay within 63 bits
MAX_SHARDS: Final = 100_000
MAX_FUEL: Final = (1 << 62) - 1  # half of what the guest's 64-bit counter holds: it may go into overdraft

Mana: TypeAlias = Annotated[int, Range(0, MAX_MANA)]
Fuel: TypeAlias = Annotated[int, Range(0, MAX_FUEL)]
SharePpm: TypeAlias = Annotated[int, Range(0, PPM)]
EpochS: TypeAlias = Annotated[int, Range(0, 1 << 40)]  # seconds since 1970; a claim, never trusted alone
DurationMs: TypeAlias = Annotated[int, Range(0, 366 * 86_400_000)]
ByteCount: TypeAlias = Annotated[int, Range(0, 1 << 50)]
Pages: TypeAlias = Annotated[int, Range(0, 65_536)]  # of 64 KiB
ShardIndex: TypeAlias = Annotated[int, Range(0, MAX_SHARDS - 1)]
ShardCount: TypeAlias = Annotated[int, Range(0, MAX_SHARDS)]
Nonce: TypeAlias = Annotated[bytes, MaxLen(16, least=16)]
Name: TypeAlias = Annotated[str, MaxLen(128, least=1)]
Region: TypeAlias = Annotated[str, MaxLen(64, least=1)]
Sentence: TypeAlias = Annotated[str, MaxLen(512)]
Uri: TypeAlias = Annotated[str, MaxLen(128, least=8)]
