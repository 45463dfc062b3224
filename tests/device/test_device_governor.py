"""The governor: each rule by example, and what must hold for every history of readings."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.catalogue import list_profiles, load_profile
from icn_lite.device.governor import (
    MAX_BATTERY_AGE_MS,
    MAX_TEMP_AGE_MS,
    SOON_MS,
    Allowance,
    GovernorState,
    Level,
    step,
)
from icn_lite.device.profile import ActivityPolicy, HoursPolicy, Metered, NetworkPolicy, Profile
from icn_lite.device.reading import Quantity, Reading, Readings, known, unknown
from icn_lite.device.regulator import DUTY_STEP_PM
from icn_lite.device.sensors.hub import read_sources
from icn_lite.device.sensors.rows import default_sources

FIXTURES = Path(__file__).parent / "fixtures"
PI = load_profile("pi-4")
PHONE = load_profile("termux-phone")
LAPTOP = load_profile("x86-laptop")
SERVER = load_profile("server")
STRICTNESS = list(Level)


def sensed(
    soc_c: int | None = 40,
    *,
    present: int | None = 0,
    pct: int | None = None,
    mains: int | None = None,
    plugged: int | None = None,
    battery_c: int | None = None,
    current_ua: int | None = None,
    guests_pm: int = 0,
    left_ms: int | None = 0,
    **others: int | None,
) -> Readings:
    """Readings in whole units; None is unknown."""

    def one(quantity: Quantity, value: int | None, scale: int = 1) -> Reading:
        if value is None:
            return unknown(quantity, "test", "the sensor is silent")
        return known(quantity, value * scale, "test")

    return Readings(
        (
            one(Quantity.SOC_TEMP, soc_c, 1000),
            one(Quantity.BATTERY_PRESENT, present),
            one(Quantity.BATTERY_PCT, pct),
            one(Quantity.ON_MAINS, mains),
            one(Quantity.PLUGGED, plugged),
            one(Quantity.BATTERY_CURRENT, current_ua),
            known(Quantity.GUESTS, guests_pm, "test"),
            one(Quantity.BATTERY_TEMP, battery_c, 1000),
            one(Quantity.WORK_LEFT, left_ms),
            one(Quantity.WIFI, 1),
            *(one(Quantity[name.upper()], value) for name, value in others.items()),
        )
    )


def phone(soc_c: int | None = 40, pct: int | None = 96, mains: int | None = 1, battery_c: int | None = 30) -> Readings:
    """A phone that is charged, plugged in and cool, unless said otherwise."""
    return sensed(soc_c, present=1, pct=pct, mains=mains, battery_c=battery_c)


@dataclass
class Device:
    """A profile with its state; every step is `gap_s` after the one before."""

    profile: Profile
    state: GovernorState = field(default_factory=GovernorState)
    now_ms: int = 1_000_000

    def feel(self, readings: Readings, gap_s: int = 3600) -> Allowance:
        self.now_ms += gap_s * 1000
        self.state, allowance = step(self.profile, self.state, readings, self.now_ms)
        return allowance


class TestHeat:
    def test_cool_runs(self) -> None:
        assert Device(PI).feel(sensed(40)) == Allowance(Level.RUN, 1000)

    def test_slow_before_suspend(self) -> None:
        pi = Device(PI)
        assert pi.feel(sensed(66)).level is Level.RUN
        warm = pi.feel(sensed(68))
        assert warm.level is Level.SLOW
        assert 0 < warm.duty_pm < 200
        assert warm.reasons == ("processor at 68 °C: held under 70 °C, full speed again at 64 °C",)
        over = pi.feel(sensed(71))
        assert (over.level, over.duty_pm) == (Level.SLOW, 0)
        hot = pi.feel(sensed(79))
        assert (hot.level, hot.duty_pm) == (Level.SUSPEND, 0)
        assert hot.reasons == ("processor at 79 °C: limit 79 °C, resumes at 72 °C",)
        assert pi.feel(sensed(73)).level is Level.SUSPEND
        assert pi.feel(sensed(72)).level is Level.SLOW
        assert pi.feel(sensed(65)).level is Level.SLOW
        assert pi.feel(sensed(64)).level is Level.RUN

    def test_duty_comes_in_steps_and_never_grows_with_the_temperature(self) -> None:
        duties = [Device(PI).feel(sensed(soc_c)).duty_pm for soc_c in range(60, 79)]
        assert duties == sorted(duties, reverse=True)
        assert all(duty % DUTY_STEP_PM == 0 for duty in duties)

    def test_a_limit_that_was_held_is_held_on_when_the_sensor_falls_silent(self) -> None:
        pi = Device(PI)
        held = [pi.feel(sensed(69), gap_s=2).duty_pm for _ in range(10)][-1]
        silent = pi.feel(sensed(None), gap_s=2)
        assert (silent.level, silent.duty_pm) == (Level.SLOW, min(held, PI.thermal.unknown_duty_pm))

    def test_an_unknown_temperature_is_not_a_cool_one(self) -> None:
        allowance = Device(PI).feel(sensed(None))
        assert (allowance.level, allowance.duty_pm) == (Level.SLOW, PI.thermal.unknown_duty_pm)
        assert allowance.reasons == ("processor temperature unknown (the sensor is silent)",)
        assert Device(SERVER).feel(sensed(None)) == Allowance(Level.RUN, 1000)

    def test_a_profile_may_forbid_work_without_a_thermometer(self) -> None:
        strict = replace(PI, thermal=replace(PI.thermal, unknown_duty_pm=0))
        assert Device(strict).feel(sensed(None)).level is Level.SUSPEND

    def test_a_sensor_that_falls_silent_while_hot_keeps_it_suspended(self) -> None:
        pi = Device(PI)
        pi.feel(sensed(80))
        silent = pi.feel(sensed(None))
        assert silent.level is Level.SUSPEND
        assert "too hot when last seen" in silent.reasons[0]
        assert pi.feel(sensed(50)).level is Level.RUN

    def test_an_old_temperature_is_unknown(self) -> None:
        assert Device(PI).feel(sensed(40).aged(MAX_TEMP_AGE_MS)).level is Level.RUN
        stale = Device(PI).feel(sensed(40).aged(MAX_TEMP_AGE_MS + 1))
        assert stale.level is Level.SLOW
        assert "30 s old" in stale.reasons[0]


class TestBattery:
    def test_a_charging_phone_runs(self) -> None:
        assert Device(PHONE).feel(phone()) == Allowance(Level.RUN, 1000)

    def test_unplugging_drains_at_once(self) -> None:
        device = Device(PHONE)
        device.feel(phone())
        unplugged = device.feel(phone(mains=0), gap_s=0)
        assert (unplugged.level, unplugged.may_bid, unplugged.may_run) == (Level.DRAIN, False, True)
        assert unplugged.reasons == ("on battery; it works only while charging",)

    def test_unplugged_is_no_reason_where_the_owner_allows_it(self) -> None:
        generous = replace(PHONE, battery=replace(PHONE.battery, only_when_charging=False))
        assert Device(generous).feel(phone(mains=0)).level is Level.RUN

    def test_nobody_knows_whether_it_charges(self) -> None:
        assert "nobody knows" in Device(PHONE).feel(phone(mains=None)).reasons[0]
        assert Device(PHONE).feel(phone(mains=None)).level is Level.DRAIN

    def test_floor_and_resume(self) -> None:
        device = Device(replace(PHONE, battery=replace(PHONE.battery, charged_pct=20)))
        assert device.feel(phone(pct=51)).level is Level.RUN
        low = device.feel(phone(pct=50))
        assert low.level is Level.SUSPEND
        assert low.reasons == ("battery at 50 %: floor 50 %, resumes at 55 %",)
        assert device.feel(phone(pct=54)).level is Level.SUSPEND
        assert device.feel(phone(pct=55)).level is Level.RUN

    def test_a_charge_that_nobody_can_measure_comes_first(self) -> None:
        device = Device(PHONE)
        waiting = device.feel(phone(pct=94))
        assert waiting.level is Level.DRAIN
        assert waiting.reasons == ("charges first: at 94 % of 95 %, and nobody can read its current at once",)
        assert device.feel(phone(pct=95)).level is Level.RUN
        assert device.feel(phone(pct=90)).level is Level.RUN
        assert device.feel(phone(pct=89)).level is Level.DRAIN

    @pytest.mark.parametrize(("loaded_ma", "duty_pm"), [(1_000, 990), (975, 990), (900, 260), (500, 50), (-200, 20)])
    def test_guests_take_a_small_part_of_a_charge(self, loaded_ma: int, duty_pm: int) -> None:
        """1 A at rest; a probe of ten seconds with guests and ten without tells what they take."""
        device, allowance = Device(PHONE), Allowance(Level.RUN, 1000)
        for _ in range(15):
            guests_pm = allowance.duty_pm
            current_ma = loaded_ma if guests_pm > 500 else 1_000
            readings = sensed(
                present=1,
                pct=80,
                mains=int(current_ma >= 0),
                plugged=1,
                battery_c=30,
                current_ua=abs(current_ma) * 1_000,
                guests_pm=guests_pm,
            )
            allowance = device.feel(readings, gap_s=2)
        assert allowance.level is Level.SLOW
        assert allowance.duty_pm == pytest.approx(duty_pm, abs=10)
        assert allowance.reasons == ("charging, at 80 % of 95 %: guests take at most 30 ‰ of it",)

    def test_a_current_from_a_cache_is_none(self) -> None:
        charging = sensed(present=1, pct=80, mains=1, plugged=1, battery_c=30, current_ua=1_000_000)
        assert Device(PHONE).feel(charging).level is Level.SLOW
        assert Device(PHONE).feel(charging.aged(3_001)).level is Level.DRAIN

    def test_a_charger_that_cannot_keep_up_without_guests_is_none(self) -> None:
        device = Device(PHONE)
        losing = sensed(present=1, pct=80, mains=0, plugged=1, battery_c=30, current_ua=50_000)
        levels = {device.feel(losing, gap_s=2).level for _ in range(15)}
        assert device.feel(losing, gap_s=2).reasons[-1] == "the charger cannot keep up; it works only while charging"
        assert levels == {Level.SLOW, Level.DRAIN}

    def test_an_expected_battery_that_cannot_be_read_drains(self) -> None:
        allowance = Device(PHONE).feel(sensed(present=None))
        assert allowance.level is Level.DRAIN
        assert "battery charge unknown (the sensor is silent)" in allowance.reasons

    def test_a_phone_whose_battery_nobody_sees_still_has_one(self) -> None:
        assert Device(PHONE).feel(sensed(present=0, mains=1)).level is Level.DRAIN

    def test_a_charge_that_was_low_and_is_unknown_stays_low(self) -> None:
        device = Device(PHONE)
        device.feel(phone(pct=20))
        assert device.feel(phone(pct=None)).level is Level.SUSPEND

    def test_old_charge_is_unknown(self) -> None:
        now = [phone().get(quantity) for quantity in (Quantity.SOC_TEMP, Quantity.WORK_LEFT)]
        old = Readings((*now, *phone().aged(MAX_BATTERY_AGE_MS + 1).items))
        assert Device(PHONE).feel(old).level is Level.DRAIN

    def test_a_hot_battery_suspends_until_it_is_cool(self) -> None:
        device = Device(PHONE)
        assert device.feel(phone(battery_c=40)).level is Level.SUSPEND
        assert device.feel(phone(battery_c=38)).level is Level.SUSPEND
        assert Device(PHONE).feel(phone(battery_c=39)).level is Level.SLOW
        assert "too hot when last seen" in device.feel(phone(battery_c=None)).reasons[0]
        assert device.feel(phone(battery_c=37)).level is Level.RUN

    def test_a_laptop_may_have_none(self) -> None:
        assert Device(LAPTOP).feel(sensed(present=0)).level is Level.RUN
        assert Device(LAPTOP).feel(sensed(present=None)).level is Level.DRAIN
        assert Device(LAPTOP).feel(sensed(present=1)).level is Level.DRAIN

    def test_a_board_that_expects_none_heeds_one_that_is_seen(self) -> None:
        assert Device(PI).feel(sensed(present=None)).level is Level.RUN
        assert Device(PI).feel(sensed(present=1, pct=90, mains=0)).level is Level.DRAIN
        assert Device(PI).feel(sensed(present=1, pct=10, mains=1)).level is Level.SUSPEND


class TestDwell:
    def test_a_stricter_allowance_lasts_a_while_and_says_so(self) -> None:
        device = Device(PHONE)
        device.feel(phone(mains=0))
        back = device.feel(phone(), gap_s=20)
        assert back.level is Level.DRAIN
        assert back.reasons == ("settling for 40 s more after: on battery; it works only while charging",)
        assert device.feel(phone(), gap_s=39).reasons[0].startswith("settling for 1 s more after: on battery")
        assert device.feel(phone(), gap_s=1) == Allowance(Level.RUN, 1000)

    def test_strictness_never_waits(self) -> None:
        device = Device(PHONE)
        for readings, level in (
            (phone(), Level.RUN),
            (phone(soc_c=59), Level.SLOW),
            (phone(soc_c=59, mains=0), Level.DRAIN),
            (phone(soc_c=75, mains=0), Level.SUSPEND),
        ):
            assert device.feel(readings, gap_s=0).level is level

    def test_a_warm_phone_on_battery_drains_slowly(self) -> None:
        allowance = Device(PHONE).feel(phone(soc_c=58, mains=0))
        assert allowance.level is Level.DRAIN
        assert 0 < allowance.duty_pm < 200
        assert len(allowance.reasons) == 2

    @pytest.mark.parametrize("jump_s", [-10_000_000, 10_000_000])
    def test_a_clock_that_jumps_costs_one_dwell_at_most(self, jump_s: int) -> None:
        device = Device(PHONE)
        device.feel(phone(mains=0))
        device.feel(phone(), gap_s=jump_s)
        assert device.feel(phone(), gap_s=PHONE.thermal.dwell_s).level is Level.RUN


class TestUnplugging:
    """What runs may end if that is soon; else it stands still at once."""

    @pytest.mark.parametrize(
        ("left_ms", "level", "words"),
        [
            (0, Level.DRAIN, "it works only while charging"),
            (SOON_MS, Level.DRAIN, "30 s more, and may end"),
            (SOON_MS + 1, Level.SUSPEND, "31 s more, of at most 30 s: stopped where it stands"),
            (None, Level.SUSPEND, "nobody knows when the running shard ends"),
        ],
    )
    def test_a_shard_ends_before_the_limit_or_stops(self, left_ms: int | None, level: Level, words: str) -> None:
        device = Device(PHONE)
        assert device.feel(sensed(present=1, pct=96, mains=1, left_ms=left_ms)).level is Level.RUN
        pulled = device.feel(sensed(present=1, pct=96, mains=0, plugged=0, left_ms=left_ms), gap_s=0)
        assert pulled.level is level
        assert words in pulled.reasons[-1]

    def test_a_shard_that_takes_longer_than_was_thought_is_stopped(self) -> None:
        device = Device(PHONE)
        levels = [
            device.feel(sensed(present=1, pct=96, mains=0, plugged=0, left_ms=20_000), gap_s=gap_s).level
            for gap_s in (0, 10, 1, 3600)
        ]
        assert levels == [Level.DRAIN, Level.DRAIN, Level.SUSPEND, Level.SUSPEND]

    def test_a_clock_that_goes_back_gives_no_more_time_than_once(self) -> None:
        device = Device(PHONE)
        for gap_s in (0, 9, -1_000, 9):
            assert device.feel(sensed(present=1, pct=96, mains=0, left_ms=20_000), gap_s=gap_s).level is Level.DRAIN
        assert device.feel(sensed(present=1, pct=96, mains=0, left_ms=20_000), gap_s=2).level is Level.SUSPEND

    def test_where_nothing_costs_the_battery_a_shard_takes_its_time(self) -> None:
        metered = sensed(present=1, pct=96, mains=1, left_ms=600_000, metered=1)
        allowance = Device(PHONE).feel(metered)
        assert (allowance.level, allowance.may_bid, allowance.may_begin) == (Level.RUN, False, True)

    @pytest.mark.parametrize("unsure", [{"mains": None}, {"pct": None}])
    def test_what_nobody_knows_counts_as_the_battery(self, unsure: dict[str, None]) -> None:
        told = {"pct": 96, "mains": 1, **unsure}
        assert Device(PHONE).feel(sensed(present=1, left_ms=600_000, **told)).level is Level.SUSPEND


class TestWeakCharger:
    def charged(self, *, gives: bool, guests_pm: int, current_ua: int | None = None) -> Readings:
        return sensed(
            present=1,
            pct=98,
            mains=int(not gives),
            plugged=1,
            battery_c=30,
            guests_pm=guests_pm,
            current_ua=current_ua,
        )

    def test_guests_get_what_the_charger_can_carry(self) -> None:
        """It carries six tenths of the work; a full battery would hide that until it is not full any more."""
        device, duties = Device(PHONE), [1000]
        for _ in range(400):
            readings = self.charged(gives=duties[-1] > 600, guests_pm=duties[-1])
            allowance = device.feel(readings, gap_s=2)
            assert allowance.may_bid
            duties.append(allowance.duty_pm)
        late = duties[100:]
        assert min(late) >= 500
        assert max(late) <= 620
        assert sum(late) / len(late) > 540
        assert "the charger carries guests for" in allowance.reasons[0]

    def test_one_that_cannot_carry_the_device_alone_counts_as_battery(self) -> None:
        device = Device(PHONE)
        allowance = device.feel(self.charged(gives=True, guests_pm=0), gap_s=2)
        assert allowance.level is Level.DRAIN
        assert allowance.reasons[-1] == "the charger cannot keep up; it works only while charging"

    def test_unplugging_forgets_it(self) -> None:
        device = Device(PHONE)
        for _ in range(30):
            device.feel(self.charged(gives=True, guests_pm=1000), gap_s=2)
        device.feel(phone(mains=0), gap_s=2)
        assert device.feel(phone(), gap_s=3600) == Allowance(Level.RUN, 1000)


class TestManners:
    NIGHT = replace(PI, hours=HoursPolicy(quiet=((22 * 60, 7 * 60), (12 * 60, 13 * 60))))
    LENT = replace(PI, activity=ActivityPolicy(idle_s=60, busy_pm=500, busy_resume_pm=300, duty_pm=250))

    @pytest.mark.parametrize(
        ("minute", "level"),
        [(21 * 60 + 59, Level.RUN), (22 * 60, Level.SUSPEND), (0, Level.SUSPEND), (7 * 60, Level.RUN)],
    )
    def test_quiet_hours(self, minute: int, level: Level) -> None:
        allowance = Device(self.NIGHT).feel(sensed(local_minute=minute))
        assert allowance.level is level
        if level is Level.SUSPEND:
            assert allowance.reasons[0].endswith("they end at 07:00")

    def test_without_the_time_a_device_with_quiet_hours_is_quiet(self) -> None:
        allowance = Device(self.NIGHT).feel(sensed(local_minute=None))
        assert (allowance.level, "the time is unknown" in allowance.reasons[0]) == (Level.SUSPEND, True)
        assert Device(PI).feel(sensed(local_minute=None)).level is Level.RUN

    def test_a_day_that_is_all_quiet(self) -> None:
        never = replace(PI, hours=HoursPolicy(quiet=((0, 720), (720, 0))))
        assert Device(never).feel(sensed(local_minute=800)).level is Level.SUSPEND

    @pytest.mark.parametrize(
        ("metered", "reading", "bids"),
        [
            ("allow", 1, True),
            ("avoid", 1, False),
            ("avoid", 0, True),
            ("avoid", None, True),
            ("never", 0, True),
            ("never", None, False),
            ("never", 1, False),
        ],
    )
    def test_metered_networks(self, metered: Metered, reading: int | None, bids: bool) -> None:
        policy = replace(PI, network=NetworkPolicy(metered=metered, wifi_only=False))
        assert Device(policy).feel(sensed(metered=reading)).may_bid is bids

    @pytest.mark.parametrize(("wifi", "bids"), [(1, True), (0, False), (None, False)])
    def test_wifi_only(self, wifi: int | None, bids: bool) -> None:
        policy = replace(PI, network=NetworkPolicy(metered="allow", wifi_only=True))
        readings = Readings(tuple(item for item in sensed().items if item.quantity is not Quantity.WIFI))
        told = known(Quantity.WIFI, wifi, "t") if wifi is not None else unknown(Quantity.WIFI, "t", "denied")
        assert Device(policy).feel(Readings((*readings.items, told))).may_bid is bids

    @pytest.mark.parametrize(("idle_s", "duty_pm"), [(0, 250), (59, 250), (60, 1000), (None, 1000)])
    def test_its_user_comes_first(self, idle_s: int | None, duty_pm: int) -> None:
        assert Device(self.LENT).feel(sensed(user_idle_s=idle_s)).duty_pm == duty_pm

    def test_a_profile_may_leave_nothing_while_in_use(self) -> None:
        none = replace(PI, activity=replace(self.LENT.activity, duty_pm=0))
        assert Device(none).feel(sensed(user_idle_s=3)).level is Level.SUSPEND

    def test_other_programs_come_first_too(self) -> None:
        device = Device(self.LENT)
        duties = [device.feel(sensed(foreign_load_pm=load)).duty_pm for load in (499, 500, 301, None, 300, None)]
        assert duties == [1000, 250, 250, 250, 1000, 1000]

    def test_old_news_of_use_are_none(self) -> None:
        in_use = sensed(user_idle_s=0).aged(MAX_BATTERY_AGE_MS + 1)
        cool = Readings((known(Quantity.SOC_TEMP, 40_000, "t"), *in_use.items[1:]))
        assert Device(self.LENT).feel(cool).level is Level.RUN

    @pytest.mark.parametrize("flag", ["undervoltage", "throttled"])
    def test_a_faltering_supply_is_spared(self, flag: str) -> None:
        assert Device(PI).feel(sensed(**{flag: 1})).level is Level.SLOW
        assert Device(PI).feel(sensed(**{flag: 0})).level is Level.RUN
        assert Device(PI).feel(sensed(**{flag: None})).level is Level.RUN


class TestFixtures:
    @pytest.mark.parametrize(
        ("tree", "profile", "level"),
        [
            ("pi-4", "pi-4", Level.RUN),
            ("laptop-two-batteries", "x86-laptop", Level.DRAIN),
            ("phone-sysfs", "termux-phone", Level.SLOW),
            ("nas-without-sensors", "server", Level.RUN),
            ("nas-without-sensors", "x86-laptop", Level.SLOW),
            ("nas-without-sensors", "termux-phone", Level.DRAIN),
        ],
    )
    def test_from_files_to_allowance(self, tree: str, profile: str, level: Level) -> None:
        idle = known(Quantity.WORK_LEFT, 0, "test")
        readings = Readings((*read_sources(default_sources(root=FIXTURES / tree), now_ms=0).items, idle))
        assert Device(load_profile(profile)).feel(readings).level is level


maybe = st.none()
any_readings = st.builds(
    lambda soc, present, pct, mains, battery, age, left, idle, load: sensed(
        soc,
        present=present,
        pct=pct,
        mains=mains,
        battery_c=battery,
        left_ms=left,
        user_idle_s=idle,
        foreign_load_pm=load,
        metered=None if idle is None else idle % 2,
    ).aged(age),
    maybe | st.integers(-30, 140),
    maybe | st.integers(0, 1),
    maybe | st.integers(0, 100),
    maybe | st.integers(0, 1),
    maybe | st.integers(-30, 80),
    st.sampled_from([0, 0, 0, 1000, 40_000, 200_000, -5]),
    st.sampled_from([0, 0, 5_000, 90_000, None]),
    maybe | st.integers(0, 200),
    maybe | st.integers(0, 1000),
)
profiles = st.sampled_from([load_profile(name) for name in list_profiles()])
gaps_s = st.sampled_from([0, 1, 5, 30, 60, 3600, -100])
histories = st.lists(st.tuples(any_readings, gaps_s), min_size=1, max_size=15)
property_settings = settings(deadline=None, derandomize=True, max_examples=40)


@given(profiles, histories)
@property_settings
def test_above_a_hard_limit_or_at_the_floor_nothing_runs(profile: Profile, history: list[tuple[Readings, int]]) -> None:
    device = Device(profile)
    for readings, gap_s in history:
        allowance = device.feel(readings, gap_s)
        soc = readings.get(Quantity.SOC_TEMP).unless_older(MAX_TEMP_AGE_MS).value
        if soc is not None and soc >= profile.thermal.hard_c * 1000:
            assert not allowance.may_run
        present = readings.get(Quantity.BATTERY_PRESENT).unless_older(MAX_BATTERY_AGE_MS).value
        pct = readings.get(Quantity.BATTERY_PCT).unless_older(MAX_BATTERY_AGE_MS).value
        if present == 1 and pct is not None and pct <= profile.battery.floor_pct:
            assert not allowance.may_run


@given(profiles, histories)
@property_settings
def test_an_allowance_always_makes_sense(profile: Profile, history: list[tuple[Readings, int]]) -> None:
    device = Device(profile)
    for readings, gap_s in history:
        allowance = device.feel(readings, gap_s)
        assert 0 <= allowance.duty_pm <= 1000
        assert allowance.duty_pm == 0 or allowance.level is not Level.SUSPEND
        bare = replace(allowance, fetches=True, reasons=())
        assert (allowance.level is Level.RUN) == (bare == Allowance(Level.RUN, 1000))
        assert all(allowance.reasons)
        assert len(allowance.reasons) <= 9
        assert bool(allowance.reasons) == (allowance.level is not Level.RUN or not allowance.fetches)


@given(profiles, histories)
@property_settings
def test_on_battery_nothing_new_is_taken(profile: Profile, history: list[tuple[Readings, int]]) -> None:
    device = Device(profile)
    for readings, gap_s in history:
        allowance = device.feel(readings, gap_s)
        present = readings.get(Quantity.BATTERY_PRESENT).unless_older(MAX_BATTERY_AGE_MS).value
        mains = readings.get(Quantity.ON_MAINS).unless_older(MAX_BATTERY_AGE_MS).value
        plugged = readings.get(Quantity.PLUGGED).unless_older(MAX_BATTERY_AGE_MS).value
        if profile.battery.only_when_charging and present == 1 and mains != 1 and plugged != 1:
            assert not allowance.may_bid


@given(profiles, histories, st.lists(st.integers(1, 9), min_size=2, max_size=20))
@property_settings
def test_inside_the_bands_nothing_flaps(
    profile: Profile, history: list[tuple[Readings, int]], wobble: list[int]
) -> None:
    """After any history, readings that stay between resume and limit change the level at most on their way out."""
    device = Device(profile)
    for readings, gap_s in history:
        device.feel(readings, gap_s)
    thermal, battery = profile.thermal, profile.battery

    def between(low: int, high: int, tenths: int) -> int:
        return low + 1 + (high - low - 2) * tenths // 9

    levels = [
        device.feel(
            sensed(
                between(thermal.soft_resume_c, thermal.soft_c, tenths),
                present=1,
                pct=between(battery.floor_pct, battery.resume_pct, tenths),
                mains=1,
                battery_c=between(battery.hot_resume_c, battery.hot_c, tenths),
                foreign_load_pm=between(profile.activity.busy_resume_pm, profile.activity.busy_pm, tenths),
            )
        ).level
        for tenths in wobble
    ]
    assert len(set(levels)) == 1


@given(profiles, histories)
@property_settings
def test_whatever_happened_a_good_device_runs_again(profile: Profile, history: list[tuple[Readings, int]]) -> None:
    device = Device(profile)
    for readings, gap_s in history:
        device.feel(readings, gap_s)
    good = sensed(20, present=1, pct=100, mains=1, battery_c=20, foreign_load_pm=0)
    device.feel(good, gap_s=0)
    assert device.feel(good, gap_s=profile.thermal.dwell_s) == Allowance(Level.RUN, 1000)


@given(profiles, histories)
@property_settings
def test_milder_never_comes_before_the_dwell(profile: Profile, history: list[tuple[Readings, int]]) -> None:
    device, stricter_ms = Device(profile), 0
    before: Level | None = None
    for readings, gap_s in history:
        level = device.feel(readings, max(0, gap_s)).level
        if before is not None and STRICTNESS.index(level) < STRICTNESS.index(before):
            assert device.now_ms - stricter_ms >= profile.thermal.dwell_s * 1000
        if level is not before:
            stricter_ms = device.now_ms
        before = level


@given(histories)
@property_settings
def test_the_same_history_gives_the_same_answers(history: list[tuple[Readings, int]]) -> None:
    first, second = Device(PHONE), Device(PHONE)
    assert [first.feel(*moment) for moment in history] == [second.feel(*moment) for moment in history]


@given(profiles, histories)
@property_settings
def test_guests_never_go_on_for_long_at_the_battery_s_cost(
    profile: Profile, history: list[tuple[Readings, int]]
) -> None:
    """Whatever was read before: a shard that says it needs long, or nothing, stands still once the plug is out."""
    device = Device(profile)
    for readings, gap_s in history:
        device.feel(readings, gap_s)
    for left_ms in (SOON_MS + 1, None):
        pulled = sensed(30, present=1, pct=99, mains=0, plugged=0, left_ms=left_ms)
        assert device.feel(pulled, gap_s=0).may_run is not profile.battery.only_when_charging


@given(profiles, histories, st.sampled_from([-(10**9), -3_600, -1, 10**9]))
@property_settings
def test_a_clock_that_jumps_changes_nothing_for_the_worse(
    profile: Profile, history: list[tuple[Readings, int]], jump_s: int
) -> None:
    """The same readings after a jump: going back never frees anything, going forward no more than waiting would."""
    jumped, waited = Device(profile), Device(profile)
    for readings, gap_s in history:
        before = jumped.feel(readings, gap_s)
        waited.feel(readings, gap_s)
    after = jumped.feel(history[-1][0], jump_s)
    if jump_s < 0:
        assert STRICTNESS.index(after.level) >= STRICTNESS.index(before.level)
    else:
        assert after == waited.feel(history[-1][0], 86_400)


@given(profiles, histories, st.integers(1, 10**9))
@property_settings
def test_readings_from_before_are_none(profile: Profile, history: list[tuple[Readings, int]], late_ms: int) -> None:
    """What was read long ago, or in the future by its age, counts as unknown, whatever it says."""
    good = sensed(20, present=1, pct=100, mains=1, battery_c=20, foreign_load_pm=0)
    old, blind = good.aged(MAX_BATTERY_AGE_MS + late_ms), [unknown(item.quantity, "t", "silent") for item in good.items]
    future = good.aged(-late_ms)
    answers = []
    for said in (old, future, Readings(tuple(blind))):
        device = Device(profile)
        for readings, gap_s in history:
            device.feel(readings, gap_s)
        answers.append(device.feel(said))
    assert answers[0].level is answers[1].level is answers[2].level
    assert answers[0].duty_pm == answers[1].duty_pm == answers[2].duty_pm
