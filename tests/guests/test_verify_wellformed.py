"""The well-formedness guest against RFC 8949's own program and examples, cbor2, and Python's json."""

from __future__ import annotations

import json
import random
import struct
from typing import Any

import cbor2
import pytest
from guest_engines import run_wasmtime
from hypothesis import given, settings
from hypothesis import strategies as st
from verify_kit import code, mismatches, run_both
from verify_packer import load_packer

make = load_packer()
CBOR, JSON = make.CBOR, make.JSON
MAX_DEPTH = 1024


def words(text: str) -> list[str]:
    return text.split()


# RFC 8949, Appendix F.1: not well-formed, each for one reason
NOT_WELL_FORMED = words("""
    18 19 1a 1b 1901 1a0102 1b01020304050607 38 58 78 98 9a01ff00 b8 d8 f8 f900 fa0000 fb000000
    41 61 5affffffff00 5bffffffffffffffff010203 7affffffff00 7b7fffffffffffffff010203
    81 818181818181818181 8200 a1 a20102 a100 a2000000 5f4100 7f6100 9f 9f0102 bf bf01020102 819f 9f8000
    9f9f9f9f9fffffffff 9f819f819f9fffffff 1c 1d 1e 3c 3d 3e 5c 5d 5e 7c 7d 7e 9c 9d 9e bc bd be dc dd de fc fd fe
    f800 f801 f818 f81f 5f00ff 5f21ff 5f6100ff 5f80ff 5fa0ff 5fc000ff 5fe0ff 7f4100ff 5f5f4100ffff 7f7f6100ffff
    ff 81ff 8200ff a1ff a1ff00 a100ff a20000ff 9f81ff 9f829f819f9fffffffff bf00ff bf000000ff 1f 3f df c0 c1ff 9fc1ff
""")
# RFC 8949, Appendix A
WELL_FORMED = words("""
    00 01 0a 17 1818 1819 1864 1903e8 1a000f4240 1b000000e8d4a51000 1bffffffffffffffff c249010000000000000000
    3bffffffffffffffff c349010000000000000000 20 29 3863 3903e7 f90000 f98000 f93c00 fb3ff199999999999a f93e00 f97bff
    fa47c35000 fa7f7fffff fb7e37e43c8800759c f90001 f90400 f9c400 fbc010666666666666 f97c00 f97e00 f9fc00 fa7f800000
    fb7ff0000000000000 f4 f5 f6 f7 f0 f8ff c074323031332d30332d32315432303a30343a30305a c11a514b67b0 d74401020304
    d818456449455446 d82076687474703a2f2f7777772e6578616d706c652e636f6d 40 4401020304 60 6161 6449455446 62225c
    62c3bc 63e6b0b4 64f0908591 80 83010203 8301820203820405 98190102030405060708090a0b0c0d0e0f101112131415161718181819
    a0 a201020304 a26161016162820203 826161a161626163 5f42010243030405ff 7f657374726561646d696e67ff 9fff
    9f018202039f0405ffff 9f01820203820405ff 83018202039f0405ff 83019f0203ff820405 bf61610161629f0203ffff
    826161bf61626163ff bf6346756ef563416d7421ff
""")


def verdicts(kind: int, items: list[bytes]) -> list[bool]:
    data = make.wellformed([(kind, item) for item in items])
    bad = set(mismatches(run_both("wellformed", data), len(items)))
    return [i not in bad for i in range(len(items))]


def offset(kind: int, item: bytes) -> int | None:
    """Where the one item stops being well-formed."""
    run = run_both("wellformed", make.wellformed([(kind, item)]))
    offsets = cbor2.loads(run.output)["offsets"]
    return offsets[0] if mismatches(run, 1) else None


def appendix_c(data: bytes) -> bool:
    """RFC 8949's pseudocode, with its recursion."""

    class Fail(Exception):
        pass

    at = 0

    def take(count: int) -> int:
        nonlocal at
        if at + count > len(data):
            raise Fail
        at += count
        return int.from_bytes(data[at - count : at], "big")

    def well_formed(breakable: bool = False) -> int:
        head = take(1)
        major, info = head >> 5, head & 31
        value = info
        if info in (24, 25, 26, 27):
            value = take(1 << info - 24)
        elif info in (28, 29, 30):
            raise Fail
        elif info == 31:
            return indefinite(major, breakable)
        if major in (2, 3):
            take(value)
        elif major in (4, 5):
            for _ in range(min(value, len(data)) * (major - 3)):
                well_formed()
            if value > len(data):
                raise Fail
        elif major == 6:
            well_formed()
        elif major == 7 and info == 24 and value < 32:
            raise Fail
        return major

    def indefinite(major: int, breakable: bool) -> int:
        if major in (2, 3):
            while (kind := well_formed(breakable=True)) != -1:
                if kind != major:
                    raise Fail
        elif major == 4:
            while well_formed(breakable=True) != -1:
                pass
        elif major == 5:
            while well_formed(breakable=True) != -1:
                well_formed()
        elif major == 7 and breakable:
            return -1
        else:
            raise Fail
        return 99  # no other major type may equal it

    try:
        well_formed()
    except Fail:
        return False
    return at == len(data)


