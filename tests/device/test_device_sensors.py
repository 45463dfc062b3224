"""Sensors against trees and answers in their real formats, and against everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import os
import select
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.reading import Quantity, Reading, Readings, known, temperature, unknown
from icn_lite.device.sensors.command import MAX_OUTPUT_BYTES, CommandFailed, run_command
from icn_lite.device.sensors.hub import SensorHub, default_sources, read_sources
from icn_lite.device.sensors.linux_power import LinuxPower
from icn_lite.device.sensors.linux_thermal import LinuxThermal
from icn_lite.device.sensors.system import System
from icn_lite.device.sensors.termux import (
    DEADLINE_MS,
    MAX_BACKOFF_MS,
    MIN_INTERVAL_MS,
    TermuxBattery,
    parse_status,
)

FIXTURES = Path(__file__).parent / "fixtures"
Q = Quantity


def tree(name: str) -> Readings:
    """What the sensors say of a fixture."""
    return read_sources(default_sources(root=FIXTURES / name), now_ms=0)


def value(readings: Readings, quantity: Quantity) -> int | None:
    return readings.get(quantity).value


def power(root: Path, **supplies: dict[str, object]) -> Readings:
    """A power_supply tree written for one test, and what is read from it."""
    folder = root / "sys/class/power_supply"
    shutil.rmtree(folder, ignore_errors=True)
    for name, files in supplies.items():
        (folder / name).mkdir(parents=True)
        for file, text in files.items():
            (folder / name / file).write_text(f"{text}\n")
    return Readings.of(LinuxPower(root).read(0))


def thermal(root: Path, *zones: tuple[str, object]) -> Reading:
    """Thermal zones written for one test, and the temperature that is read from them."""
    folder = root / "sys/class/thermal"
    shutil.rmtree(folder, ignore_errors=True)
    for number, (kind, temp) in enumerate(zones):
        zone = folder / f"thermal_zone{number}"
        zone.mkdir(parents=True)
        (zone / "type").write_text(f"{kind}\n")
        (zone / "temp").write_text(f"{temp}\n")
    return Readings.of(LinuxThermal(root).read(0)).get(Q.SOC_TEMP)


class TestTrees:
    def test_pi_4_has_a_temperature_and_no_battery(self) -> None:
        readings = tree("pi-4")
        assert value(readings, Q.SOC_TEMP) == 52_582
        assert value(readings, Q.BATTERY_PRESENT) == 0
        assert readings.get(Q.BATTERY_PCT).value is None
        assert readings.get(Q.BATTERY_PCT).why_unknown

    def test_two_batteries_are_one_and_the_mouse_is_not_ours(self) -> None:
        readings = tree("laptop-two-batteries")
        assert value(readings, Q.BATTERY_PCT) == 100 * (22_900_000 + 5_470_000) // (23_120_000 + 23_480_000)
        assert value(readings, Q.ON_MAINS) == 0
        assert value(readings, Q.SOC_TEMP) == 61_000, "the Wi-Fi card's 88 °C is not the processor's"
        assert readings.get(Q.SOC_TEMP).source == "thermal_zone x86_pkg_temp"

    def test_phone_by_sysfs(self) -> None:
        readings = tree("phone-sysfs")
        assert value(readings, Q.BATTERY_PCT) == 76
        assert value(readings, Q.ON_MAINS) == 1
        assert value(readings, Q.BATTERY_TEMP) == 31_200
        assert value(readings, Q.BATTERY_CURRENT) == -412_353
        assert value(readings, Q.SOC_TEMP) == 49_100

    def test_nas_knows_nothing_and_says_so(self) -> None:
        readings = tree("nas-without-sensors")
        assert readings.get(Q.SOC_TEMP) == unknown(Q.SOC_TEMP, "thermal", "no thermal zone and no hwmon gives one")
        assert value(readings, Q.BATTERY_PRESENT) == 0

    def test_a_root_of_ones_own_brings_nothing_of_this_machine(self) -> None:
        assert {source.name for source in default_sources(root=FIXTURES / "pi-4")} == {"power_supply", "thermal"}
        assert next(source.name for source in default_sources(termux=True)) == "termux-battery-status"


class TestPower:
    BATTERY: ClassVar[dict[str, object]] = {"type": "Battery", "status": "Full", "capacity": 80}

    def test_a_charger_may_have_any_name_and_type(self, tmp_path: Path) -> None:
        for kind, online in (("Mains", 1), ("USB", 1), ("USB_C", 1), ("Wireless", 1), ("UPS", 2)):
            assert value(power(tmp_path, BAT0=self.BATTERY, axp={"type": kind, "online": online}), Q.ON_MAINS) == 1
        without = power(tmp_path, BAT0=self.BATTERY, axp={"type": "Mains", "online": 0})
        assert (value(without, Q.ON_MAINS), value(without, Q.PLUGGED)) == (0, 0)
        assert power(tmp_path, BAT0=self.BATTERY).get(Q.PLUGGED).why_unknown

    def test_a_charger_that_cannot_keep_up_counts_as_battery(self, tmp_path: Path) -> None:
        draining = self.BATTERY | {"status": "Discharging"}
        losing = power(tmp_path, BAT0=draining, usb={"type": "USB", "online": 1})
        assert (value(losing, Q.ON_MAINS), value(losing, Q.PLUGGED)) == (0, 1)

    def test_a_status_nobody_can_read_is_unknown_mains(self, tmp_path: Path) -> None:
        mute = {"type": "Battery", "capacity": 80}
        assert power(tmp_path, BAT0=mute).get(Q.ON_MAINS).why_unknown
        assert power(tmp_path, BAT0=mute, usb={"type": "USB", "online": "?"}).get(Q.ON_MAINS).why_unknown
        assert value(power(tmp_path, BAT0=self.BATTERY), Q.ON_MAINS) == 1

    @pytest.mark.parametrize("capacity", ["", "full", "-1", "101", "999999999999", "0x10", "1e2"])
    def test_an_absurd_charge_is_unknown(self, tmp_path: Path, capacity: str) -> None:
        readings = power(tmp_path, BAT0=self.BATTERY | {"capacity": capacity})
        assert value(readings, Q.BATTERY_PRESENT) == 1
        assert readings.get(Q.BATTERY_PCT).value is None
        assert readings.get(Q.BATTERY_PCT).why_unknown

    def test_zero_percent_is_believed_only_while_discharging(self, tmp_path: Path) -> None:
        flat = {"type": "Battery", "capacity": 0}
        assert value(power(tmp_path, BAT0=flat | {"status": "Discharging"}), Q.BATTERY_PCT) == 0
        charging = power(tmp_path, BAT0=flat | {"status": "Charging"})
        assert charging.get(Q.BATTERY_PCT).why_unknown == "0 % while charging is absurd"

    def test_one_unreadable_battery_of_two_makes_the_charge_unknown(self, tmp_path: Path) -> None:
        readings = power(tmp_path, BAT0=self.BATTERY, BAT1={"type": "Battery", "status": "Unknown"})
        assert "BAT1" in readings.get(Q.BATTERY_PCT).why_unknown

    def test_two_batteries_without_energies_count_as_the_emptier(self, tmp_path: Path) -> None:
        readings = power(tmp_path, BAT0=self.BATTERY, BAT1=self.BATTERY | {"capacity": 30})
        assert value(readings, Q.BATTERY_PCT) == 30

    def test_an_empty_bay_is_no_battery(self, tmp_path: Path) -> None:
        readings = power(tmp_path, BAT0=self.BATTERY, BAT1={"type": "Battery", "present": 0})
        assert value(readings, Q.BATTERY_PCT) == 80
        assert value(power(tmp_path, BAT1={"type": "Battery", "present": 0}), Q.BATTERY_PRESENT) == 0

    def test_a_folder_that_is_refused_is_not_a_missing_battery(self, tmp_path: Path) -> None:
        (tmp_path / "sys/class").mkdir(parents=True)
        (tmp_path / "sys/class/power_supply").touch()  # not a folder: refused whoever asks
        readings = Readings.of(LinuxPower(tmp_path).read(0))
        assert readings.get(Q.BATTERY_PRESENT).value is None
        assert "Not a directory" in readings.get(Q.BATTERY_PRESENT).why_unknown

    def test_a_supply_that_hides_its_type_may_be_the_battery(self, tmp_path: Path) -> None:
        readings = power(tmp_path, BAT0={"capacity": 80})
        assert readings.get(Q.BATTERY_PRESENT).value is None
        assert "BAT0" in readings.get(Q.BATTERY_PRESENT).why_unknown

    def test_a_fifo_in_place_of_a_file_does_not_hang(self, tmp_path: Path) -> None:
        power(tmp_path, BAT0=self.BATTERY)
        capacity = tmp_path / "sys/class/power_supply/BAT0/capacity"
        capacity.unlink()
        os.mkfifo(capacity)
        assert Readings.of(LinuxPower(tmp_path).read(0)).get(Q.BATTERY_PCT).value is None


class TestThermal:
    def test_the_hottest_processor_wins_over_hotter_others(self, tmp_path: Path) -> None:
        zones = (("cpu0-thermal", 50_000), ("cpu1-thermal", 55_000), ("wifi", 90_000), ("strange", 80_000))
        assert thermal(tmp_path, *zones).value == 55_000

    def test_a_zone_without_a_telling_name_is_better_than_none(self, tmp_path: Path) -> None:
        assert thermal(tmp_path, ("acpitz", 47_000), ("battery", 60_000)).value == 47_000

    def test_whole_degrees_are_taken_for_what_they_are(self, tmp_path: Path) -> None:
        assert thermal(tmp_path, ("mtktscpu", 45)).value == 45_000

    @pytest.mark.parametrize("temp", ["-273000", "0", "99000000", "-127000", "", "hot", "150001"])
    def test_an_absurd_temperature_is_unknown(self, tmp_path: Path, temp: str) -> None:
        reading = thermal(tmp_path, ("cpu-thermal", temp))
        assert reading.value is None
        assert reading.why_unknown.startswith("cpu-thermal: ")

    def test_what_may_be_tenths_is_unknown(self, tmp_path: Path) -> None:
        assert "tenths" in thermal(tmp_path, ("tsens_tz_sensor0", 781)).why_unknown
        assert thermal(tmp_path, ("cpu-thermal", 1_500)).value == 1_500
        assert thermal(tmp_path, ("cpu-thermal", -5_000)).value == -5_000

    def test_hwmon_stands_in(self, tmp_path: Path) -> None:
        chip = tmp_path / "sys/class/hwmon/hwmon2"
        chip.mkdir(parents=True)
        (chip / "name").write_text("k10temp\n")
        (chip / "temp1_input").write_text("63125\n")
        reading = Readings.of(LinuxThermal(tmp_path).read(0)).get(Q.SOC_TEMP)
        assert (reading.value, reading.source) == (63_125, "hwmon k10temp")


class FakeCommand:
    """Stands in for `run_command`: gives the answers in turn, an exception by raising it."""

    def __init__(self, *answers: bytes | CommandFailed) -> None:
        self.answers = list(answers)
        self.calls = 0

    def __call__(self, argv: Sequence[str], deadline_ms: int) -> bytes:
        assert deadline_ms == DEADLINE_MS
        self.calls += 1
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CommandFailed):
            raise answer
        return answer


def termux(name: str) -> bytes:
    return (FIXTURES / "termux" / f"{name}.json").read_bytes()


class TestTermux:
    def test_charging(self) -> None:
        readings = Readings(parse_status(termux("charging")))
        assert value(readings, Q.BATTERY_PCT) == 76
        assert value(readings, Q.ON_MAINS) == 1
        assert value(readings, Q.BATTERY_TEMP) == 31_200
        assert value(readings, Q.BATTERY_VOLTAGE) == 4_123_000
        assert value(readings, Q.BATTERY_CURRENT) == 412_353

    def test_losing_charge_while_plugged_in_counts_as_battery(self) -> None:
        weak = Readings(parse_status(termux("weak_charger")))
        assert (value(weak, Q.ON_MAINS), value(weak, Q.PLUGGED)) == (0, 1)

    def test_a_missing_thermometer_is_not_minus_two_hundred_million_degrees(self) -> None:
        reading = Readings(parse_status(termux("no_thermometer"))).get(Q.BATTERY_TEMP)
        assert reading.value is None
        assert "absurd" in reading.why_unknown

    def test_keys_left_out_are_unknown(self) -> None:
        readings = Readings(parse_status(termux("keys_left_out")))
        assert value(readings, Q.BATTERY_PCT) == 50
        assert readings.get(Q.ON_MAINS).why_unknown == "status None, plugged None"
        assert readings.get(Q.BATTERY_TEMP).why_unknown

    @pytest.mark.parametrize(
        "answer", [b"", b"no json", b"[1]", b"12", b"null", b"\xff\xfe", b"[" * 60_000, b'{"percentage": 3']
    )
    def test_what_is_no_answer_is_a_failure(self, answer: bytes) -> None:
        with pytest.raises(CommandFailed, match="expected"):
            parse_status(answer)

    @pytest.mark.parametrize("pct", [b"-1", b"101", b'"76"', b"null", b"true", b"NaN", b"Infinity", b"1e400", b"{}"])
    def test_an_absurd_percentage_is_unknown(self, pct: bytes) -> None:
        reading = Readings(parse_status(b'{"percentage": %s, "temperature": %s}' % (pct, pct))).get(Q.BATTERY_PCT)
        assert reading.value is None

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        ).flatmap(lambda x: st.dictionaries(st.sampled_from(("percentage", "status", "plugged", "temperature",
                                                              "voltage", "current", "present")), st.just(x)))
    )  # fmt: skip
    @settings(deadline=None, derandomize=True, max_examples=80)
    def test_any_json_object_gives_readings(self, status: dict[str, object]) -> None:
        import json

        for reading in parse_status(json.dumps(status).encode()):
            assert (reading.value is None) == bool(reading.why_unknown)

    def test_it_is_asked_at_most_every_half_minute_and_the_answer_ages(self) -> None:
        command = FakeCommand(termux("charging"))
        battery = TermuxBattery(run=command)
        battery.read(1000)
        later = Readings.of(battery.read(1000 + MIN_INTERVAL_MS - 1))
        assert command.calls == 1
        assert later.get(Q.BATTERY_PCT).age_ms == MIN_INTERVAL_MS - 1
        assert Readings.of(battery.read(1000 + MIN_INTERVAL_MS)).get(Q.BATTERY_PCT).age_ms == 0
        assert command.calls == 2

    def test_failures_back_off_to_ten_minutes_and_one_success_forgets_them(self) -> None:
        command = FakeCommand(CommandFailed("hung"))
        battery = TermuxBattery(run=command)
        asked_ms = [now for now in range(0, 3_600_000, 10_000) if self._asks(battery, command, now)]
        gaps = [later - earlier for earlier, later in pairwise(asked_ms)]
        assert gaps[:5] == [30_000, 60_000, 120_000, 240_000, 480_000]
        assert set(gaps[5:]) == {MAX_BACKOFF_MS}
        command.answers = [termux("charging")]
        battery.read(10_000_000)
        assert self._asks(battery, command, 10_000_000 + MIN_INTERVAL_MS)

    @staticmethod
    def _asks(battery: TermuxBattery, command: FakeCommand, now_ms: int) -> bool:
        before = command.calls
        battery.read(now_ms)
        return command.calls > before

    def test_after_a_failure_the_last_answer_goes_on_ageing(self) -> None:
        battery = TermuxBattery(run=FakeCommand(termux("charging"), CommandFailed("hung")))
        battery.read(0)
        assert Readings.of(battery.read(200_000)).get(Q.BATTERY_PCT).age_ms == 200_000

    def test_without_any_answer_the_reason_is_the_failure(self) -> None:
        battery = TermuxBattery(run=FakeCommand(CommandFailed("hung")))
        assert Readings.of(battery.read(0)).get(Q.BATTERY_PCT).why_unknown == "hung"

    def test_a_clock_that_went_back_does_not_silence_it(self) -> None:
        command = FakeCommand(termux("charging"))
        battery = TermuxBattery(run=command)
        battery.read(100_000_000)
        battery.read(5)
        assert command.calls == 2


class Lifeline:
    """A fifo that processes under test hold open for writing: it reads as ended when the last of them is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        os.mkfifo(path)
        self.handle = os.open(path, os.O_RDONLY | os.O_NONBLOCK)

    def is_cut(self) -> bool:
        poll = select.poll()
        poll.register(self.handle, select.POLLIN)
        poll.poll(10_000)
        try:
            return os.read(self.handle, 1) == b""
        except BlockingIOError:  # somebody still holds it
            return False


