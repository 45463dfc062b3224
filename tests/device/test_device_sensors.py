"""Sensors against trees and answers in their real formats, and against everything that can go wrong with them."""

from __future__ import annotations

import asyncio
import os
import random
import select
import shutil
import sys
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

import pytest

from icn_lite.device.files import FileText
from icn_lite.device.reading import BOUNDS, Quantity, Reading, Readings, known, temperature, unknown
from icn_lite.device.sensors.command import MAX_OUTPUT_BYTES, CommandFailed, run_command
from icn_lite.device.sensors.hub import PATIENCE_MS, SensorHub, read_sources
from icn_lite.device.sensors.linux_power import LinuxPower
from icn_lite.device.sensors.linux_thermal import LinuxThermal
from icn_lite.device.sensors.nut import parse_ups
from icn_lite.device.sensors.own import parse_own
from icn_lite.device.sensors.rows import default_sources
from icn_lite.device.sensors.source import Pace, Paced, Spaced
from icn_lite.device.sensors.system import System

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


EVERYTHING = (
    "pi-zero-2w", "pi-3b-plus", "pi-4", "pi-5", "laptop-two-batteries", "phone-sysfs", "phone-termux",
    "nas-without-sensors", "nas-with-ups",
)  # fmt: skip


class TestTrees:
    def test_pi_4_has_a_temperature_and_no_battery(self) -> None:
        readings = tree("pi-4")
        assert value(readings, Q.SOC_TEMP) == 52_582
        assert value(readings, Q.BATTERY_PRESENT) == 0
        assert readings.get(Q.BATTERY_PCT).value is None
        assert readings.get(Q.BATTERY_PCT).why_unknown
        assert (value(readings, Q.MEMORY_TOTAL), value(readings, Q.MEMORY_AVAILABLE)) == (3793, 3234)
        assert (value(readings, Q.CPU_FREQ_PM), value(readings, Q.CPU_CAP_PM)) == (1000, 1000)
        assert value(readings, Q.LOAD) == 310 // 4
        assert (value(readings, Q.WIFI), value(readings, Q.METERED)) == (1, 0)

    @pytest.mark.parametrize(
        ("name", "throttled", "undervoltage", "temp_mc"),
        [
            ("pi-zero-2w", 0, 0, 47_236),  # 0x50000: it was, since boot, and is not now
            ("pi-3b-plus", 1, 0, 61_224),  # 0x80008: the soft limit of 60 °C holds it back now
            ("pi-4", 0, 0, 52_582),
            ("pi-5", 1, 1, 57_300),  # 0x50005, and the kernel's alarm says so too
        ],
    )
    def test_of_a_pis_flags_only_those_for_now_count(
        self, name: str, throttled: int, undervoltage: int, temp_mc: int
    ) -> None:
        readings = tree(name)
        assert value(readings, Q.THROTTLED) == throttled
        assert value(readings, Q.UNDERVOLTAGE) == undervoltage
        assert readings.get(Q.UNDERVOLTAGE).source == "rpi_volt"
        assert value(readings, Q.SOC_TEMP) == temp_mc

    def test_two_batteries_are_one_and_the_mouse_is_not_ours(self) -> None:
        readings = tree("laptop-two-batteries")
        assert value(readings, Q.BATTERY_PCT) == 100 * (22_900_000 + 5_470_000) // (23_120_000 + 23_480_000)
        assert value(readings, Q.ON_MAINS) == 0
        energy_mj = (22_900_000 + 5_470_000) * 36 // 10
        assert value(readings, Q.BATTERY_ENERGY) == energy_mj
        assert value(readings, Q.BATTERY_POWER) == 6217
        assert value(readings, Q.BATTERY_TO_EMPTY) == energy_mj // 6217
        assert readings.get(Q.BATTERY_TO_FULL).value is None
        assert value(readings, Q.SOC_TEMP) == 61_000, "the Wi-Fi card's 88 °C is not the processor's"
        assert readings.get(Q.SOC_TEMP).source == "thermal_zone x86_pkg_temp"
        assert value(readings, Q.METERED) == 1, "a phone's Wi-Fi announced itself to NetworkManager"

    def test_phone_by_sysfs(self) -> None:
        readings = tree("phone-sysfs")
        assert value(readings, Q.BATTERY_PCT) == 76
        assert value(readings, Q.ON_MAINS) == 1
        assert value(readings, Q.BATTERY_TEMP) == 31_200
        assert value(readings, Q.BATTERY_CURRENT) == -412_353
        assert value(readings, Q.BATTERY_POWER) == 412_353 * 4_123_712 // 10**9
        assert value(readings, Q.SOC_TEMP) == 49_100
        assert (value(readings, Q.WIFI), value(readings, Q.METERED)) == (0, 1), "the modem is its only way out"
        assert value(readings, Q.CPU_CAP_PM) == 1000 * 1_881_600 // 2_323_200, "the kernel cools the large cores"

    def test_phone_by_termux(self) -> None:
        readings = tree("phone-termux")
        assert readings.get(Q.BATTERY_PCT).source == "termux-battery-status"
        assert value(readings, Q.BATTERY_PCT) == 76
        assert value(readings, Q.WIFI) == 1
        assert "metered" in readings.get(Q.METERED).why_unknown
        assert readings.get(Q.SOC_TEMP).why_unknown
        assert "stat" in readings.get(Q.FOREIGN_LOAD_PM).why_unknown

    def test_nas_knows_nothing_and_says_so(self) -> None:
        readings = tree("nas-without-sensors")
        assert readings.get(Q.SOC_TEMP) == unknown(Q.SOC_TEMP, "thermal", "no thermal zone and no hwmon gives one")
        assert value(readings, Q.BATTERY_PRESENT) == 0
        assert value(readings, Q.WIFI) == 1
        assert "no NetworkManager" in readings.get(Q.METERED).why_unknown

    def test_a_ups_counts_as_the_battery_that_the_kernel_does_not_see(self) -> None:
        readings = tree("nas-with-ups")
        assert (value(readings, Q.BATTERY_PRESENT), value(readings, Q.BATTERY_PCT)) == (1, 100)
        assert (value(readings, Q.ON_MAINS), value(readings, Q.BATTERY_TO_EMPTY)) == (1, 2580)

    @pytest.mark.parametrize("name", EVERYTHING)
    def test_a_root_of_ones_own_brings_nothing_of_this_machine(
        self, name: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def outside(*_: object) -> None:
            raise AssertionError("the tree was left")

        monkeypatch.setattr("icn_lite.device.sensors.command.subprocess.Popen", outside)
        monkeypatch.setattr("shutil.which", outside)
        rows = default_sources(root=FIXTURES / name)
        assert "clock" not in {source.name for source in rows}
        assert read_sources(rows, 0) == read_sources(default_sources(root=FIXTURES / name), 0)

    @pytest.mark.parametrize("name", EVERYTHING)
    async def test_the_hub_says_of_a_tree_what_its_sources_say(self, name: str) -> None:
        hub = SensorHub(default_sources(root=FIXTURES / name), clock=lambda: 0)
        assert await hub.read() == tree(name)

    def test_termux_comes_first_on_termux(self) -> None:
        assert next(source.name for source in default_sources(termux=True)) == "termux-battery-status"


SEEDS = 8 if os.environ.get("ICN_LITE_LONG") != "1" else 400


class TestDamage:
    @pytest.mark.parametrize("name", EVERYTHING)
    def test_whatever_a_file_holds_nobody_raises(self, tmp_path: Path, name: str) -> None:
        """Every seed spoils one file of the tree, as broken drivers, full disks and other kernels do."""
        root = tmp_path / name
        shutil.copytree(FIXTURES / name, root)
        files = sorted(path for path in root.rglob("*") if path.is_file())
        for seed in range(SEEDS):
            dice = random.Random(f"{name} {seed}")
            file = dice.choice(files)
            whole = file.read_bytes()
            file.write_bytes(damaged(dice, whole))
            rows = default_sources(root=root)
            try:
                for now_ms in (0, 1, 700_000, 3):
                    for reading in read_sources(rows, now_ms).items:
                        assert (reading.value is None) == bool(reading.why_unknown), (seed, file, reading)
                        low, high = BOUNDS[reading.quantity]
                        assert reading.value is None or low <= reading.value <= high, (seed, file, reading)
            finally:
                file.write_bytes(whole)


def damaged(dice: random.Random, whole: bytes) -> bytes:
    """Nothing, noise, a piece of it, more of it than a file of the kernel has, or other numbers."""
    numbers = (b"-1", b"0", b"99999999999999999999", b"1e9", b"nan", b"0x10", b" 7 \n8")
    return dice.choice(
        (b"", dice.randbytes(60), whole[: dice.randrange(len(whole) + 1)], whole * 99, dice.choice(numbers))
    )


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

    def test_a_gauges_own_forecast_is_preferred(self, tmp_path: Path) -> None:
        full = self.BATTERY | {"charge_now": 1_000_000, "charge_full": 3_000_000, "voltage_now": 4_000_000}
        draining = full | {"status": "Discharging", "current_now": -500_000}
        assert value(power(tmp_path, BAT0=draining), Q.BATTERY_ENERGY) == 14_400_000
        assert value(power(tmp_path, BAT0=draining), Q.BATTERY_TO_EMPTY) == 7200
        assert value(power(tmp_path, BAT0=draining | {"time_to_empty_avg": 6000}), Q.BATTERY_TO_EMPTY) == 6000
        charging = full | {"status": "Charging", "current_now": 1_000_000}
        assert value(power(tmp_path, BAT0=charging), Q.BATTERY_TO_FULL) == 7200
        assert power(tmp_path, BAT0=charging | {"current_now": 0}).get(Q.BATTERY_TO_FULL).value is None

    def test_a_supply_that_is_plugged_in_later_is_seen(self, tmp_path: Path) -> None:
        power(tmp_path, BAT0=self.BATTERY)
        source = LinuxPower(tmp_path)
        assert value(Readings.of(source.read(0)), Q.PLUGGED) is None
        charger = tmp_path / "sys/class/power_supply/usb"
        charger.mkdir()
        (charger / "type").write_text("USB\n")
        (charger / "online").write_text("1\n")
        assert value(Readings.of(source.read(1)), Q.PLUGGED) == 1
        (charger / "online").write_text("0\n")
        assert value(Readings.of(source.read(2)), Q.PLUGGED) == 0

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

    def test_a_profile_may_prefer_a_sensor(self, tmp_path: Path) -> None:
        thermal(tmp_path, ("cpu-thermal", 50_000), ("skin-a", 41_000), ("skin-b", 43_000))
        preferring = [LinuxThermal(tmp_path, wish) for wish in (("skin-*",), ("gpu*", "skin-a"), ("gpu*",), ())]
        found = [Readings.of(source.read(0)).get(Q.SOC_TEMP) for source in preferring]
        assert [reading.value for reading in found] == [43_000, 41_000, 50_000, 50_000]
        (tmp_path / "sys/class/thermal/thermal_zone2/temp").write_text("-273000\n")
        assert Readings.of(preferring[0].read(1)).get(Q.SOC_TEMP).value == 41_000

    def test_a_zone_that_appears_later_is_found(self, tmp_path: Path) -> None:
        source = LinuxThermal(tmp_path)
        assert Readings.of(source.read(0)).get(Q.SOC_TEMP).value is None
        thermal(tmp_path, ("cpu-thermal", 50_000))
        assert Readings.of(source.read(1)).get(Q.SOC_TEMP).value == 50_000
        thermal(tmp_path, ("cpu-thermal", 50_000), ("cpu1-thermal", 60_000))
        assert Readings.of(source.read(2)).get(Q.SOC_TEMP).value == 50_000
        assert Readings.of(source.read(2 + 600_000)).get(Q.SOC_TEMP).value == 60_000
        thermal(tmp_path, ("cpu1-thermal", 61_000))
        assert Readings.of(source.read(1)).get(Q.SOC_TEMP).value == 61_000, "a clock that went back"

    def test_hwmon_stands_in(self, tmp_path: Path) -> None:
        chip = tmp_path / "sys/class/hwmon/hwmon2"
        chip.mkdir(parents=True)
        (chip / "name").write_text("k10temp\n")
        (chip / "temp1_input").write_text("63125\n")
        reading = Readings.of(LinuxThermal(tmp_path).read(0)).get(Q.SOC_TEMP)
        assert (reading.value, reading.source) == (63_125, "hwmon k10temp")


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

    def test_it_speaks_no_language_but_c(self) -> None:
        assert run_command(["sh", "-c", "printf %s $LC_ALL"], 10_000) == b"C"

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


class Broken:
    """A source that breaks its promise."""

    name = "broken"

    def read(self, now_ms: int) -> Sequence[Reading]:
        raise ZeroDivisionError("a fault of its own")


class SlowGate(Paced):
    """A program that hangs until it is let through; always due."""

    name = "slow gate"
    problem = ""

    def __init__(self) -> None:
        self.gate = Gate()
        self.open, self.entered = self.gate.open, self.gate.entered

    def due(self, now_ms: int, said: object, *, busy: bool) -> bool:
        return True

    def read(self, now_ms: int) -> Sequence[Reading]:
        return self.gate.read(now_ms)


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

    async def test_many_that_hang_hold_up_none_and_cost_one_thread_each(self) -> None:
        gates, fixed = [Gate() for _ in range(5)], Fixed()
        hub = SensorHub([*gates, fixed], clock=lambda: 0)
        readings = await hub.read(deadline_ms=10 * PATIENCE_MS)
        assert value(readings, Q.SOC_TEMP) == 40_000
        for _ in range(3):
            assert value(await hub.read(deadline_ms=1000), Q.SOC_TEMP) == 40_000
        assert [gate.calls for gate in gates] == [1] * 5
        assert sum(thread.name == "sensors" for thread in threading.enumerate()) <= 6, "five, and one just ending"
        for gate in gates:
            gate.open.set()

    async def test_a_source_that_raises_takes_nobody_with_it(self, caplog: pytest.LogCaptureFixture) -> None:
        hub = SensorHub([Broken(), Fixed()], clock=lambda: 0)
        for _ in range(3):
            assert value(await hub.read(), Q.SOC_TEMP) == 40_000
        assert [record.message for record in caplog.records] == ["the sensor broken failed"]

    async def test_a_device_without_a_thread_to_give_knows_nothing_and_goes_on(
        self, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        now, slow = [0], SlowGate()
        slow.open.set()
        hub = SensorHub([slow, Fixed()], clock=lambda: now[0])

        def refuse(thread: threading.Thread) -> None:
            raise RuntimeError("can't start new thread")

        with monkeypatch.context() as patched:
            patched.setattr(threading.Thread, "start", refuse)
            for _ in range(3):
                assert value(await hub.read(), Q.SOC_TEMP) is None
        assert [record.message for record in caplog.records] == ["sensors can't be read: can't start new thread"]
        readings = await hub.read()
        assert (value(readings, Q.SOC_TEMP), value(readings, Q.BATTERY_PCT)) == (40_000, 1)
        now[0] = 60_000
        monkeypatch.setattr(threading.Thread, "start", refuse)
        assert (await hub.read()).get(Q.SOC_TEMP).age_ms == 60_000, "what was known grows old"

    async def test_a_program_is_waited_for_once_and_then_answers_when_it_likes(self) -> None:
        slow, now = SlowGate(), [0]
        hub = SensorHub([slow, Fixed()], clock=lambda: now[0])
        first = asyncio.create_task(hub.read())
        assert await asyncio.to_thread(slow.entered.wait, 30)
        assert not first.done()
        slow.open.set()
        assert value(await first, Q.BATTERY_PCT) == 1
        slow.open.clear()
        slow.entered.clear()
        now[0] = 10
        readings = await hub.read()
        assert (readings.get(Q.BATTERY_PCT).age_ms, readings.get(Q.SOC_TEMP).age_ms) == (10, 0)
        assert await asyncio.to_thread(slow.entered.wait, 30)
        assert value(await hub.read(), Q.BATTERY_PCT) == 1, "while it is being asked it is not asked again"
        slow.open.set()

    async def test_what_changes_slowly_is_read_less_often_while_idle(self) -> None:
        gate, now = Gate(), [0]
        gate.open.set()
        hub = SensorHub([Spaced(gate, Pace(10_000, 60_000))], clock=lambda: now[0])
        for now[0] in range(0, 120_000, 5_000):
            await hub.read(busy=False)
        assert gate.calls == 2
        for now[0] in range(120_000, 160_000, 5_000):
            await hub.read()
        assert gate.calls == 6
        now[0] = 5
        await hub.read(busy=False)
        assert gate.calls == 7, "a clock that went back must not silence it"

    async def test_a_clock_that_jumps_makes_readings_unknown_and_no_fresh_ones(self) -> None:
        gate, now = Gate(), [1_000_000]
        gate.open.set()
        hub = SensorHub([gate], clock=lambda: now[0])
        await hub.read()
        gate.open.clear()
        gate.entered.clear()
        stuck = asyncio.create_task(hub.read(deadline_ms=50))
        assert await asyncio.to_thread(gate.entered.wait, 30)
        await stuck
        for jump_ms in (-900_000, 900_000):
            now[0] = 1_000_000 + jump_ms
            reading = (await hub.read(deadline_ms=50)).get(Q.BATTERY_PCT)
            assert reading.age_ms == jump_ms
            assert reading.unless_older(120_000).value is None
        gate.open.set()

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

    def test_a_battery_that_anybody_sees_is_there_and_a_device_used_anywhere_is_used(self) -> None:
        seen = [known(Q.BATTERY_PRESENT, 0, "kernel"), known(Q.BATTERY_PRESENT, 1, "upsc")]
        assert Readings.of(seen).get(Q.BATTERY_PRESENT).source == "upsc"
        assert Readings.of(seen[::-1]).get(Q.BATTERY_PRESENT).source == "upsc"
        used = [
            known(Q.USER_IDLE_S, 900, "logind"),
            known(Q.USER_IDLE_S, 3, "terminals"),
            unknown(Q.USER_IDLE_S, "x", "?"),
        ]
        assert Readings.of(used).get(Q.USER_IDLE_S).value == 3
        assert Readings.of(used[::-1]).get(Q.USER_IDLE_S).value == 3

    @pytest.mark.parametrize("quantity", list(Q))
    def test_absurd_values_of_any_source_become_unknown(self, quantity: Quantity) -> None:
        low, high = BOUNDS[quantity]
        for sane in (low, high):
            assert Readings.of([known(quantity, sane, "x")]).get(quantity).value == sane
        for absurd in (low - 1, high + 1):
            reading = Readings.of([known(quantity, absurd, "x")]).get(quantity)
            assert reading.value is None
            assert reading.why_unknown == f"{absurd} {reading.unit} is absurd"
        other = Readings.of([known(quantity, high + 1, "broken"), known(quantity, low, "sane")])
        assert other.get(quantity) == known(quantity, low, "sane"), "the next source is asked"

    def test_nothing_is_at_zero_while_it_charges_whoever_says_so(self) -> None:
        empty = b'{"battery_present": true, "battery_pct": 0, "on_mains": %s}'
        own = Readings.of(parse_own(empty % b"true", "own"))
        ups = Readings.of(parse_ups(b"ups.status: OL CHRG\nbattery.charge: 0\n"))
        for readings in (own, ups):
            assert readings.get(Q.BATTERY_PCT).why_unknown == "0 % while charging is absurd"
        assert value(Readings.of(parse_own(empty % b"false", "own")), Q.BATTERY_PCT) == 0
        assert value(Readings.of(parse_own(empty.replace(b" 0,", b" 1,") % b"true", "own")), Q.BATTERY_PCT) == 1

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
        monkeypatch.setattr(
            "icn_lite.device.sensors.system.read_text", lambda path: FileText(None, "Permission denied")
        )
        assert all("Permission denied" in reading.why_unknown for reading in System().read(0))

    def test_psutil_stands_in_where_proc_is_refused(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(
            "icn_lite.device.sensors.system.read_text", lambda path: FileText(None, "Permission denied")
        )
        assert {reading.source for reading in System().read(0) if reading.value is not None} == {"psutil"}
