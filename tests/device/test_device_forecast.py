"""What a device expects and shows of itself: forecasts for bids, limits as rows, the history, what is kept."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.catalogue import load_profile
from icn_lite.device.demand import Allowance, Level
from icn_lite.device.energy import LEAST_PERCENT_MJ, Energy
from icn_lite.device.forecast import forecast
from icn_lite.device.governor import GovernorState, Learned, step
from icn_lite.device.history import EVERY_MS, KEPT, History
from icn_lite.device.learned import MAX_TEXT, format_learned, parse_learned
from icn_lite.device.limits import Limit, Standing, limits
from icn_lite.device.profile import HoursPolicy, Profile
from icn_lite.device.reading import Quantity, Readings, known, unknown
from icn_lite.device.thermal import FINE, SPAN_MC, THETA_ONE, Thermal
from icn_lite.model.errors import StoreError

PI, PHONE = load_profile("pi-4"), load_profile("termux-phone")
# A body that was watched for long: rest at 30 °C, 50 K more at full work, 10 K of them at once, ten minutes.
DECAY = SPAN_MC * THETA_ONE // 20
HOT_BODY = Thermal(
    theta=(-10_000 * THETA_ONE // 20, -DECAY, 50_000 * THETA_ONE // 20, 10_000 * THETA_ONE),
    covariance=((FINE // 20, 0, 0, 0), (0, FINE // 20, 0, 0), (0, 0, FINE // 20, 0), (0, 0, 0, FINE // 20)),
    windows=500,
)


def told(**values: int | None) -> Readings:
    """Readings by quantity; None is unknown."""
    items = [
        known(Quantity[name.upper()], value, "t")
        if value is not None
        else unknown(Quantity[name.upper()], "t", "denied")
        for name, value in values.items()
    ]
    return Readings((*items, known(Quantity.WORK_LEFT, 0, "t")))


def phone(**values: int | None) -> Readings:
    usual = {"soc_temp": 40_000, "battery_present": 1, "battery_pct": 97, "on_mains": 1, "plugged": 1, "wifi": 1}
    return told(**{**usual, **values})


def after(profile: Profile, readings: Readings, state: GovernorState | None = None) -> GovernorState:
    return step(profile, state or GovernorState(), readings, 1_000_000)[0]


class TestForecast:
    def test_a_device_that_knows_nothing_promises_its_present(self) -> None:
        readings = told(soc_temp=40_000, battery_present=0)
        found = forecast(PI, after(PI, readings), readings, 10**9)
        assert (found.duty_pm, found.lasts_ms, found.work_ms, found.why) == (1000, None, None, "")
        assert (found.reserve_mj, found.energy_mj_per_gfuel) == (None, PI.prior.energy_mj_per_gfuel)

    def test_heat_lowers_the_duty_of_a_long_run(self) -> None:
        """30 °C at rest and 80 °C at work: at 69.3 °C, under the soft limit of 70, the duty is 786 ‰."""
        readings = told(soc_temp=45_000, battery_present=0, work_pm=0)
        state = after(PI, readings, GovernorState(learned=Learned(thermal=HOT_BODY)))
        found = forecast(PI, state, readings, 10**9)
        assert (found.duty_pm, found.later_pm) == (1000, 786)
        assert found.lasts_ms is not None
        assert 60_000 <= found.lasts_ms <= 20 * 60_000
        assert found.work_ms is None

    def test_where_rest_is_too_hot_work_ends(self) -> None:
        oven = replace(HOT_BODY, theta=(29_000 * THETA_ONE // 20, *HOT_BODY.theta[1:]))
        readings = told(soc_temp=60_000, battery_present=0, work_pm=1000)
        state = replace(after(PI, readings, GovernorState(learned=Learned(thermal=oven))))
        found = forecast(PI, state, readings, 10**9)
        assert found.why == "heat"
        assert found.work_ms is not None

    @pytest.mark.parametrize(("minute", "left_min"), [(1200, 119), (1319, 0), (None, 0), (30, 0)])
    def test_quiet_hours_end_work(self, minute: int | None, left_min: int) -> None:
        night = replace(PI, hours=HoursPolicy(quiet=((1320, 420),)))
        readings = told(soc_temp=40_000, battery_present=0, local_minute=minute)
        found = forecast(night, after(night, readings), readings, 10**9)
        assert (found.work_ms, found.why) == (left_min * 60_000, "quiet hours")

    def test_the_reserve_is_what_lies_above_the_floor(self) -> None:
        floor = PHONE.battery.floor_pct
        battery = {"on_mains": 0, "plugged": 0, "battery_pct": 80}
        told_mj = phone(**battery, battery_energy=40_000_000)
        assert forecast(PHONE, after(PHONE, told_mj), told_mj, 10**9).reserve_mj == 40_000_000 * (80 - floor) // 80
        silent = phone(**battery)
        assert forecast(PHONE, after(PHONE, silent), silent, 10**9).reserve_mj == (80 - floor) * LEAST_PERCENT_MJ
        unread = phone(**{**battery, "battery_pct": None})
        assert forecast(PHONE, after(PHONE, unread), unread, 10**9).reserve_mj == 0
        assert forecast(PHONE, after(PHONE, phone()), phone(), 10**9).reserve_mj is None

    def test_measured_watts_replace_the_profile_s(self) -> None:
        state = replace(after(PHONE, phone()), learned=Learned(energy=Energy(3_000 * 8_000_000, 8_000_000)))
        assert forecast(PHONE, state, phone(), 500_000_000).energy_mj_per_gfuel == 6_000


def row(rows: tuple[Limit, ...], name: str) -> Limit:
    (found,) = [limit for limit in rows if limit.name == name]
    return found


class TestLimits:
    def shown(self, profile: Profile, readings: Readings) -> tuple[Limit, ...]:
        return limits(profile, after(profile, readings), readings)

    def test_a_good_device_wants_nothing(self) -> None:
        rows = self.shown(PHONE, phone(battery_temp=30_000, metered=0))
        assert not any(limit.wants for limit in rows)
        heat = row(rows, "processor, soft")
        assert (heat.reading, heat.threshold, heat.headroom) == (
            40_000,
            PHONE.thermal.soft_c * 1000,
            PHONE.thermal.soft_c * 1000 - 40_000,
        )

    @pytest.mark.parametrize(
        ("changed", "name", "wants"),
        [
            ({"battery_pct": 20}, "charge, floor", f"a charge of {PHONE.battery.resume_pct} % or more"),
            ({"battery_pct": None}, "charge, floor", "a charge that can be read"),
            ({"battery_pct": 80}, "charge, first", f"a charge of {PHONE.battery.charged_pct} % or more"),
            ({"on_mains": 0, "plugged": 0}, "charger", "to be plugged in"),
            ({"on_mains": None, "plugged": None}, "charger", "to know whether it charges"),
            ({"battery_temp": 41_000}, "battery", f"the battery at {PHONE.battery.hot_resume_c} °C or less"),
            ({"soc_temp": 90_000}, "processor, hard", f"the processor at {PHONE.thermal.hard_resume_c} °C or less"),
            ({"metered": 1}, "metered network", "an unmetered network"),
            ({"wifi": 0}, "Wi-Fi or cable", "Wi-Fi or a cable"),
            ({"wifi": None}, "Wi-Fi or cable", "Wi-Fi or a cable"),
        ],
    )
    def test_each_limit_says_what_it_waits_for(self, changed: dict[str, int | None], name: str, wants: str) -> None:
        readings = phone(**changed)
        state, allowance = step(PHONE, GovernorState(), readings, 1_000_000)
        found = row(limits(PHONE, state, readings), name)
        assert not allowance.may_bid
        assert (found.standing, found.wants) == (Standing.STOPS, wants)

    def test_heat_has_a_forecast_once_it_is_known(self) -> None:
        readings = told(soc_temp=45_000, battery_present=0, work_pm=1000)
        state = after(PI, readings, GovernorState(learned=Learned(thermal=HOT_BODY)))
        ahead = row(limits(PI, state, readings), "processor, soft").forecast
        assert ahead is not None
        assert ahead > 50_000
        assert row(self.shown(PI, readings), "processor, soft").forecast is None

    def test_the_charge_in_ten_minutes(self) -> None:
        emptying = phone(on_mains=0, plugged=0, battery_pct=80, battery_power=4_000, battery_energy=40_000_000)
        assert row(self.shown(PHONE, emptying), "charge, floor").forecast == 80 - 4_000 * 600 * 80 // 40_000_000 - 0

    def test_quiet_hours_say_when_they_end(self) -> None:
        night = replace(PI, hours=HoursPolicy(quiet=((1320, 420),)))
        for minute, wants in ((1380, "the time to be 07:00"), (60, "the time to be 07:00"), (600, "")):
            found = row(self.shown(night, told(soc_temp=40_000, local_minute=minute)), "quiet hours")
            assert found.wants == wants


@given(
    st.sampled_from([PI, PHONE, load_profile("x86-laptop")]),
    st.lists(st.tuples(st.sampled_from(list(Quantity)), st.none() | st.integers(-5, 1_500)), max_size=12),
)
@settings(max_examples=80)
def test_a_device_that_takes_no_work_says_what_it_waits_for(
    profile: Profile, said: list[tuple[Quantity, int | None]]
) -> None:
    """`wants` names something whenever the governor stops new work, but for the dwell, which is a reason by itself."""
    readings = Readings.of(
        [known(q, value, "t") if value is not None else unknown(q, "t", "silent") for q, value in said]
    )
    state, allowance = step(profile, GovernorState(), readings, 1_000_000)
    rows = limits(profile, state, readings)
    assert allowance.may_bid or any(limit.wants for limit in rows)
    assert all(bool(limit.wants) == (limit.standing is Standing.STOPS) for limit in rows)


class TestHistory:
    def test_a_sample_a_minute_and_every_change_of_level(self) -> None:
        history, run = History(), Allowance(Level.RUN, 1000)
        for at_ms in range(0, 3 * EVERY_MS, 2_000):
            history.add(at_ms, run, phone())
        history.add(3 * EVERY_MS - 1_000, Allowance(Level.SUSPEND, 0), phone(battery_pct=None))
        assert [sample.at_ms for sample in history.samples()] == [0, 60_000, 120_000, 179_000]
        last = history.samples()[-1]
        assert (last.level, last.temp_mc, last.charge_pct) == (Level.SUSPEND, 40_000, None)

    def test_it_is_bounded_and_begins_anew_when_the_clock_goes_back(self) -> None:
        history = History()
        for index in range(KEPT + 50):
            history.add(index * EVERY_MS, Allowance(Level.RUN, 1000), phone())
        assert len(history.samples()) == KEPT
        history.add(5, Allowance(Level.RUN, 1000), phone())
        assert [sample.at_ms for sample in history.samples()] == [5]


class TestLearned:
    LEARNED = Learned(replace(HOT_BODY, stirred=0), Energy(product=-7, square=9))

    def test_it_comes_back_as_it_was(self) -> None:
        text = format_learned(self.LEARNED, "pi-4")
        assert len(text) < MAX_TEXT // 2
        assert parse_learned(text, "pi-4") == self.LEARNED
        assert parse_learned(format_learned(Learned(), "pi-4"), "pi-4").thermal.theta == Thermal().theta

    @pytest.mark.parametrize(
        ("changed", "words"),
        [
            ({"version": 2}, "version 1"),
            ({"profile": "pi-5"}, "not 'pi-4'"),
            ({"theta": [1, 2, 3]}, "theta: expected four"),
            ({"theta": [1, 2, 3, 1 << 41]}, "theta: expected a whole number"),
            ({"theta": [1, 2, 3, True]}, "theta"),
            ({"theta": [1, 2, 3, 0.5]}, "theta"),
            ({"covariance": []}, "covariance"),
            ({"covariance": [[0] * 4] * 4}, "no device learns this"),
            ({"covariance": [[1, 2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}, "no device learns this"),
            ({"windows": -1}, "windows"),
            ({"square": 1 << 60}, "square"),
            ({"product": None}, "product"),
        ],
    )
    def test_what_no_device_wrote_is_refused(self, changed: dict[str, object], words: str) -> None:
        document = {**json.loads(format_learned(self.LEARNED, "pi-4")), **changed}
        with pytest.raises(StoreError, match=words):
            parse_learned(json.dumps(document), "pi-4")

    @pytest.mark.parametrize("text", ["", "[]", "{", "null", "x" * (MAX_TEXT + 1)])
    def test_what_is_no_document_is_refused(self, text: str) -> None:
        with pytest.raises(StoreError):
            parse_learned(text, "pi-4")