@pytest.fixture
def lifeline(tmp_path: Path) -> Iterator[Lifeline]:
    line = Lifeline(tmp_path / "lifeline")
    yield line
    os.close(line.handle)


class TestCommand:
    """Real processes. The deadlines are those of the code under test; nothing here waits for the clock."""

    def test_output_comes_back(self) -> None:
        assert run_command(["sh", "-c", "printf '{}'"], 10_000) == b"{}"

    def test_one_that_is_not_there(self) -> None:
        with pytest.raises(CommandFailed, match="No such file"):
            run_command(["a-command-of-another-world"], 1000)

    def test_one_that_fails(self) -> None:
        with pytest.raises(CommandFailed, match="ended with 3"):
            run_command(["sh", "-c", "echo '{}'; exit 3"], 10_000)

    def test_one_that_never_ends_dies_with_its_helpers(self, lifeline: Lifeline) -> None:
        with pytest.raises(CommandFailed, match="no answer in time"):
            run_command(["sh", "-c", f"exec 9>{lifeline.path}; sleep 1000 & wait"], 500)
        assert lifeline.is_cut()

    def test_one_that_leaves_a_helper_with_the_pipe(self, lifeline: Lifeline) -> None:
        with pytest.raises(CommandFailed, match="no answer in time"):
            run_command(["sh", "-c", f"exec 9>{lifeline.path}; sleep 1000 & exit 0"], 500)
        assert lifeline.is_cut()

    def test_one_that_closes_its_output_and_goes_on(self) -> None:
        with pytest.raises(CommandFailed, match="did not end in time"):
            run_command(["sh", "-c", "exec >&-; sleep 1000"], 500)

    def test_one_that_floods(self) -> None:
        with pytest.raises(CommandFailed, match=f"more than {MAX_OUTPUT_BYTES} bytes"):
            run_command([sys.executable, "-c", "while True: print('x' * 9999)"], 10_000)

    def test_nothing_is_left_open(self) -> None:
        before = len(os.listdir("/proc/self/fd"))
        for _ in range(5):
            run_command(["true"], 10_000)
            with pytest.raises(CommandFailed):
                run_command(["false"], 10_000)
        assert len(os.listdir("/proc/self/fd")) == before


