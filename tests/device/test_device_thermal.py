"""What a device learns of its heat and its energy: against bodies whose true numbers are known."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from icn_lite.device.energy import LEAST_PERCENT_MJ, Energy, above_floor_mj
from icn_lite.device.thermal import FINE, MAX_WINDOW_MS, ONE, PRIOR, WINDOW_MS, Now, Thermal, least_squares, power


@dataclass
class Case:
    """A first-order body, exactly solved: the model's own world."""

    rest_c: float = 35.0
    case_gain_k: float = 20.0
    direct_k: float = 8.0
    time_constant_s: float = 400.0
    case_c: float = 35.0
    now_ms: int = 0

    def pass_time(self, seconds: float, work: float) -> int:
        """The temperature in m°C, `seconds` later."""
        self.now_ms += round(seconds * 1000)
        ends_c = self.rest_c + self.case_gain_k * work
        self.case_c = ends_c + (self.case_c - ends_c) * math.exp(-seconds / self.time_constant_s)
        return round((self.case_c + self.direct_k * work) * 1000)


def taught(case: Case, hours: float = 3.0, look_s: float = 2.0, noise_mc: int = 0) -> Thermal:
    """A model after hours of work in spells of ten minutes, with ten of rest between; noise by a fixed pattern."""
    model, work = Thermal(), 0.0
    for index in range(int(hours * 3600 / look_s)):
        work = float(int(index * look_s) // 600 % 2)
        temp_mc = case.pass_time(look_s, work) + noise_mc * (index * 7919 % 5 - 2) // 2
        model = model.step(temp_mc, int(work * 1000), case.now_ms)
    return model


class TestThermal:
    def test_a_fresh_model_forecasts_nothing(self) -> None:
        model, now = Thermal(), Now(40_000, 0)
        assert not model.known
        assert model.forecast(now, 1000, 60_000) is None
        assert model.settles_mc(1000) is None
        assert model.reaches_ms(now, 1000, 90_000) is None

    @pytest.mark.parametrize("noise_mc", [0, 500])
    @pytest.mark.parametrize("time_constant_s", [200.0, 400.0, 900.0])
    def test_it_finds_the_numbers_of_a_body(self, time_constant_s: float, noise_mc: int) -> None:
        model = taught(Case(time_constant_s=time_constant_s), noise_mc=noise_mc)
        assert model.known
        assert model.time_constant_s == pytest.approx(time_constant_s, rel=0.2)
        assert model.gain_mc == pytest.approx(28_000, rel=0.1)
        within_window_mc = 20_000 * 15 / time_constant_s  # of the case, by the middle of the first window
        assert model.direct_mc == pytest.approx(8_000 + within_window_mc, abs=500)
        assert model.rest_mc == pytest.approx(35_000, abs=1_500)

    @pytest.mark.parametrize("after_s", [30, 120, 600, 3600])
    @pytest.mark.parametrize("work", [0.0, 0.5, 1.0])
    def test_its_forecast_comes_true(self, work: float, after_s: int) -> None:
        case = Case()
        model = taught(case, noise_mc=500)
        now = Now(case.pass_time(2, 1.0), 1000)
        forecast = model.forecast(now, int(work * 1000), after_s * 1000)
        assert forecast == pytest.approx(case.pass_time(after_s, work), abs=1_200)

    def test_when_a_limit_is_reached(self) -> None:
        case = Case()
        model = taught(case)
        for _ in range(600):
            cool = Now(case.pass_time(2, 0.0), 0)
        reaches_ms = model.reaches_ms(cool, 1000, 58_000)
        assert reaches_ms is not None
        passed_ms = 0
        while case.pass_time(2, 1.0) < 58_000:
            passed_ms += 2_000
        assert reaches_ms == pytest.approx(passed_ms, rel=0.15, abs=WINDOW_MS)
        assert model.reaches_ms(cool, 1000, 70_000) is None  # 63 °C is where it ends
        assert model.reaches_ms(Now(71_000, 0), 0, 70_000) == 0

    def test_what_it_never_saw_it_doesn_t_forecast(self) -> None:
        case, model = Case(), Thermal()
        for _ in range(3600):
            model = model.step(case.pass_time(2, 0.0), 0, case.now_ms)
        assert model.forecast(Now(35_000, 0), 1000, 60_000) is None

    def test_a_warmer_room_is_followed_without_a_new_model(self) -> None:
        case = Case()
        model = taught(case)
        case.rest_c += 6
        for _ in range(5400):
            model = model.step(case.pass_time(2, 0.5), 500, case.now_ms)
        assert model.forecast(Now(case.pass_time(2, 0.5), 500), 500, 600_000) == pytest.approx(
            case.pass_time(600, 0.5), abs=700
        )

    def test_somebody_else_s_heat_is_not_taken_for_ours(self) -> None:
        case = Case()
        before = taught(case)
        model = before
        for index in range(1800):
            others_mc = 9_000 if 300 <= index < 600 else 0
            model = model.step(case.pass_time(2, 0.0) + others_mc, 0, case.now_ms)
        assert model.gain_mc == pytest.approx(before.gain_mc, rel=0.05)
        assert model.time_constant_s == pytest.approx(before.time_constant_s, rel=0.05)

    @pytest.mark.parametrize("jump_ms", [-(10**12), -60_000, -1, MAX_WINDOW_MS + 1, 10**12])
    def test_a_clock_that_jumps_teaches_nothing(self, jump_ms: int) -> None:
        case = Case()
        model = taught(case, hours=1)
        later = model.step(90_000, 1000, case.now_ms + jump_ms)
        assert (later.theta, later.covariance, later.windows) == (model.theta, model.covariance, model.windows)
        assert later.before is None

    def test_the_same_readings_give_the_same_model(self) -> None:
        assert taught(Case(), hours=1, noise_mc=300) == taught(Case(), hours=1, noise_mc=300)

    def test_a_spoiled_covariance_begins_again(self) -> None:
        broken = ((0, 0, 0, 0),) * 4
        theta, covariance = least_squares((1, 2, 3, 4), broken, (ONE, 0, 0, 0), 5)  # type: ignore[arg-type]
        assert theta == (1, 2, 3, 4)
        assert tuple(covariance[i][i] for i in range(4)) == PRIOR


steps = st.lists(
    st.tuples(st.integers(-40_000, 150_000), st.integers(0, 1000), st.integers(-5_000, 40_000)), max_size=120
)


@given(steps)
@settings(max_examples=60)
def test_whatever_it_is_fed_it_stays_bounded_and_sane(history: list[tuple[int, int, int]]) -> None:
    model, now_ms = Thermal(), 0
    for temp_mc, work_pm, gap_ms in history:
        now_ms += gap_ms
        model = model.step(temp_mc, work_pm, now_ms)
        assert all(abs(value) < 1 << 60 for value in model.theta)
        assert all(0 < model.covariance[i][i] <= 2 * PRIOR[i] for i in range(4))
        assert all(model.covariance[i][j] == model.covariance[j][i] for i in range(4) for j in range(4))
    cool, hot = (model.forecast(Now(30_000, 500), work_pm, 300_000) for work_pm in (0, 1000))
    if cool is not None and hot is not None:
        assert cool <= hot  # more work is never forecast to be cooler


@given(st.integers(0, ONE), st.integers(0, 480))
@settings(max_examples=60)
def test_a_power_in_fixed_point_is_one(base: int, exponent: int) -> None:
    assert power(base, exponent) == pytest.approx(ONE * (base / ONE) ** exponent, abs=64)


@given(st.lists(st.tuples(st.integers(-3, 3), st.integers(-3, 3), st.integers(-3, 3)), min_size=30, max_size=60))
@settings(max_examples=30)
def test_least_squares_find_what_made_the_observations(rows: list[tuple[int, int, int]]) -> None:
    """Against the truth that the observations were made from, wherever the rows tell it at all."""
    truth, theta, covariance = (700 << 12, -300 << 12, 1200 << 12), (0, 0, 0, 0), Thermal().covariance
    for a, b, c in rows * 4:
        seen = truth[0] * a + truth[1] * b + truth[2] * c
        theta, covariance = least_squares(theta, covariance, (a * ONE, b * ONE, c * ONE, 0), seen)
    for index in range(3):
        if covariance[index][index] < FINE // 20:
            assert theta[index] == pytest.approx(truth[index], rel=0.05, abs=20 << 12)


def changes(energy: Energy, count: int, rest_mw: int = 800, work_mw: int = 2_500, gap_ms: int = 2_000) -> Energy:
    """Guests that begin and stop, on battery."""
    now_ms = energy.at_ms
    for index in range(count):
        now_ms += gap_ms
        work_pm = 1000 * (index % 2)
        energy = energy.step(rest_mw + work_mw * work_pm // 1000, work_pm, now_ms)
    return energy


class TestEnergy:
    def test_before_anything_was_seen_the_profile_stands(self) -> None:
        assert Energy().work_mw is None
        assert Energy().mj_per_gfuel(16_700, 120_000_000) == 16_700
        assert changes(Energy(), 4).work_mw is None  # three changes

    def test_watts_are_found_from_what_changes_with_work(self) -> None:
        energy = changes(Energy(), 9)
        assert energy.work_mw == 2_500
        assert energy.mj_per_gfuel(0, 250_000_000) == 10_000

    def test_a_screen_that_comes_and_goes_doesn_t_matter_much(self) -> None:
        energy = Energy()
        for index in range(400):
            screen_mw = 1_600 if index // 37 % 2 else 0
            work_pm = 1000 * (index // 5 % 2)
            energy = energy.step(700 + screen_mw + 3 * work_pm, work_pm, (index + 1) * 2_000)
        assert energy.work_mw == pytest.approx(3_000, rel=0.15)

    def test_behind_a_charger_nothing_is_learned(self) -> None:
        energy = changes(Energy(), 9)
        charging = energy.step(None, 1000, energy.at_ms + 2_000)
        after = charging.step(9_000, 0, energy.at_ms + 4_000)
        assert (after.product, after.square) == (energy.product, energy.square)

    @pytest.mark.parametrize("gap_ms", [-(10**12), -1, 0, 30_001, 10**12])
    def test_readings_far_apart_or_out_of_order_are_not_compared(self, gap_ms: int) -> None:
        energy = changes(Energy(), 9)
        after = energy.step(90_000, 0, energy.at_ms + gap_ms)
        assert (after.product, after.square) == (energy.product, energy.square)

    @pytest.mark.parametrize("power_mw", [-1, 500_001])
    def test_absurd_power_is_none(self, power_mw: int) -> None:
        energy = changes(Energy(), 9)
        assert energy.step(power_mw, 0, energy.at_ms + 2_000) == replace(energy, power_mw=None)

    def test_guests_that_seem_to_save_energy_are_not_believed(self) -> None:
        assert changes(Energy(), 20, rest_mw=5_000, work_mw=-1_000).work_mw is None

    def test_energy_above_the_floor(self) -> None:
        assert above_floor_mj(80, 60, 24_000_000) == 6_000_000
        assert above_floor_mj(60, 60, 24_000_000) == 0
        assert above_floor_mj(80, 60, None) == 20 * LEAST_PERCENT_MJ
        assert above_floor_mj(0, 0, 5) == 0
