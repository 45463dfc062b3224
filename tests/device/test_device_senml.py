"""What the mesh sees of a device, read by a decoder that shares nothing with the encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from icn_lite.device.reading import BOUNDS, Quantity, Reading, Readings, known, unknown
from icn_lite.device.senml import BatteryStatus, Kind, battery_status, pack
from icn_lite.device.sensors.hub import read_sources
from icn_lite.device.sensors.rows import default_sources

FIXTURES = Path(__file__).parent / "fixtures"
KIND = Kind("pi-4", "0.6.0", 30)
Q = Quantity


class Decoder:
    """CBOR as far as SenML with integers needs it (RFC 8949 §3), and no further: floats and tags are refused."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def head(self) -> tuple[int, int]:
        first = self.data[self.at]
        self.at += 1
        major, small = first >> 5, first & 31
        if small < 24:
            return major, small
        size = 1 << (small - 24)
        assert small < 28
        self.at += size
        return major, int.from_bytes(self.data[self.at - size : self.at], "big")

    def value(self) -> object:
        major, number = self.head()
        if major in (0, 1):
            return number if major == 0 else -1 - number
        if major == 3:
            self.at += number
            return self.data[self.at - number : self.at].decode("utf-8")
        assert major in (4, 5), f"major type {major} has no business in this pack"
        if major == 4:
            return [self.value() for _ in range(number)]
        return {self.value(): self.value() for _ in range(number)}


def resolve(data: bytes) -> dict[str, tuple[int | str, int]]:
    """Resolved records (RFC 8428 §4.6): full name -> value and time."""
    decoder = Decoder(data)
    records = decoder.value()
    assert decoder.at == len(data)
    assert isinstance(records, list)
    base, found = "", {}
    for record in records:
        base = record.get(-2, base)
        assert record.keys() <= {-2, 0, 2, 3, 6}
        assert (2 in record) != (3 in record)
        found[base + record[0]] = (record.get(2, record.get(3)), record.get(6, 0))
    assert len(found) == len(records)
    return found


def test_a_pack_byte_for_byte() -> None:
    readings = Readings.of([known(Q.BATTERY_PRESENT, 0, "x")])
    expected = (
        "84"  # an array of four
        "a3 00 63362f30 02 00 21 652f332f302f"  # n "6/0", v 0, bn "/3/0/"
        "a2 00 623230 02 05"  # n "20", v 5
        "a2 00 623137 03 6470692d34"  # n "17", vs "pi-4"
        "a2 00 623139 03 65302e362e30"  # n "19", vs "0.6.0"
    )
    assert pack(readings, KIND) == bytes.fromhex(expected)


def test_a_phone_that_charges() -> None:
    readings = read_sources(default_sources(root=FIXTURES / "phone-termux"), 0).aged(7_400)
    found = resolve(pack(readings, KIND))
    assert found == {
        "/3/0/6/0": (0, -7), "/3/0/6/1": (1, -7), "/3/0/7/1": (4123, -7), "/3/0/8/1": (412, -7), "/3/0/9": (76, -7),
        "/3/0/20": (1, -7), "/3/0/17": ("pi-4", 0), "/3/0/19": ("0.6.0", 0),
    }  # fmt: skip


def test_a_board_without_a_battery() -> None:
    readings = read_sources(default_sources(root=FIXTURES / "pi-4"), 0)
    found = resolve(pack(readings, KIND))
    assert {name: value for name, (value, _) in found.items() if name[5:6].isdigit() and name != "/3/0/17"} == {
        "/3/0/6/0": 0, "/3/0/20": 5, "/3/0/19": "0.6.0",
    }  # fmt: skip


def test_unknown_is_left_out_and_never_zero() -> None:
    assert resolve(pack(Readings(), KIND)).keys() == {"/3/0/20", "/3/0/17", "/3/0/19"}
    mute = Readings.of(
        [known(Q.BATTERY_PRESENT, 1, "x"), unknown(Q.BATTERY_PCT, "x", "why"), known(Q.ON_MAINS, 0, "x")]
    )
    assert resolve(pack(mute, KIND)).keys() == {"/3/0/6/1", "/3/0/20", "/3/0/17", "/3/0/19"}


@pytest.mark.parametrize(
    ("present", "pct", "mains", "status"),
    [
        (None, 50, 1, BatteryStatus.UNKNOWN), (0, None, 1, BatteryStatus.NOT_INSTALLED),
        (1, None, None, BatteryStatus.UNKNOWN), (1, 50, None, BatteryStatus.UNKNOWN), (1, 50, 0, BatteryStatus.NORMAL),
        (1, 30, 0, BatteryStatus.LOW), (1, 30, None, BatteryStatus.LOW), (1, 30, 1, BatteryStatus.CHARGING),
        (1, 100, 1, BatteryStatus.COMPLETE), (1, None, 1, BatteryStatus.CHARGING), (1, None, 0, BatteryStatus.NORMAL),
    ],
)  # fmt: skip
def test_battery_status(present: int | None, pct: int | None, mains: int | None, status: BatteryStatus) -> None:
    told = ((Q.BATTERY_PRESENT, present), (Q.BATTERY_PCT, pct), (Q.ON_MAINS, mains))
    readings = Readings.of(known(q, v, "x") if v is not None else unknown(q, "x", "why") for q, v in told)
    assert battery_status(readings, 30) is status


@st.composite
def any_readings(draw: st.DrawFn) -> Readings:
    items = []
    for quantity in draw(st.sets(st.sampled_from(list(Q)))):
        value = draw(st.none() | st.integers(*BOUNDS[quantity]))
        age_ms = draw(st.integers(-100_000, 10_000_000))
        items.append(Reading(quantity, value, "x", age_ms, "" if value is not None else "why"))
    return Readings(tuple(items))


@given(any_readings())
def test_every_pack_is_small_and_holds_what_is_known(readings: Readings) -> None:
    data = pack(readings, KIND)
    found = resolve(data)
    assert len(data) < 256
    level = readings.get(Q.BATTERY_PCT)
    if "/3/0/9" in found:
        assert found["/3/0/9"] == (level.value, -(max(0, level.age_ms) // 1000) or 0)
    assert all(time_s <= 0 for _, time_s in found.values())