class Gate:
    """A source that hangs until it is let through."""

    name = "gate"

    def __init__(self) -> None:
        self.open = threading.Event()
        self.entered = threading.Event()
        self.calls = 0

    def read(self, now_ms: int) -> Sequence[Reading]:
        self.calls += 1
        self.entered.set()
        self.open.wait(30)
        return [known(Q.BATTERY_PCT, self.calls, self.name)]


class Fixed:
    """A source that always says the same."""

    name = "fixed"

    def read(self, now_ms: int) -> Sequence[Reading]:
        return [known(Q.SOC_TEMP, 40_000, self.name)]


class TestHub:
    async def test_readings_come_from_all_sources(self) -> None:
        gate = Gate()
        gate.open.set()
        readings = await SensorHub([gate, Fixed()], clock=lambda: 7).read()
        assert (value(readings, Q.BATTERY_PCT), value(readings, Q.SOC_TEMP)) == (1, 40_000)

    async def test_a_source_that_hangs_holds_up_no_other_and_gets_no_second_thread(self) -> None:
        now = [0]
        gate = Gate()
        hub = SensorHub([gate, Fixed()], clock=lambda: now[0])
        gate.open.set()
        await hub.read()
        gate.open.clear()
        for now[0] in (1000, 2000, 3000):
            readings = await hub.read(deadline_ms=50)
        assert readings.get(Q.BATTERY_PCT).age_ms == 3000
        assert readings.get(Q.SOC_TEMP).age_ms == 0
        assert gate.calls == 2
        gate.open.set()

    async def test_a_source_that_has_never_answered_is_unknown(self) -> None:
        gate = Gate()
        readings = await SensorHub([gate]).read(deadline_ms=50)
        assert readings.get(Q.BATTERY_PCT).why_unknown == "no sensor on this device gives it"
        gate.open.set()

    async def test_the_first_answer_is_waited_for(self) -> None:
        gate = Gate()
        hub = SensorHub([gate])
        first = asyncio.create_task(hub.read())
        assert await asyncio.to_thread(gate.entered.wait, 30)
        assert not first.done()
        gate.open.set()
        assert value(await first, Q.BATTERY_PCT) == 1

    async def test_cancelling_a_read_leaves_the_hub_usable(self) -> None:
        gate = Gate()
        hub = SensorHub([gate])
        waiting = asyncio.create_task(hub.read(deadline_ms=60_000))
        assert await asyncio.to_thread(gate.entered.wait, 30)
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        gate.open.set()
        readings = await hub.read(deadline_ms=60_000)
        while readings.get(Q.BATTERY_PCT).value is None:
            readings = await hub.read(deadline_ms=60_000)
        assert readings.get(Q.BATTERY_PCT).value in (1, 2)

    async def test_this_machine_can_be_read(self) -> None:
        readings = await SensorHub(default_sources()).read(deadline_ms=30_000)
        for reading in readings.items:
            assert (reading.value is None) == bool(reading.why_unknown)
        assert (value(readings, Q.MEMORY_TOTAL) or 0) > 0


