"""A day of a device around the node's own governor, in seconds: what it does no harm, and how much it still lends.

For each profile and weather, the same body lives through the same hours four times: idle, under our governor, under
BOINC's rule (one threshold: 90 % charge and 40 °C of the battery, 300 s back-off, plugged in, no look at the
processor's temperature), and under an oracle that knows the body, the room and every plug, and takes all that the
limits leave. There is always work, in shards of half a minute at full duty; the governor is told how long the one that
runs may still take, and a new one only begins where its forecast sees it end before heat does.

    tools/sim_device --json | jq '.runs[] | select(.profile == "pi-4")'
    tools/sim_device --profile termux-phone --weather summer --svg plots/

`over_hard_s` and `over_soft_share` count time above `hard_c` and above `soft_c` + 1 °C of the processor while the idle
twin was not; `below_floor_pct` how far the charge fell below the floor, or below the idle twin where that is lower;
`charge_delay_share` the longest delay to `charged_pct` after a plug, as a share of the idle twin's time;
`used_of_oracle` the fuel as a share of the oracle's; `changes_per_hour` the changes of the allowance's level;
`forecast_miss_c` the median error of the temperatures that were forecast for the ends of shards.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Final

from physics import HARDWARE, HOUR_S, WEATHERS, Body, Habits, Sensors, Weather
from svg import lines

from icn_lite.device.catalogue import load_profile
from icn_lite.device.forecast import forecast, thermal_now
from icn_lite.device.governor import GovernorState, step
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Readings, known

STEP_S: Final = 2  # as a node looks while guests run (`node.care.BUSY_MS`)
SHARD_S: Final = 30  # of work at full duty
DULL_PM: Final = 100  # below this duty a shard takes so long that its end tells nothing about the forecast
BOINC_CHARGE_PCT: Final = 90
BOINC_BATTERY_C: Final = 40.0
BOINC_BACKOFF_S: Final = 300
ORACLE_TRIES: Final = 12  # halvings of the interval in which the oracle looks for its duty
GOALS: Final = {
    "over_hard_s": (0, "<="),
    "over_soft_share": (0.001, "<="),
    "below_floor_pct": (1.0, "<="),
    "charge_delay_share": (0.03, "<="),
    "used_of_oracle": (0.90, ">="),
    "changes_per_hour": (6.0, "<="),
}

Policy = Callable[[Body, float, float], float]  # (body, now, duty of the last step) -> duty


@dataclass(frozen=True, slots=True)
class Case:
    """A device in its weather."""

    profile: Profile
    weather: Weather
    hours: int
    seed: int

    def body(self) -> Body:
        """The body at the beginning; the same each time."""
        rng = random.Random(f"{self.seed}/{self.profile.name}/{self.weather.name}")
        habits = Habits.of(rng, self.hours)
        return Body.at_rest(HARDWARE[self.profile.name], self.weather, habits, rng.uniform(0.35, 0.75))


@dataclass(slots=True)
class Trace:
    """What happened."""

    chip_c: list[float] = field(default_factory=list)
    charge_pct: list[float] = field(default_factory=list)
    duty: list[float] = field(default_factory=list)
    fuel_s: float = 0.0  # seconds of all workers at full clock


@dataclass(frozen=True, slots=True)
class Figures:
    """One policy's figures; None where a device has no battery."""

    over_hard_s: float
    over_soft_share: float
    below_floor_pct: float | None
    charge_delay_share: float | None
    used_of_oracle: float
    changes_per_hour: float


