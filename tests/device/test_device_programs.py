"""Sensors that are programs: Termux, NUT, the Pi's firmware, services on the bus, and the owner's own command."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.reading import UNITS, Quantity, Reading, Readings, known
from icn_lite.device.sensors.asked import MAX_BACKOFF_MS, Asked
from icn_lite.device.sensors.bus import Logind, NetworkManager, UPower, parse_idle, parse_metered, parse_upower
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.nut import Nut, parse_ups
from icn_lite.device.sensors.own import QUANTITIES, OwnCommand, parse_own
from icn_lite.device.sensors.raspberry import parse_throttled
from icn_lite.device.sensors.termux import BATTERY_PACE, TermuxBattery, TermuxWifi, parse_status, parse_wifi

FIXTURES = Path(__file__).parent / "fixtures"
PLUGIN = Path(__file__).parents[2] / "tools" / "plugins" / "pijuice.py"
README = Path(__file__).parents[2] / "icn_lite" / "device" / "README.md"
Q = Quantity
MIN_MS = BATTERY_PACE.busy_ms


def value(readings: Readings, quantity: Quantity) -> int | None:
    return readings.get(quantity).value


class FakeCommand:
    """Stands in for `run_command`: gives the answers in turn, an exception by raising it."""

    def __init__(self, *answers: bytes | CommandFailed) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, ...]] = []

    def __call__(self, argv: Sequence[str], deadline_ms: int) -> bytes:
        assert 0 < deadline_ms <= 5_000
        self.asked.append(tuple(argv))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, CommandFailed):
            raise answer
        return answer


def termux(name: str) -> bytes:
    return (FIXTURES / "termux" / f"{name}.json").read_bytes()


def ask_when_due(source: Asked, now_ms: int, *, busy: bool = True, said: Readings | None = None) -> bool:
    """What the hub does at a look; whether the source was asked."""
    due = source.due(now_ms, lambda: said or Readings(), busy=busy)
    if due:
        source.read(now_ms)
    return due


class TestPace:
    def test_it_is_asked_at_its_pace_and_less_often_while_idle(self) -> None:
        battery = TermuxBattery(FakeCommand(termux("charging")))
        busy = [now for now in range(0, 120_000, 1_000) if ask_when_due(battery, now)]
        assert busy == [0, 30_000, 60_000, 90_000]
        idle = [now for now in range(120_000, 300_000, 1_000) if ask_when_due(battery, now, busy=False)]
        assert idle == [150_000, 210_000, 270_000]

    def test_failures_back_off_to_ten_minutes_and_one_success_forgets_them(self) -> None:
        command = FakeCommand(CommandFailed("hung"))
        battery = TermuxBattery(command)
        asked_ms = [now for now in range(0, 3_600_000, 10_000) if ask_when_due(battery, now)]
        gaps = [later - earlier for earlier, later in pairwise(asked_ms)]
        assert gaps[:5] == [30_000, 60_000, 120_000, 240_000, 480_000]
        assert set(gaps[5:]) == {MAX_BACKOFF_MS}
        command.answers = [termux("charging")]
        battery.read(10_000_000)
        assert ask_when_due(battery, 10_000_000 + MIN_MS)

    def test_after_a_failure_the_last_answer_goes_on_ageing(self) -> None:
        battery = TermuxBattery(FakeCommand(termux("charging"), CommandFailed("hung")))
        battery.read(0)
        assert Readings.of(battery.read(200_000)).get(Q.BATTERY_PCT).age_ms == 200_000

    def test_without_any_answer_the_reason_is_the_failure(self) -> None:
        battery = TermuxBattery(FakeCommand(CommandFailed("hung")))
        assert Readings.of(battery.read(0)).get(Q.BATTERY_PCT).why_unknown == "hung"

    def test_a_clock_that_jumps_does_not_silence_it(self) -> None:
        command = FakeCommand(termux("charging"))
        battery = TermuxBattery(command)
        assert ask_when_due(battery, 100_000_000)
        assert ask_when_due(battery, 5), "back"
        assert ask_when_due(battery, 200_000_000), "forth"
        command.answers = [CommandFailed("hung")]
        battery.read(300_000_000)
        assert ask_when_due(battery, 7), "back during a back-off"


class TestTermuxBattery:
    def test_charging(self) -> None:
        readings = Readings.of(parse_status(termux("charging")))
        assert value(readings, Q.BATTERY_PCT) == 76
        assert value(readings, Q.ON_MAINS) == 1
        assert value(readings, Q.BATTERY_TEMP) == 31_200
        assert value(readings, Q.BATTERY_VOLTAGE) == 4_123_000
        assert value(readings, Q.BATTERY_CURRENT) == 412_353

    def test_losing_charge_while_plugged_in_counts_as_battery(self) -> None:
        weak = Readings.of(parse_status(termux("weak_charger")))
        assert (value(weak, Q.ON_MAINS), value(weak, Q.PLUGGED)) == (0, 1)

    def test_a_missing_thermometer_is_not_minus_two_hundred_million_degrees(self) -> None:
        reading = Readings.of(parse_status(termux("no_thermometer"))).get(Q.BATTERY_TEMP)
        assert reading.value is None
        assert "absurd" in reading.why_unknown

    def test_keys_left_out_are_unknown(self) -> None:
        readings = Readings.of(parse_status(termux("keys_left_out")))
        assert value(readings, Q.BATTERY_PCT) == 50
        assert readings.get(Q.ON_MAINS).why_unknown == "status None, plugged None"
        assert readings.get(Q.BATTERY_TEMP).why_unknown

    def test_a_plug_that_android_does_not_know_is_unknown(self) -> None:
        assert Readings.of(parse_status(b'{"plugged": "PLUGGED_-1"}')).get(Q.PLUGGED).why_unknown

    @pytest.mark.parametrize(
        "answer",
        [b"", b"no json", b"[1]", b"12", b"null", b"\xff\xfe", b"[" * 60_000, b'{"percentage": 3',
         b'{"API_ERROR": "no permission"}'],
    )  # fmt: skip
    def test_what_is_no_answer_is_a_failure(self, answer: bytes) -> None:
        with pytest.raises(CommandFailed, match=r"expected|no permission"):
            parse_status(answer)

    @pytest.mark.parametrize("pct", [b"-1", b"101", b'"76"', b"null", b"true", b"NaN", b"Infinity", b"1e400", b"{}"])
    def test_an_absurd_percentage_is_unknown(self, pct: bytes) -> None:
        reading = Readings.of(parse_status(b'{"percentage": %s, "temperature": %s}' % (pct, pct))).get(Q.BATTERY_PCT)
        assert reading.value is None

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
            lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=9), inner, max_size=3),
        ).flatmap(lambda x: st.dictionaries(st.sampled_from(("percentage", "status", "plugged", "temperature",
                                                              "voltage", "current", "present")), st.just(x)))
    )  # fmt: skip
    @settings(deadline=None, max_examples=80)
    def test_any_json_object_gives_readings(self, status: dict[str, object]) -> None:
        for reading in Readings.of(parse_status(json.dumps(status).encode())).items:
            assert (reading.value is None) == bool(reading.why_unknown)


class TestTermuxWifi:
    def test_connected(self) -> None:
        readings = Readings.of(TermuxWifi(FakeCommand(wifi())).read(0))
        assert value(readings, Q.WIFI) == 1
        assert readings.get(Q.METERED).why_unknown

    @pytest.mark.parametrize("ip", ["192.168.43.17", "172.20.10.3"])
    def test_another_phones_hotspot_is_metered(self, ip: str) -> None:
        assert value(Readings.of(parse_wifi(wifi(ip=ip))), Q.METERED) == 1

    @pytest.mark.parametrize("ip", ["fe80::1", "172.20.10.16", "nonsense", 7, None])
    def test_other_addresses_say_nothing(self, ip: object) -> None:
        assert Readings.of(parse_wifi(wifi(ip=ip))).get(Q.METERED).why_unknown

    @pytest.mark.parametrize("state", ["DISCONNECTED", "SCANNING", "INTERFACE_DISABLED"])
    def test_without_wifi_there_is_mobile_data_at_most(self, state: str) -> None:
        readings = Readings.of(parse_wifi(wifi(supplicant_state=state)))
        assert (value(readings, Q.WIFI), value(readings, Q.METERED)) == (0, 1)

    @pytest.mark.parametrize("answer", [b'{"API_ERROR": "No current connection"}', b"{}", b"[]", b""])
    def test_no_state_is_no_answer(self, answer: bytes) -> None:
        readings = Readings.of(TermuxWifi(FakeCommand(answer)).read(0))
        assert readings.get(Q.WIFI).why_unknown


def wifi(**changes: object) -> bytes:
    told = json.loads((FIXTURES / "phone-termux/commands/termux-wifi-connectioninfo").read_text())
    return json.dumps(told | changes).encode()


class TestNut:
    def test_the_name_is_asked_for_once(self) -> None:
        status = (FIXTURES / "nas-with-ups/commands/upsc_backups").read_bytes()
        command = FakeCommand(b"backups\nother\n", status, status)
        ups = Nut(command)
        assert value(Readings.of(ups.read(0)), Q.BATTERY_VOLTAGE) == 13_600_000
        ups.read(10_000)
        assert command.asked == [("upsc", "-l"), ("upsc", "backups"), ("upsc", "backups")]

    def test_after_a_failure_it_is_asked_for_again(self) -> None:
        command = FakeCommand(b"old\n", CommandFailed("upsc ended with 1"), b"new\n", b"ups.status: OB\n")
        ups = Nut(command)
        assert Readings.of(ups.read(0)).get(Q.BATTERY_PRESENT).why_unknown == "upsc ended with 1"
        assert value(Readings.of(ups.read(1)), Q.ON_MAINS) == 0

    def test_a_reported_pijuice_has_no_minus_two_hundred_degrees(self) -> None:
        readings = Readings.of(parse_ups((FIXTURES / "nut/pijuice.txt").read_bytes()))
        assert readings.get(Q.BATTERY_TEMP).why_unknown == "-213000 m°C is absurd"
        assert (value(readings, Q.BATTERY_PCT), value(readings, Q.ON_MAINS)) == (22, 1)

    @pytest.mark.parametrize(
        ("status", "mains", "plugged"),
        [("OL", 1, 1), ("OL CHRG", 1, 1), ("OB DISCHRG LB", 0, 0), ("OL DISCHRG", 0, 1), ("OFF", None, None)],
    )
    def test_flags(self, status: str, mains: int | None, plugged: int | None) -> None:
        readings = Readings.of(parse_ups(f"ups.status: {status}\n".encode()))
        assert (value(readings, Q.ON_MAINS), value(readings, Q.PLUGGED)) == (mains, plugged)

    @pytest.mark.parametrize("charge", ["", "many", "1e9", "nan", "-5", "9" * 40])
    def test_an_absurd_charge_is_unknown(self, charge: str) -> None:
        readings = Readings.of(parse_ups(f"ups.status: OL\nbattery.charge: {charge}\n".encode()))
        assert readings.get(Q.BATTERY_PCT).why_unknown

    @pytest.mark.parametrize("names", [b"", b"-h\n", b"a@elsewhere\n", b"../x\n"])
    def test_no_name_is_no_ups(self, names: bytes) -> None:
        assert "names no UPS" in Readings.of(Nut(FakeCommand(names)).read(0)).get(Q.BATTERY_PRESENT).why_unknown

    @given(st.binary(max_size=200))
    @settings(deadline=None, max_examples=100)
    def test_any_output_gives_readings_or_a_failure(self, output: bytes) -> None:
        for data in (output, b"ups.status: OL\nbattery.voltage: " + output):
            try:
                Readings.of(parse_ups(data))
            except CommandFailed:
                assert data == output


class TestFirmware:
    @pytest.mark.parametrize(
        ("bits", "throttled", "undervoltage"),
        [("0x0", 0, 0), ("0x50000", 0, 0), ("0x50005", 1, 1), ("0x80008", 1, 0), ("0xf0002", 1, 0), ("0x1", 0, 1)],
    )
    def test_only_the_bits_for_now(self, bits: str, throttled: int, undervoltage: int) -> None:
        readings = Readings.of(parse_throttled(f"throttled={bits}\n".encode()))
        assert (value(readings, Q.THROTTLED), value(readings, Q.UNDERVOLTAGE)) == (throttled, undervoltage)

    @pytest.mark.parametrize("output", [b"", b"throttled=", b"VCHI initialization failed", b"throttled=0x1ffffffff"])
    def test_anything_else_is_a_failure(self, output: bytes) -> None:
        with pytest.raises(CommandFailed, match="expected throttled"):
            parse_throttled(output)


def properties(**values: object) -> bytes:
    table = {name: {"type": "v", "data": value} for name, value in values.items()}
    return json.dumps({"type": "a{sv}", "data": [table]}).encode()


class TestBus:
    def test_upower_stands_in_for_a_battery_that_the_kernel_does_not_see(self) -> None:
        ups = properties(Type=3, IsPresent=True, State=2, Percentage=80.0, EnergyRate=12.5, Energy=40.0, TimeToEmpty=9)
        source, kernel = UPower(FakeCommand(ups)), Readings.of([known(Q.BATTERY_PRESENT, 0, "power_supply")])
        assert ask_when_due(source, 0, said=kernel)
        readings = Readings.of([*kernel.items, *source.read(0)])
        found = {r.quantity.value: r.value for r in readings.items}
        assert found == {
            "battery_present": 1, "battery_pct": 80, "on_mains": 0, "plugged": 0, "battery_power": 12_500,
            "battery_energy": 144_000_000, "battery_to_empty": 9,
        }  # fmt: skip
        assert ask_when_due(source, 50_000, said=readings), "its own word is no reason to fall silent"

    def test_upower_is_not_asked_where_files_know(self) -> None:
        source = UPower(FakeCommand(b"never"))
        assert not ask_when_due(source, 0, said=Readings.of([known(Q.BATTERY_PRESENT, 1, "power_supply")]))

    def test_without_a_battery_upower_says_so(self) -> None:
        readings = Readings.of(parse_upower(properties(Type=0, IsPresent=False, Percentage=0.0, State=0)))
        assert [(r.quantity, r.value) for r in readings.items] == [(Q.BATTERY_PRESENT, 0)]

    def test_what_upower_does_not_know_is_unknown(self) -> None:
        readings = Readings.of(parse_upower(properties(Type=2, IsPresent=True, State=0, Percentage=float("inf"))))
        assert value(readings, Q.BATTERY_PRESENT) == 1
        assert all(readings.get(q).why_unknown for q in (Q.BATTERY_PCT, Q.ON_MAINS, Q.PLUGGED))

    def test_where_upower_knows_no_battery_it_is_left_alone(self) -> None:
        command = FakeCommand(properties(Type=0, IsPresent=False))
        source, kernel = UPower(command), Readings.of([known(Q.BATTERY_PRESENT, 0, "power_supply")])
        asked = [now for now in range(0, 2_000_000, 20_000) if ask_when_due(source, now, busy=False, said=kernel)]
        assert asked == [0, 900_000, 1_800_000]
        assert ask_when_due(source, 5, busy=False, said=kernel), "a clock that went back"

    def test_networkmanager_is_asked_again_when_the_routes_have_changed(self, tmp_path: Path) -> None:
        routes = tmp_path / "proc/net/route"
        routes.parent.mkdir(parents=True)
        routes.write_text("wlan0\n")
        command = FakeCommand(b'{"type":"u","data":4}')
        source = NetworkManager(command, tmp_path)
        for now_ms in range(0, 900_000, 100_000):
            assert Readings.of(source.read(now_ms)).get(Q.METERED) == known(Q.METERED, 0, "NetworkManager")
        assert len(command.asked) == 1
        source.read(900_000)
        assert len(command.asked) == 2, "somebody may have changed a setting"
        routes.write_text("wwan0\n")
        command.answers = [b'{"type":"u","data":1}']
        assert Readings.of(source.read(900_001)).get(Q.METERED).value == 1
        routes.unlink()
        command.answers = [b'{"type":"u","data":2}']
        assert Readings.of(source.read(900_002)).get(Q.METERED).value == 0, "without routes to compare it is asked"

    @pytest.mark.parametrize(("number", "metered"), [(0, None), (1, 1), (2, 0), (3, 1), (4, 0), (5, None)])
    def test_metered(self, number: int, metered: int | None) -> None:
        assert parse_metered(b'{"type":"u","data":%d}' % number).value == metered

    def test_logind_says_since_when(self, tmp_path: Path) -> None:
        sessions = tmp_path / "run/systemd/sessions"
        sessions.mkdir(parents=True)
        answer = b'{"type":"b","data":true}\n{"type":"t","data":100000000}\n'
        assert Readings.of(Logind(FakeCommand(answer), tmp_path).read(0)).get(Q.USER_IDLE_S).why_unknown
        (sessions / "7").write_text("UID=1000\nTYPE=tty\n")
        assert "desktop" in Logind(FakeCommand(answer), tmp_path).read(0)[0].why_unknown
        (sessions / "8").write_text("UID=1000\nTYPE=wayland\n")
        assert Logind(FakeCommand(answer), tmp_path).read(160_000)[0].value == 60
        assert parse_idle(answer.replace(b"true", b"false"), 160_000).value == 0
        assert Readings.of([parse_idle(answer, 50_000)]).get(Q.USER_IDLE_S).why_unknown == "-50 s is absurd"

    @pytest.mark.parametrize(
        "output",
        [b"", b"[]", b"{}", b'{"data": 3}', b"\xff", b'{"data":true}', b'{"data":"x"}\n{"data":"y"}', b"[" * 9999],
    )
    def test_strange_answers_are_failures_or_unknown(self, output: bytes) -> None:
        for parse in (parse_upower, lambda data: parse_idle(data, 0)):
            with pytest.raises(CommandFailed, match="expected"):
                parse(output)
        metered = Readings.of(NetworkManager(FakeCommand(output)).read(0)).get(Q.METERED)
        assert metered.why_unknown or output == b'{"data": 3}'


class TestOwnCommand:
    def test_numbers_truths_and_reasons(self) -> None:
        answer = {"battery_pct": 76, "on_mains": True, "battery_temp": "no sensor", "metered": 0}
        readings = Readings.of(parse_own(json.dumps(answer).encode(), "mine"))
        assert (value(readings, Q.BATTERY_PCT), value(readings, Q.ON_MAINS), value(readings, Q.METERED)) == (76, 1, 0)
        assert readings.get(Q.BATTERY_TEMP).why_unknown == "no sensor"

    @pytest.mark.parametrize(
        ("answer", "reason"),
        [
            (b"", "expected JSON"),
            (b"battery: 76 %", "expected JSON"),
            (b"[76]", "expected a JSON object"),
            (b"{}", "at least one quantity"),
            (b'{"battery": 76}', "unknown quantity 'battery'"),
            (b'{"guests": 76}', "unknown quantity 'guests'"),
            (b'{"battery_pct": 76.5}', r"battery_pct: expected an integer \(%\) or a text, found 76.5"),
            (b'{"battery_pct": true}', "battery_pct: expected an integer"),
            (b'{"battery_pct": null}', "battery_pct: expected an integer"),
            (b'{"battery_pct": ""}', "battery_pct: expected an integer"),
        ],
    )
    def test_anything_else_is_a_failure(self, answer: bytes, reason: str) -> None:
        with pytest.raises(CommandFailed, match=reason):
            parse_own(answer, "mine")

    def test_the_readme_lists_them_with_their_units(self) -> None:
        text = README.read_text()
        begin, end = text.index("<!-- quantities -->"), text.index("<!-- end of quantities -->")
        rows = [[cell.strip(" `") for cell in line.split("|")] for line in text[begin:end].splitlines()[3:]]
        assert [(row[1], row[2]) for row in rows] == [(name, UNITS[q]) for name, q in QUANTITIES.items()]

    def test_absurd_values_are_unknown(self) -> None:
        readings = Readings.of(parse_own(b'{"battery_pct": 760, "soc_temp": 52}', "mine"))
        assert readings.get(Q.BATTERY_PCT).why_unknown == "760 % is absurd"

    def test_every_quantity_but_the_nodes_own_can_be_given(self) -> None:
        assert set(QUANTITIES.values()) == set(Q) - {Q.GUESTS, Q.WORK_PM, Q.WORK_LEFT, Q.LOCAL_MINUTE}
        assert all(name.isidentifier() for name in QUANTITIES)

    @pytest.mark.parametrize(
        ("body", "reason"),
        [
            ("import sys; sys.stdout.write('x' * 10_000_000)", "printed more than"),
            ("import signal; signal.pause()", "gave no answer in time"),
            ("print('not json')", "expected JSON"),
            ("raise SystemExit(3)", "ended with 3"),
        ],
    )
    def test_real_commands_that_misbehave(self, body: str, reason: str) -> None:
        def run(argv: Sequence[str], deadline_ms: int) -> bytes:
            return run_command(argv, 700 if "pause" in body else 30_000)

        own = OwnCommand((sys.executable, "-I", "-S", "-c", body), run)
        assert own.read(0) == []
        with pytest.raises(CommandFailed, match=reason):
            own._ask(0)

    def test_the_pijuice_example(self, tmp_path: Path) -> None:
        (tmp_path / "pijuice.py").write_text(PIJUICE)
        environment = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); sys.dont_write_bytecode = True\n"
        output = run_command([sys.executable, "-c", environment + PLUGIN.read_text()], 30_000)
        readings = Readings.of(parse_own(output, "mine"))
        found: dict[str, Reading] = {reading.quantity.value: reading for reading in readings.items}
        assert {name: reading.value for name, reading in found.items() if reading.value is not None} == {
            "battery_present": 1, "battery_pct": 76, "on_mains": 0, "plugged": 1, "battery_voltage": 3_911_000,
            "battery_current": -412_000,
        }  # fmt: skip
        assert found["battery_temp"].why_unknown == "COMMUNICATION_ERROR"
        assert all(UNITS[reading.quantity] for reading in readings.items)


# The vendor's module, as far as the example uses it: every getter gives its data, or an error.
PIJUICE = """
class _Status:
    def GetStatus(self):
        return {"error": "NO_ERROR", "data": {"battery": "NORMAL", "powerInput": "WEAK",
                                              "powerInput5vIo": "NOT_PRESENT"}}

    def GetChargeLevel(self):
        return {"error": "NO_ERROR", "data": 76}

    def GetBatteryVoltage(self):
        return {"error": "NO_ERROR", "data": 3911}

    def GetBatteryCurrent(self):
        return {"error": "NO_ERROR", "data": -412}

    def GetBatteryTemperature(self):
        return {"error": "COMMUNICATION_ERROR"}


class PiJuice:
    def __init__(self, bus, address):
        assert (bus, address) == (1, 0x14)
        self.status = _Status()
"""
