"""What surrounds the device: its network, its user, other programs, the time of day."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.reading import Quantity, Reading, Readings
from icn_lite.device.sensors import network as network_module
from icn_lite.device.sensors.activity import Screen, Terminals
from icn_lite.device.sensors.foreign import ForeignLoad
from icn_lite.device.sensors.network import LinuxNetwork
from icn_lite.device.sensors.system import EARLIEST_PLAUSIBLE_S, Frequencies, LocalTime, System

Q = Quantity
ROUTES = "Iface\tDestination\tGateway \tFlags\tRefCnt\tUse\tMetric\tMask\t\tMTU\tWindow\tIRTT\n"


def write(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def interface(root: Path, name: str, *, devtype: str = "", driver: str = "e1000e", state: str = "up") -> None:
    """One interface of sysfs; without a driver it is virtual."""
    folder = root / "sys/class/net" / name
    files = {"uevent": f"DEVTYPE={devtype}\nINTERFACE={name}\n" if devtype else f"INTERFACE={name}\n"}
    write(folder, files | {"operstate": f"{state}\n", "type": "1\n"})
    if driver:
        write(folder, {"device/uevent": f"DRIVER={driver}\n"})


def route(name: str, metric: int = 100, flags: str = "0003", to: str = "00000000", mask: str = "00000000") -> str:
    return f"{name}\t{to}\t0102A8C0\t{flags}\t0\t0\t{metric}\t{mask}\t0\t0\t0\n"


def network(root: Path, *routes: str, six: str = "") -> tuple[Reading, Reading]:
    write(root, {"proc/net/route": ROUTES + "".join(routes), "proc/net/ipv6_route": six})
    readings = Readings.of(LinuxNetwork(root).read(0))
    return readings.get(Q.WIFI), readings.get(Q.METERED)


class TestNetwork:
    def test_wifi_and_cables_are_no_mobile_data(self, tmp_path: Path) -> None:
        interface(tmp_path, "wlan0", devtype="wlan")
        assert network(tmp_path, route("wlan0"))[0].value == 1
        interface(tmp_path, "wlan0", devtype="wlan", state="down")
        assert network(tmp_path)[0].value == 0
        interface(tmp_path, "eth0")
        assert network(tmp_path, route("eth0"))[0].value == 1

    @pytest.mark.parametrize(
        ("name", "devtype", "driver"),
        [("wwan0", "wwan", "qmi_wwan"), ("rmnet_data2", "", ""), ("ppp0", "", ""), ("usb0", "", "rndis_host"),
         ("enx0", "", "cdc_ether"), ("eth1", "", "ipheth")],
    )  # fmt: skip
    def test_modems_and_tethered_phones_are_metered(self, tmp_path: Path, name: str, devtype: str, driver: str) -> None:
        interface(tmp_path, name, devtype=devtype, driver=driver)
        wifi, metered = network(tmp_path, route(name))
        assert (wifi.value, metered.value) == (0, 1)

    def test_what_a_cable_costs_nobody_knows_here(self, tmp_path: Path) -> None:
        interface(tmp_path, "eth0")
        assert "NetworkManager" in network(tmp_path, route("eth0"))[1].why_unknown

    def test_the_best_way_out_decides(self, tmp_path: Path) -> None:
        interface(tmp_path, "eth0")
        interface(tmp_path, "wwan0", devtype="wwan")
        assert network(tmp_path, route("wwan0", 700), route("eth0", 100))[1].value is None
        assert network(tmp_path, route("wwan0", 50), route("eth0", 100))[1].value == 1

    def test_without_a_way_out_nothing_costs(self, tmp_path: Path) -> None:
        interface(tmp_path, "eth0")
        near = route("eth0", to="0002A8C0", mask="00FFFFFF")
        for routes in ((), (near,), (route("eth0", flags="0002"),), (route("eth0", flags="0203"),)):
            assert network(tmp_path, *routes)[1].value == 0

    def test_ipv6_alone_is_a_way_out(self, tmp_path: Path) -> None:
        interface(tmp_path, "wwan0", devtype="wwan")
        zeros = "0" * 32
        six = f"{zeros} 00 {zeros} 00 fe800000000000000000000000000001 00000400 00000001 00000000 00450003 wwan0\n"
        assert network(tmp_path, six=six)[1].value == 1
        assert network(tmp_path, six=six.replace("wwan0", "lo"))[1].value == 0
        assert network(tmp_path, six=six.replace("00450003", "00450203"))[1].value == 0

    def test_a_containers_cable_has_no_hardware(self, tmp_path: Path) -> None:
        interface(tmp_path, "eth0", driver="")
        assert network(tmp_path, route("eth0"))[0].value == 1
        interface(tmp_path, "eth1", state="down")
        assert network(tmp_path, route("eth0"))[0].value == 0, "beside real hardware it may be anything"

    def test_a_hundred_containers_are_not_looked_at(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for number in range(40):
            interface(tmp_path, f"veth{number}", driver="")
        interface(tmp_path, "wlan0", devtype="wlan")
        looked: list[object] = []
        whole = network_module.read_text
        monkeypatch.setattr(network_module, "read_text", lambda path: (looked.append(path), whole(path))[1])
        assert network(tmp_path, route("wlan0"))[0].value == 1
        assert len(looked) < 10

    def test_what_is_refused_is_unknown(self, tmp_path: Path) -> None:
        readings = Readings.of(LinuxNetwork(tmp_path).read(0))
        assert readings.get(Q.WIFI).why_unknown
        assert readings.get(Q.METERED).why_unknown
        interface(tmp_path, "wlan0", devtype="wlan")
        assert "route" in Readings.of(LinuxNetwork(tmp_path).read(0)).get(Q.METERED).why_unknown

    @given(st.text(max_size=200), st.text(max_size=200))
    @settings(deadline=None, max_examples=25)
    def test_any_text_in_place_of_routes(self, four: str, six: str) -> None:
        root = Path(os.environ.get("TMPDIR", "/tmp")) / f"icn-routes-{os.getpid()}"
        interface(root, "eth0")
        (root / "proc/net").mkdir(parents=True, exist_ok=True)
        (root / "proc/net/route").write_bytes(four.encode("utf-8", "surrogatepass"))
        (root / "proc/net/ipv6_route").write_bytes(six.encode("utf-8", "surrogatepass"))
        try:
            assert len(LinuxNetwork(root).read(0)) == 2
        finally:
            shutil.rmtree(root)


class TestTerminals:
    def test_the_one_used_last_counts(self, tmp_path: Path) -> None:
        write(tmp_path, {"dev/pts/0": "", "dev/pts/3": "", "dev/pts/ptmx": "", "dev/tty1": ""})
        for name, touched_s in (("pts/0", 1000), ("pts/3", 4000), ("pts/ptmx", 9000), ("tty1", 500)):
            os.utime(tmp_path / "dev" / name, (touched_s, 0))
        assert Terminals(tmp_path, lambda: 4060.9).read(0)[0].value == 60
        assert Terminals(tmp_path, lambda: 3999.0).read(0)[0].value == 0

    def test_a_clock_that_went_back_makes_it_unknown(self, tmp_path: Path) -> None:
        write(tmp_path, {"dev/pts/0": ""})
        os.utime(tmp_path / "dev/pts/0", (4000, 0))
        assert "jumped" in Terminals(tmp_path, lambda: 1000.0).read(0)[0].why_unknown

    def test_none_is_unknown(self, tmp_path: Path) -> None:
        assert Terminals(tmp_path).read(0)[0].why_unknown


class TestScreen:
    def test_lit_is_used_and_dark_is_idle_since_then(self, tmp_path: Path) -> None:
        screen = Screen(tmp_path)
        assert screen.read(0)[0].why_unknown
        write(tmp_path, {"sys/class/backlight/panel0/brightness": "0\n"})
        idle = [screen.read(now_ms)[0].value for now_ms in (1_000, 61_000)]
        write(tmp_path, {"sys/class/backlight/panel0/brightness": "812\n"})
        idle.append(screen.read(70_000)[0].value)
        write(tmp_path, {"sys/class/backlight/panel0/brightness": "0\n"})
        idle += [screen.read(now_ms)[0].value for now_ms in (80_000, 85_000, 3_000)]
        assert idle == [0, 60, 0, 0, 5, 0]

    def test_older_phones_have_a_led_for_it(self, tmp_path: Path) -> None:
        write(tmp_path, {"sys/class/leds/lcd-backlight/brightness": "3\n", "sys/class/leds/red/brightness": "255\n"})
        assert Screen(tmp_path).read(0)[0].value == 0
        write(tmp_path, {"sys/class/leds/lcd-backlight/brightness": "off\n"})
        assert Screen(tmp_path).read(0)[0].why_unknown


def stat_line(*columns: int) -> str:
    return "cpu  " + " ".join(str(column) for column in columns) + "\ncpu0 1 2 3\nintr 5\n"


def child(root: Path, pid: int, *ticks: int) -> None:
    """A process of that name with these utime, stime, cutime, cstime."""
    middle = "S 1 2 3 4 5 6 7 8 9 10"
    write(root, {f"proc/{pid}/stat": f"{pid} (a) weird (name) {middle} {' '.join(map(str, ticks))} 20 0 1\n"})


class TestForeignLoad:
    """Own times of the process under test are there too; they grow by next to nothing between two lines."""

    def read(self, source: ForeignLoad, now_ms: int = 0) -> Reading:
        return Readings.of(source.read(now_ms)).get(Q.FOREIGN_LOAD_PM)

    def test_it_is_what_is_busy_between_two_looks(self, tmp_path: Path) -> None:
        source = ForeignLoad(tmp_path)
        write(tmp_path, {"proc/stat": stat_line(10_000, 0, 10_000, 80_000, 0, 0, 0, 0)})
        assert "two looks" in self.read(source).why_unknown
        write(tmp_path, {"proc/stat": stat_line(15_000, 1_000, 12_000, 169_000, 2_000, 500, 500, 1_000)})
        busy, total = 5_000 + 1_000 + 2_000 + 500 + 500, 100_000 + 1_000
        assert 1000 * busy // total - 3 <= (self.read(source).value or 0) <= 1000 * busy // total

    def test_the_nodes_own_guests_are_no_strangers(self, tmp_path: Path) -> None:
        source = ForeignLoad(tmp_path, lambda: [7, 8])
        child(tmp_path, 7, 100, 10, 5000, 500)
        write(tmp_path, {"proc/stat": stat_line(10_000, 0, 0, 90_000)})
        self.read(source)
        child(tmp_path, 7, 100, 10, 45_000, 500)
        child(tmp_path, 8, 9_000, 1_000, 0, 0)
        write(tmp_path, {"proc/stat": stat_line(70_000, 0, 0, 130_000)})
        assert 90 <= (self.read(source).value or 0) <= 100, "60,000 busy, 50,000 of them our own, of 100,000"

    def test_too_few_ticks_give_the_last_share_with_its_age(self, tmp_path: Path) -> None:
        source = ForeignLoad(tmp_path)
        for now_ms, busy in ((0, 0), (2_000, 50_000), (2_001, 50_001)):
            write(tmp_path, {"proc/stat": stat_line(busy, 0, 0, 2 * busy)})
            reading = self.read(source, now_ms)
        assert (reading.age_ms, (reading.value or 0) >= 330) == (1, True)

    def test_counters_that_went_back_start_anew(self, tmp_path: Path) -> None:
        source = ForeignLoad(tmp_path)
        for busy in (90_000, 100):
            write(tmp_path, {"proc/stat": stat_line(busy, 0, 0, busy)})
            assert self.read(source).value is None
        write(tmp_path, {"proc/stat": stat_line(50_100, 0, 0, 50_100)})
        assert 490 <= (self.read(source).value or 0) <= 500

    @pytest.mark.parametrize("text", ["", "cpu", "cpu a b c d", "cpu0 1 2 3 4 5", "cpu 1 2 3"])
    def test_anything_else_is_unknown(self, tmp_path: Path, text: str) -> None:
        write(tmp_path, {"proc/stat": text})
        assert self.read(ForeignLoad(tmp_path)).why_unknown

    def test_a_list_that_changes_while_it_is_read_is_read_again(self, tmp_path: Path) -> None:
        calls: list[int] = []

        def pids() -> list[int]:
            calls.append(1)
            if len(calls) % 3:
                raise RuntimeError("Set changed size during iteration")
            return []

        write(tmp_path, {"proc/stat": stat_line(1, 0, 0, 1)})
        self.read(ForeignLoad(tmp_path, pids))
        assert len(calls) == 3

    def test_this_machine(self) -> None:
        source = ForeignLoad(pids=lambda: [os.getpid()])
        assert self.read(source).why_unknown


class TestSystem:
    def test_load_is_a_processors(self, tmp_path: Path) -> None:
        write(tmp_path, {"proc/loadavg": "3.21 1.00 0.50 2/300 99\n", "sys/devices/system/cpu/online": "0,2-3\n"})
        assert Readings.of(System(tmp_path).read(0)).get(Q.LOAD).value == 1070

    @pytest.mark.parametrize("text", ["", "many", "-1", "0x1"])
    def test_what_is_no_number_is_unknown(self, tmp_path: Path, text: str) -> None:
        write(tmp_path, {"proc/loadavg": text, "proc/meminfo": text})
        assert all(reading.why_unknown for reading in Readings.of(System(tmp_path).read(0)).items)

    def test_a_cap_against_heat_is_seen(self, tmp_path: Path) -> None:
        for policy, cap in (("policy0", 1_000_000), ("policy4", 1_500_000)):
            folder = f"sys/devices/system/cpu/cpufreq/{policy}"
            files = {"cpuinfo_max_freq": 2_000_000, "scaling_cur_freq": 600_000, "scaling_max_freq": cap}
            write(tmp_path, {f"{folder}/{name}": str(number) for name, number in files.items()})
        readings = Readings.of(Frequencies(tmp_path).read(0))
        assert (readings.get(Q.CPU_FREQ_PM).value, readings.get(Q.CPU_CAP_PM).value) == (300, 500)
        write(tmp_path, {f"sys/devices/system/cpu/cpufreq/{p}/cpuinfo_max_freq": "0" for p in ("policy0", "policy4")})
        assert Frequencies(tmp_path).read(0) == []

    def test_the_minute_of_the_day(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("TZ", "UTC-2")  # two hours east of Greenwich
        time.tzset()
        try:
            noon_s = EARLIEST_PLAUSIBLE_S + 12 * 3600
            assert LocalTime(lambda: noon_s + 59).read(0)[0].value == 14 * 60
            assert LocalTime(lambda: noon_s - 12 * 3600 - 1).read(0)[0].why_unknown == "the clock was never set"
        finally:
            monkeypatch.undo()
            time.tzset()