class Governed:
    """The node's governor with its sensors."""

    def __init__(self, case: Case, body: Body) -> None:
        rng = random.Random(f"sensors/{case.seed}/{case.profile.name}/{case.weather.name}")
        self._profile = case.profile
        self._sensors = Sensors.of(body, rng, case.hours)
        self._shard_left_s = 0.0  # at full duty; 0 between two shards
        self.state = GovernorState()
        self.changes = 0
        self.declined = 0  # shards that were not begun, because they would not have ended before heat does
        self.misses_mc: list[int] = []  # by how much forecasts of a shard's end missed
        self._foreseen: tuple[float, int] | None = None

    def __call__(self, body: Body, now_s: float, duty: float) -> float:
        sensed = self._sensors.read(now_s, int(duty * 1000))
        left = known(Quantity.WORK_LEFT, int(self._shard_left_s * 1000), "sim")
        readings = Readings((*sensed.items, left))
        before = self.state.held.level
        self.state, allowance = step(self._profile, self.state, readings, int(now_s * 1000) + 1)
        self.changes += allowance.level is not before
        self._compare(now_s, readings)
        if self._shard_left_s <= 0 and allowance.may_bid and self._ends_in_time(allowance.duty_pm, readings):
            self._shard_left_s = SHARD_S
            self._foresee(now_s, allowance.duty_pm, readings)
        if self._shard_left_s <= 0 or not allowance.may_run:
            return 0.0
        self._shard_left_s -= STEP_S * allowance.duty_pm / 1000
        return allowance.duty_pm / 1000

    def _ends_in_time(self, duty_pm: int, readings: Readings) -> bool:
        """Whether the shard that would begin ends before the forecast says that guests are stopped."""
        expected = forecast(self._profile, self.state, readings, self._profile.prior.fuel_per_s)
        needs_ms = SHARD_S * 1000 * 1000 // max(1, duty_pm)
        fits = expected.work_ms is None or expected.work_ms >= needs_ms
        self.declined += not fits
        return fits

    def _foresee(self, now_s: float, duty_pm: int, readings: Readings) -> None:
        now = thermal_now(readings)
        if now is not None and duty_pm > DULL_PM:
            after_ms = SHARD_S * 1000 * 1000 // duty_pm
            work_pm = min(1000, duty_pm + now.work_pm - (readings.get(Quantity.GUESTS).value or 0))
            ends_mc = self.state.learned.thermal.forecast(now, work_pm, after_ms)
            self._foreseen = None if ends_mc is None else (now_s + after_ms / 1000, ends_mc)

    def _compare(self, now_s: float, readings: Readings) -> None:
        if self._foreseen is not None and now_s >= self._foreseen[0]:
            temp_mc = readings.get(Quantity.SOC_TEMP).value
            if temp_mc is not None:
                self.misses_mc.append(abs(temp_mc - self._foreseen[1]))
            self._foreseen = None


class Boinc:
    """BOINC's rule for a device with a battery; without one it always runs."""

    def __init__(self) -> None:
        self._until_s = 0.0
        self._running = True
        self.changes = 0

    def __call__(self, body: Body, now_s: float, duty: float) -> float:
        running = self._may(body, now_s)
        self.changes += running is not self._running
        self._running = running
        return 1.0 if running else 0.0

    def _may(self, body: Body, now_s: float) -> bool:
        if not body.hardware.battery_wh:
            return True
        if not body.habits.is_plugged(now_s) or now_s < self._until_s:
            return False
        if body.charge_pct < BOINC_CHARGE_PCT or body.case_c > BOINC_BATTERY_C:
            self._until_s = now_s + BOINC_BACKOFF_S
            return False
        return True


class Oracle:
    """Takes the largest duty after which every limit still holds; knows the body, without noise."""

    def __init__(self, profile: Profile) -> None:
        self._profile = profile
        self.changes = 0

    def __call__(self, body: Body, now_s: float, duty: float) -> float:
        if not self._holds(body, now_s, 0.0):
            return 0.0
        low, high = 0.0, 1.0
        if self._holds(body, now_s, 1.0):
            return 1.0
        for _ in range(ORACLE_TRIES):
            middle = (low + high) / 2
            low, high = (middle, high) if self._holds(body, now_s, middle) else (low, middle)
        return low

    def _holds(self, body: Body, now_s: float, duty: float) -> bool:
        thermal, battery, hardware = self._profile.thermal, self._profile.battery, body.hardware
        activity = self._profile.activity
        if hardware.tells_use and body.habits.unused_s(now_s) < activity.idle_s and duty * 1000 > activity.duty_pm:
            return False
        load_w = body.load_w(now_s, duty)
        # The chip settles within seconds, so a duty is judged by where it leads, not by the next two seconds.
        if duty and body.case_c + load_w * hardware.chip_k_w > thermal.soft_c:
            return False
        if not hardware.battery_wh:
            return True
        if duty and (body.case_c >= battery.hot_c or body.charge_pct <= battery.floor_pct):
            return False
        if not body.habits.is_plugged(now_s):
            return not (duty and battery.only_when_charging)
        into_w, rest_w = body.into_battery_w(now_s, load_w), body.into_battery_w(now_s, body.load_w(now_s, 0.0))
        if body.charge_pct < battery.charged_pct:
            return into_w >= rest_w * (1000 - battery.charge_loss_pm) / 1000
        return into_w >= min(0.0, rest_w)