def test_the_examples_of_the_cbor_rfc() -> None:
    bad, good = [bytes.fromhex(text) for text in NOT_WELL_FORMED], [bytes.fromhex(text) for text in WELL_FORMED]
    assert verdicts(CBOR, bad) == [appendix_c(item) for item in bad] == [False] * len(bad)
    assert verdicts(CBOR, good) == [appendix_c(item) for item in good] == [True] * len(good)
    assert verdicts(CBOR, [item + b"\0" for item in good]) == [False] * len(good)
    assert verdicts(CBOR, [item[:-1] for item in good]) == [False] * len(good)
    assert verdicts(CBOR, [b""]) == [False]


def test_random_and_damaged_cbor_gets_the_verdict_of_the_rfcs_program() -> None:
    rng = random.Random(8949)
    # Heads that open and close things, more often than a fair coin would give them.
    likely = bytes.fromhex("00205f7f9fbfff8081a0a1c0d818f4f8f95841617861")
    items = [bytes(rng.choice(likely) for _ in range(rng.randrange(1, 12))) for _ in range(4000)]
    items += [rng.randbytes(rng.randrange(1, 10)) for _ in range(2000)]
    for text in WELL_FORMED:
        for _ in range(20):
            item = bytearray.fromhex(text)
            item[rng.randrange(len(item))] ^= 1 << rng.randrange(8)
            items.append(bytes(item))
    found = verdicts(CBOR, items)
    assert found == [appendix_c(item) for item in items]
    assert 200 < sum(found) < len(items) - 200


leaves = (
    st.none()
    | st.booleans()
    | st.integers(-(1 << 70), 1 << 70)
    | st.floats()
    | st.binary(max_size=40)
    | st.text(max_size=40)
)
# `st.recursive` warned once, in a run of many files, that this did not recur (hypothesis 6.170).
values: st.SearchStrategy[Any] = st.deferred(
    lambda: leaves | st.lists(values, max_size=6) | st.dictionaries(st.text(max_size=8), values, max_size=6)
)


@settings(derandomize=True, deadline=None, max_examples=60)
@given(st.lists(values, min_size=1, max_size=8))
def test_what_cbor2_and_json_write_is_well_formed(items: list[Any]) -> None:
    written = [(CBOR, cbor2.dumps(item)) for item in items]
    texts = [json.dumps(item, ensure_ascii=i % 2 == 0, indent=i % 3 or None, allow_nan=False).encode()
             for i, item in enumerate(map(without_bytes, items))]  # fmt: skip
    data = make.wellformed([*written, *((JSON, text) for text in texts)])
    assert mismatches(run_wasmtime(code("wellformed"), data), 2 * len(items)) == []


def without_bytes(value: Any) -> Any:
    """The same as JSON can say it."""
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, float):
        return value if value - value == 0 else None
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [without_bytes(item) for item in value]
    if isinstance(value, dict):
        return {without_bytes(key): without_bytes(item) for key, item in value.items()}
    return value


GOOD_JSON = words(r"""
    0 -0 1.0 -1.5e+10 1E-2 0e0 123456789012345678901234567890 true false null "" "a" "\u0000" "\uD800" "\ud83d\ude00"
    "\"\\\/\b\f\n\r\t" [] [1] [[],{}] {} {"a":1} {"":{"":[]}} {"a":1,"a":2} "é" "€" "𐍈" "￿" "퟿" "" [1,2,3]
""")
BAD_JSON = words(r"""
    01 -01 1. .5 -.5 +1 1e 1e+ 1.e1 - -- 0x1 1_0 NaN Infinity -Infinity tru nul falsey True 'a' "a "\x" "\u12" "\u123g"
    "\U0041" [ ] [1 [1,] [,1] [1,,2] [1}] {] } { {"a"} {"a":} {"a":1,} {a:1} {1:2} {"a":1"b":2} {"a"::1} {,} [1]] 1,2
    "a"b /**/1 [1]//x "\
""")


def as_json(data: bytes) -> bool:
    """Python's reader, with its extensions taken away."""

    def refuse(word: str) -> None:
        raise ValueError(word)

    try:
        json.loads(data.decode("utf-8"), parse_constant=refuse, parse_int=str)
    except (ValueError, RecursionError):
        return False
    return True