class TestReading:
    def test_a_reading_is_a_value_or_a_reason(self) -> None:
        with pytest.raises(ValueError, match="not both"):
            Reading(Q.LOAD, 1, "x", why_unknown="because")
        with pytest.raises(ValueError, match="not neither"):
            Reading(Q.LOAD, None, "x")

    def test_old_and_future_readings_become_unknown(self) -> None:
        reading = known(Q.LOAD, 1, "x").aged(5000)
        assert reading.unless_older(5000) is reading
        assert reading.unless_older(4999).why_unknown == "the last reading is 5 s old, accepted are 4 s"
        assert "clock" in known(Q.LOAD, 1, "x").aged(-1).unless_older(5000).why_unknown

    def test_the_first_known_reading_wins(self) -> None:
        readings = Readings.of([unknown(Q.LOAD, "a", "no"), known(Q.LOAD, 2, "b"), known(Q.LOAD, 3, "c")])
        assert readings.get(Q.LOAD).source == "b"
        assert Readings.of([unknown(Q.LOAD, "a", "no"), unknown(Q.LOAD, "b", "nor")]).get(Q.LOAD).source == "a"

    def test_units_are_known_for_all(self) -> None:
        assert {known(quantity, 1, "x").unit for quantity in Q} >= {"%", "m°C", "MiB"}
        assert temperature(Q.SOC_TEMP, -40_001, "x").why_unknown == "-41 °C is absurd"

    def test_load_and_memory_of_this_machine(self) -> None:
        assert {reading.quantity for reading in System().read(0)} == {Q.LOAD, Q.MEMORY_AVAILABLE, Q.MEMORY_TOTAL}

    def test_a_psutil_that_is_refused_gives_reasons(self, monkeypatch: pytest.MonkeyPatch) -> None:
        import psutil

        def refuse() -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(psutil, "getloadavg", refuse)
        monkeypatch.setattr(psutil, "virtual_memory", refuse)
        assert all("Permission denied" in reading.why_unknown for reading in System().read(0))