def live(case: Case, body: Body, policy: Policy) -> Trace:
    """Let the hours pass."""
    trace, duty = Trace(), 0.0
    for index in range(case.hours * HOUR_S // STEP_S):
        now_s = float(index * STEP_S)
        duty = policy(body, now_s, duty)
        body.step(now_s, STEP_S, duty)
        trace.fuel_s += duty * body.speed * STEP_S
        trace.chip_c.append(body.chip_c)
        trace.duty.append(duty)
        if body.hardware.battery_wh:
            trace.charge_pct.append(body.charge_pct)
    return trace


def figures(case: Case, trace: Trace, idle: Trace, oracle: Trace, changes: int) -> Figures:
    """What a policy made of the day, against the idle twin and the oracle."""
    thermal, battery = case.profile.thermal, case.profile.battery
    pairs = list(zip(trace.chip_c, idle.chip_c, strict=True))
    hard = sum(1 for chip_c, twin_c in pairs if chip_c > thermal.hard_c >= twin_c)
    soft = sum(1 for chip_c, twin_c in pairs if chip_c > thermal.soft_c + 1 >= twin_c)
    below = None
    if trace.charge_pct:
        twins = zip(trace.charge_pct, idle.charge_pct, strict=True)
        below = round(max(0.0, *(min(battery.floor_pct, twin) - pct for pct, twin in twins)), 3)
    return Figures(
        over_hard_s=hard * STEP_S,
        over_soft_share=round(soft / len(pairs), 6),
        below_floor_pct=below,
        charge_delay_share=_charge_delay(case, trace, idle),
        used_of_oracle=round(trace.fuel_s / oracle.fuel_s, 4) if oracle.fuel_s else 1.0,
        changes_per_hour=round(changes / case.hours, 3),
    )


def _charge_delay(case: Case, trace: Trace, idle: Trace) -> float | None:
    """The worst delay from a plug to `charged_pct`, of the sessions in which the idle twin gets there."""
    if not trace.charge_pct:
        return None
    worst, goal = 0.0, case.profile.battery.charged_pct
    for start_s, end_s in case.body().habits.plugged:
        start, end = start_s // STEP_S + 1, min(end_s // STEP_S, len(trace.charge_pct) - 1)
        if start >= end or abs(trace.charge_pct[start] - idle.charge_pct[start]) > 0.5:
            continue
        # What work took before the plug is another figure: both are timed from the first charge that both have.
        level = max(trace.charge_pct[start], idle.charge_pct[start])
        twin = _takes(idle.charge_pct, (start, end), level, goal)
        mine = _takes(trace.charge_pct, (start, end), level, goal)
        if twin is None or twin < 300:
            continue
        worst = max(worst, ((end - start) if mine is None else mine) / twin - 1)
    return round(worst, 4)


def _takes(charge: list[float], within: tuple[int, int], level: float, goal: float) -> int | None:
    """Steps from the first charge of `level` to the first of `goal`; None where it is not reached."""
    begun = next((index for index in range(*within) if charge[index] >= level), None)
    return None if begun is None else _reaches(charge, begun, within[1], goal)


def _reaches(charge: list[float], start: int, end: int, goal: float) -> int | None:
    return next((index - start for index in range(start, end) if charge[index] >= goal), None)


def run_case(case: Case) -> tuple[dict[str, object], Trace]:
    """All four lives of one case."""
    idle = live(case, case.body(), lambda body, now_s, duty: 0.0)
    oracle = live(case, case.body(), Oracle(case.profile))
    body = case.body()
    governed = Governed(case, body)
    ours = live(case, body, governed)
    rule = Boinc()
    boinc = live(case, case.body(), rule)
    found = figures(case, ours, idle, oracle, governed.changes)
    row: dict[str, object] = {"profile": case.profile.name, "weather": case.weather.name, **asdict(found)}
    row["missed"] = missed(found)
    row["forecasts"] = len(governed.misses_mc)
    row["forecast_miss_c"] = _median_c(governed.misses_mc)
    row["declined_for_heat"] = governed.declined
    row["boinc"] = asdict(figures(case, boinc, idle, oracle, rule.changes))
    return row, ours


def _median_c(misses_mc: list[int]) -> float | None:
    return round(statistics.median(misses_mc) / 1000, 2) if misses_mc else None


def missed(found: Figures) -> list[str]:
    """The goals that a run doesn't reach."""
    values = asdict(found)
    late = []
    for name, (goal, sign) in GOALS.items():
        value = values[name]
        if value is not None and (value > goal if sign == "<=" else value < goal):
            late.append(name)
    return late


def main() -> int:
    """Run the cases and tell."""
    parser = argparse.ArgumentParser(prog="tools/sim_device", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--profile", choices=sorted(HARDWARE), action="append", help="only these; all of them without")
    parser.add_argument("--weather", choices=[weather.name for weather in WEATHERS], action="append")
    parser.add_argument("--hours", type=int, default=24, metavar="N", help="simulated hours (24)")
    parser.add_argument("--seed", type=int, default=1, metavar="N", help="of habits, noise and outages (1)")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--svg", type=Path, metavar="FOLDER", help="a plot of temperature and charge a case")
    options = parser.parse_args()
    if not 1 <= options.hours <= 24 * 31:
        parser.error("expected 1 to 744 hours")
    begun, rows = time.perf_counter(), []
    for name in options.profile or sorted(HARDWARE):
        for weather in WEATHERS:
            if options.weather and weather.name not in options.weather:
                continue
            case = Case(load_profile(name), weather, options.hours, options.seed)
            row, trace = run_case(case)
            rows.append(row)
            if not options.json:
                _tell(row)
            if options.svg:
                _draw(options.svg, case, trace)
    if options.json:
        document = {
            "hours": options.hours,
            "seed": options.seed,
            "goals": {name: f"{sign} {goal}" for name, (goal, sign) in GOALS.items()},
            "runs": rows,
            "seconds": round(time.perf_counter() - begun, 1),
        }
        print(json.dumps(document, indent=2))
    return 1 if any(row["missed"] for row in rows) else 0


def _tell(row: dict[str, object]) -> None:
    shown = "  ".join(f"{name} {row[name]}" for name in GOALS if row[name] is not None)
    print(f"{row['profile']:16} {row['weather']:13} {shown}{'  MISSED ' + str(row['missed']) if row['missed'] else ''}")


def _draw(folder: Path, case: Case, trace: Trace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    hours = [index * STEP_S / HOUR_S for index in range(len(trace.chip_c))]
    curves = {"processor, °C": list(zip(hours, trace.chip_c, strict=True))}
    curves["duty, %"] = [(hour, duty * 100) for hour, duty in zip(hours, trace.duty, strict=True)]
    if trace.charge_pct:
        curves["charge, %"] = list(zip(hours, trace.charge_pct, strict=True))
    curves["soft limit"] = [(0.0, case.profile.thermal.soft_c), (hours[-1], case.profile.thermal.soft_c)]
    title = f"{case.profile.title}, {case.weather.name}"
    path = folder / f"{case.profile.name}-{case.weather.name}.svg"
    path.write_text(lines(curves, title, ("hour", "")), encoding="utf-8")


if __name__ == "__main__":
    sys.exit(main())