def test_json_of_every_kind() -> None:
    good = [text.encode() for text in GOOD_JSON]
    good += [b" \t\r\n1 \n", b'{ "a" : [ 1 , 2 ] }\r\n', b'"\x7f"', b'"\xf4\x8f\xbf\xbf"', b'"\xed\x9f\xbf"']
    bad = [text.encode() for text in BAD_JSON]
    bad += [b"", b" ", b"\xef\xbb\xbf1", b"1\0", b"\x0c1", b"\xa01", b'"\n"', b'"\x1f"', b'"\0"', b'"\t"', b"[1 2]"]
    # RFC 3629: cut, overlong, surrogates, past U+10FFFF, stray continuation
    for text in ("c3", "c328", "c080", "c1bf", "e08080", "e09fbf", "eda080", "edbfbf", "f0808080", "f08fbfbf",
                 "f4908080", "f5808080", "ff", "80", "e282", "f09082", "e28228"):  # fmt: skip
        bad.append(b'"' + bytes.fromhex(text) + b'"')
    assert [item for item in good if not as_json(item)] == []
    assert [item for item in bad if as_json(item)] == []
    assert [item for item, ok in zip(good, verdicts(JSON, good), strict=True) if not ok] == []
    assert [item for item, ok in zip(bad, verdicts(JSON, bad), strict=True) if ok] == []


def test_damaged_json_gets_pythons_verdict() -> None:
    rng = random.Random(8259)
    seeds = [
        *(text.encode() for text in GOOD_JSON),
        b'{"a":[1,2.5e-3,{"b":null}],"c":"\\u00e9 \xc3\xa9"}',
        b"[[[1],[]],-0.5]",
    ]
    items = []
    for _ in range(6000):
        item = bytearray(rng.choice(seeds))
        for _ in range(rng.randrange(1, 3)):
            at = rng.randrange(len(item) + 1)
            match rng.randrange(3):
                case 0:
                    item.insert(at, rng.choice(b'[]{},:"0123456789.eE+-\\ \ntrufalsn\xc3\xa9\xff'))
                case 1:
                    del item[at : at + 1]
                case _ if at < len(item):
                    item[at] ^= 1 << rng.randrange(8)
        items.append(bytes(item))
    found = verdicts(JSON, items)
    assert found == [as_json(item) for item in items]
    assert 500 < sum(found) < len(items) - 500


@pytest.mark.parametrize(
    ("kind", "nest", "inner", "close"),
    [
        (CBOR, b"\x81", b"\0", b""), (CBOR, b"\x9f", b"\0", b"\xff"), (CBOR, b"\xc1", b"\0", b""),
        (CBOR, b"\xa1\0", b"\0", b""), (JSON, b"[", b"", b"]"), (JSON, b'{"a":', b"0", b"}"),
    ],
)  # fmt: skip
def test_nesting_has_a_limit_and_no_recursion(kind: int, nest: bytes, inner: bytes, close: bytes) -> None:
    def nested(depth: int) -> bytes:
        return nest * depth + inner + close * depth

    assert verdicts(kind, [nested(MAX_DEPTH), nested(MAX_DEPTH + 1), nested(100_000)]) == [True, False, False]
    assert offset(kind, nested(MAX_DEPTH + 1)) == MAX_DEPTH * len(nest)


@pytest.mark.parametrize(
    ("kind", "item", "where"),
    [
        (CBOR, b"\0", None), (CBOR, b"\0\0", 1), (CBOR, b"", 0), (CBOR, b"\x82\0\x1c", 2), (CBOR, b"\x43ab", 3),
        (CBOR, b"\x83\0", 2), (JSON, b"[1,2", 4), (JSON, b"[1 2]", 3), (JSON, b'{"a" 1}', 5), (JSON, b'"\xff"', 1),
        (JSON, b"nulL", 3), (JSON, b"1 1", 2), (JSON, b"-", 1),
    ],
)  # fmt: skip
def test_where_it_stops(kind: int, item: bytes, where: int | None) -> None:
    assert offset(kind, item) == where


@pytest.mark.parametrize(
    ("shard", "exit_code"),
    [
        (make.wellformed([(3, b"x")]), 4), (make.wellformed([(0, b"x")]), 4),
        (make.wellformed([(CBOR, b"x")]) + b"x", 5), (make.wellformed([(CBOR, b"x")])[:-1], 5),
        (struct.pack("<4sIIIIII", b"ICNW", 1, 2, 0xFFFFFFFF, CBOR, 1, CBOR), 5),
    ],
)  # fmt: skip
def test_a_shard_that_cannot_be_ends_with_a_code(shard: bytes, exit_code: int) -> None:
    run = run_both("wellformed", shard)
    assert (run.result, run.output, len(run.log)) == (exit_code, b"", 1)
