"""The reader of values: nothing that only looks like the annotated type gets through."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, field
from enum import Enum, IntEnum
from typing import Annotated, Any, ClassVar

import pytest

from icn_lite.model import schema
from icn_lite.model.cid import Cid
from icn_lite.model.did import Did
from icn_lite.model.schema import Ascii, MaxLen, Range, SchemaError


class Colour(Enum):
    RED = "red"


class Level(IntEnum):
    LOW = 0
    HIGH = 1


@dataclass(frozen=True, slots=True)
class Inner:
    number: Annotated[int, Range(-5, 5)] = 0


@dataclass(frozen=True, slots=True)
class Left:
    TAG: ClassVar[str] = "Left"
    value: int


@dataclass(frozen=True, slots=True)
class Right:
    TAG: ClassVar[str] = "Right"


@dataclass(frozen=True, slots=True)
class Everything:
    flag: bool
    number: int
    text: Annotated[str, MaxLen(5, least=1)]
    data: Annotated[bytes, MaxLen(4)]
    cid: Cid
    did: Did
    colour: Colour
    level: Level
    side: Left | Right
    inner: Inner
    items: Annotated[tuple[Inner, ...], MaxLen(2)]
    label: Annotated[str, Ascii()] = "x"
    maybe: Inner | None = None
    more: tuple[str, ...] = field(default=())


DID = "did:key:z6Mkon3Necd6NkkyfoGoHxid2znGc59LU3K7mubaRcFbLfLX"
GOOD: dict[str, Any] = {
    "flag": True,
    "number": 7,
    "text": "ab",
    "data": "AAE=",
    "cid": str(Cid.of_raw(b"")),
    "did": DID,
    "colour": "red",
    "level": 1,
    "side": {"type": "Left", "value": 3},
    "inner": {"number": -5},
    "items": [{"number": 1}, {}],
}
ABSENT = object()

# what stands where: (path of the fault, words)
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"flag": 1}, "flag", "true or false"),
    ({"flag": "true"}, "flag", "true or false"),
    ({"flag": None}, "flag", "true or false"),
    ({"number": True}, "number", "an integer, found True"),
    ({"number": 7.0}, "number", "an integer, found 7.0"),
    ({"number": float("nan")}, "number", "an integer, found nan"),
    ({"number": float("inf")}, "number", "an integer, found inf"),
    ({"number": "7"}, "number", "an integer"),
    ({"number": -1}, "number", "0 to 9223372036854775807"),
    ({"number": 1 << 63}, "number", "0 to 9223372036854775807"),
    ({"number": 1 << 100_000}, "number", "an integer of 100001 bits"),
    ({"text": ""}, "text", "1 to 5 characters, found 0"),
    ({"text": "abcdef"}, "text", "1 to 5 characters, found 6"),
    ({"text": 5}, "text", "expected text"),
    ({"text": "\ud800"}, "text", "Unicode scalars"),
    ({"text": b"ab"}, "text", "expected text"),
    ({"data": "AAE"}, "data", "base64"),
    ({"data": "AAF="}, "data", "stray bits"),
    ({"data": "AAE=\n"}, "data", "base64"),
    ({"data": " AAE="}, "data", "base64"),
    ({"data": "AA-_"}, "data", "base64"),
    ({"data": "é"}, "data", "base64"),
    ({"data": base64.b64encode(b"12345").decode()}, "data", "0 to 4 bytes, found 5"),
    ({"data": [0, 1]}, "data", "expected bytes, found a list of 2"),
    ({"cid": "bafy"}, "cid", "59 characters"),
    ({"cid": str(Cid.of_raw(b"")).upper()}, "cid", "beginning with 'b'"),
    ({"cid": {"/": str(Cid.of_raw(b""))}}, "cid", "a CID, found a map of 1"),
    ({"did": "did:web:example.org"}, "did", "did:key:z"),
    ({"did": 1}, "did", "as text"),
    ({"colour": "blue"}, "colour", "one of red"),
    ({"colour": ["red"]}, "colour", "one of red"),
    ({"level": True}, "level", "one of 0, 1, found True"),
    ({"level": 1.0}, "level", "one of 0, 1, found 1.0"),
    ({"level": "1"}, "level", "one of 0, 1"),
    ({"side": {"type": "Up"}}, "side.type", "one of Left, Right, found 'Up'"),
    ({"side": {"value": 3}}, "side.type", "found None"),
    ({"side": {"type": ["Left"], "value": 3}}, "side.type", "one of Left, Right"),
    ({"side": {"type": "Right", "value": 3}}, "side.value", "unknown key"),
    ({"side": {"type": "Left"}}, "side", "missing key 'value'"),
    ({"side": "Right"}, "side", "a map with a key 'type'"),
    ({"side": None}, "side", "left out, found null"),
    ({"inner": {"number": 6}}, "inner.number", "-5 to 5, found 6"),
    ({"inner": []}, "inner", "expected a map, found a list of 0"),
    ({"items": [{}, {"number": 9}]}, "items[1].number", "-5 to 5"),
    ({"items": [{}, None]}, "items[1]", "expected a map"),
    ({"items": [{}] * 3}, "items", "0 to 2 items, found 3"),
    ({"items": {}}, "items", "expected a list"),
    ({"items": "ab"}, "items", "expected a list"),
    ({"label": "é"}, "label", "printable ASCII"),
    ({"label": "a\nb"}, "label", "printable ASCII"),
    ({"maybe": None}, "maybe", "left out, found null"),
    ({"more": ["x"] * 65}, "more", "0 to 64 items"),
    ({"other": 1}, "other", "unknown key; expected one of cid, colour"),
    ({"type": "Everything"}, "type", "unknown key"),
    ({"number": ABSENT}, "", "missing key 'number'"),
]


def test_good() -> None:
    found = schema.from_value(Everything, GOOD, "json")
    assert found.data == b"\0\1"
    assert found.level is Level.HIGH
    assert found.items == (Inner(1), Inner(0))
    assert (found.label, found.maybe, found.more) == ("x", None, ())
    assert schema.from_value(Everything, json.loads(json.dumps(schema.to_value(found, "json"))), "json") == found
    assert schema.from_value(Everything, schema.to_value(found)) == found


@pytest.mark.parametrize(
    ("changes", "path", "words"), REFUSED, ids=[f"{next(iter(row[0]))}-{row[2][:30]}" for row in REFUSED]
)
def test_refused(changes: dict[str, Any], path: str, words: str) -> None:
    value = {key: item for key, item in {**GOOD, **changes}.items() if item is not ABSENT}
    with pytest.raises(SchemaError) as refused:
        schema.from_value(Everything, value, "json", ("job",))
    assert schema.format_path(refused.value.path) == ("job." + path if path else "job")
    assert words in refused.value.message
    assert len(refused.value.message) < 300


def test_on_the_wire_no_texts_stand_for_bytes_or_cids() -> None:
    wire: Any = schema.to_value(schema.from_value(Everything, GOOD, "json"))
    for key in ("cid", "data"):
        with pytest.raises(SchemaError, match=key):
            schema.from_value(Everything, {**wire, key: GOOD[key]})


def test_on_the_wire_defaults_are_written() -> None:
    wire: Any = schema.to_value(schema.from_value(Everything, GOOD, "json"))
    for key in ("label", "more"):
        with pytest.raises(SchemaError, match=f"missing key '{key}'"):
            schema.from_value(Everything, {name: item for name, item in wire.items() if name != key})


def test_a_strangers_value_is_not_shown_whole() -> None:
    for huge in ("x" * 10**6, b"x" * 10**6, [0] * 10**6, {str(n): 0 for n in range(1000)}, 1 << 10**6):
        with pytest.raises(SchemaError) as refused:
            schema.from_value(Everything, {**GOOD, "flag": huge}, "json")
        assert len(refused.value.message) < 100


@dataclass(frozen=True, slots=True)
class NoForm:
    number: float


@dataclass(frozen=True, slots=True)
class UntaggedUnion:
    either: Inner | Everything


@dataclass(frozen=True, slots=True)
class TaggedType:
    TAG: ClassVar[str] = "T"
    type: str


@dataclass(frozen=True, slots=True)
class NoneNotDefault:
    maybe: Inner | None = Inner()


@pytest.mark.parametrize("cls", [NoForm, UntaggedUnion, TaggedType, NoneNotDefault])
def test_classes_that_would_have_two_forms_or_none(cls: type) -> None:
    with pytest.raises(TypeError):
        schema.from_value(cls, {})
