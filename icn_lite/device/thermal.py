"""A first-order thermal model that a device learns of itself, and what it forecasts. Pure, integers only.

    case' = (rest + gain · work − case) / time constant          temperature = case + direct · work

`rest` is where the temperature ends without guests, `gain` how much higher it ends with all of them at work, and
`direct` the part of it that follows at once (a chip over its case). Everything else (room, sun, a charger) is in
`rest` and drifts slowly. From one window of half a minute to the next, with means over each window, that reads

    T₁ − T₀ = h · (θ₀ + θ₁ · (T₀ − 40 °C) + θ₂ · work₀) + θ₃ · (work₁ − work₀)

where h is the time between the two in windows. The four θ are found by recursive least squares with forgetting
(Ljung, *System Identification*, §11.2), from the ten minutes after work changed: while a governor holds a temperature,
its duty answers the sun, and least squares would take the answer for the cause. In quiet windows, and where a
temperature leaps without any work of ours, only θ₀, the surroundings, follows what is seen.

Deterministic: integers in fixed point, divisions round down, so that the same readings give the same model on every
device. Bounded: four estimates, ten covariances, one open window.

A model that has not seen both rest and work, or whose numbers no device can have, forecasts nothing: None is
"unknown", and callers have to say what they do without it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

WINDOW_MS: Final = 30_000  # longer than a chip takes to settle on its case, far shorter than a case takes
MAX_WINDOW_MS: Final = 90_000  # a window with fewer looks than this begins anew: nobody knows what happened between
ONE: Final = 1 << 20  # one, in the fixed point of regressors and gains
THETA_ONE: Final = 1 << 12  # parts of a thousandth of a degree in the estimates
FINE: Final = 1 << 30  # one, in the fixed point of covariances: they fall to thousandths
REFERENCE_MC: Final = 40_000  # temperatures are counted from here, so that the estimates hardly correlate
SPAN_MC: Final = 32_768  # … in this unit, so that all regressors are about one
FORGET: Final = ONE * 996 // 1000  # the last two hours count most: rooms and suns change
# What a small device is like before anything was seen: rest at 28 °C, 25 K more at work, 8 K of them at once, six
# minutes; and how far from it one may be, against 0.2 K of noise.
FIRST: Final = (-1_000 * THETA_ONE, -2_600 * THETA_ONE, 2_000 * THETA_ONE, 8_000 * THETA_ONE)
PRIOR: Final = (64 * FINE, 64 * FINE, 64 * FINE, 1024 * FINE)
MIN_WINDOWS: Final = 10  # after something happened
MOVED_PM: Final = 100  # something happens: a tenth of all work begins or ends,
STIRRED: Final = 20  # and for so many windows a case answers
OTHERS_MC: Final = 1_000  # a leap that the model didn't expect, while work went on as before: somebody else's heat
QUIET_SHARE: Final = 8  # a quiet window moves the surroundings by this part of what was not expected
LEAP_SHARE: Final = 2  # … and a leap by this part
CERTAIN: Final = FINE // 4  # variance of a forecast rise in a window, of that of one window's noise
SLOWEST: Final = 240  # windows: no case takes longer than two hours
MAX_GAIN_MC: Final = 90_000
MAX_COUNT: Final = 1_000_000
HORIZON_WINDOWS: Final = 480  # four hours: farther no forecast is worth anything

Row = tuple[int, int, int, int]


def _prior() -> tuple[Row, Row, Row, Row]:
    a, b, c, d = PRIOR
    return (a, 0, 0, 0), (0, b, 0, 0), (0, 0, c, 0), (0, 0, 0, d)


@dataclass(frozen=True, slots=True)
class Window:
    """Sums of what was read since `since_ms`, weighted by time."""

    since_ms: int
    last_ms: int
    temp_mc_ms: int = 0
    work_pm_ms: int = 0

    @property
    def length_ms(self) -> int:
        """Time that the sums cover."""
        return self.last_ms - self.since_ms

    def add(self, temp_mc: int, work_pm: int, now_ms: int) -> Window:
        """One reading later."""
        gap_ms = now_ms - self.last_ms
        return Window(self.since_ms, now_ms, self.temp_mc_ms + temp_mc * gap_ms, self.work_pm_ms + work_pm * gap_ms)


@dataclass(frozen=True, slots=True)
class Mean:
    """A closed window."""

    middle_ms: int
    temp_mc: int
    work_pm: int


@dataclass(frozen=True, slots=True)
class Thermal:
    """What a device knows of its own heat. The default knows nothing."""

    theta: Row = FIRST
    covariance: tuple[Row, Row, Row, Row] = _prior()
    windows: int = 0
    open: Window | None = None
    before: Mean | None = None
    stirred: int = STIRRED  # windows that are still learned from; a device that just started has just changed its work

    def step(self, temp_mc: int, work_pm: int, now_ms: int) -> Thermal:
        """One reading later; `work_pm` is the share of all workers' time that guests used since the last one.

        A clock that jumped, in either direction, or a long silence only begins a new window.
        """
        window = self.open
        if window is None or not 0 <= now_ms - window.last_ms <= MAX_WINDOW_MS:
            return replace(self, open=Window(now_ms, now_ms), before=None)
        window = window.add(temp_mc, work_pm, now_ms)
        length_ms = window.length_ms
        if length_ms < WINDOW_MS:
            return replace(self, open=window)
        mean = Mean(window.since_ms + length_ms // 2, window.temp_mc_ms // length_ms, window.work_pm_ms // length_ms)
        after = replace(self, open=Window(now_ms, now_ms), before=mean)
        return after if self.before is None else after._learn(self.before, mean)

    def _learn(self, first: Mean, second: Mean) -> Thermal:
        """Recursive least squares over the step from one window to the next."""
        share = (second.middle_ms - first.middle_ms) * ONE // WINDOW_MS
        x = (
            share,
            share * (first.temp_mc - REFERENCE_MC) // SPAN_MC,
            share * first.work_pm // 1000,
            ONE * (second.work_pm - first.work_pm) // 1000,
        )
        seen = (second.temp_mc - first.temp_mc) * THETA_ONE
        surprise = seen - sum(self.theta[i] * x[i] for i in range(4)) // ONE
        stirred = max(0, self.stirred - 1)
        if abs(second.work_pm - first.work_pm) >= MOVED_PM:
            stirred = STIRRED
        else:
            leap = abs(surprise) >= OTHERS_MC * THETA_ONE and self.windows >= MIN_WINDOWS
            if leap or not stirred:
                follows = self.theta[0] + surprise // (LEAP_SHARE if leap else QUIET_SHARE)
                return replace(self, theta=(follows, *self.theta[1:]), stirred=stirred)
        theta, covariance = least_squares(self.theta, self.covariance, x, seen)
        windows = min(self.windows + 1, MAX_COUNT)
        return replace(self, theta=theta, covariance=covariance, windows=windows, stirred=stirred)

    # -- what it knows

    @property
    def known(self) -> bool:
        """Whether it has seen enough for something, and a device can be like that."""
        decay, gain = self._decay, self._gain
        return (
            self.windows >= MIN_WINDOWS
            and decay * SLOWEST >= ONE
            and decay < ONE
            and 0 <= gain <= MAX_GAIN_MC
            and self.direct_mc <= gain
        )

    def _knows(self, now: Now, work_pm: int) -> bool:
        """Whether the rise that it would forecast is certain: it has seen work like this at temperatures like that."""
        if not self.known:
            return False
        x = (ONE, ONE * (now.temp_mc - REFERENCE_MC) // SPAN_MC, ONE * work_pm // 1000, 0)
        px = [sum(row[j] * x[j] for j in range(4)) // ONE for row in self.covariance]
        return sum(px[i] * x[i] for i in range(4)) // ONE <= CERTAIN

    @property
    def _decay(self) -> int:
        """The part of the way to its end that the case goes in a window, of `ONE`."""
        return max(0, -self.theta[1]) * ONE // (SPAN_MC * THETA_ONE)

    @property
    def _gain(self) -> int:
        return self.theta[2] * ONE // (max(1, self._decay) * THETA_ONE)

    @property
    def time_constant_s(self) -> int:
        """Seconds in which the case goes 63 % of its way."""
        return WINDOW_MS * ONE // (max(1, self._decay) * 1000)

    @property
    def gain_mc(self) -> int:
        """How much hotter full work ends than rest."""
        return self._gain

    @property
    def direct_mc(self) -> int:
        """The part of it that comes within half a minute."""
        return max(0, self.theta[3]) // THETA_ONE

    @property
    def rest_mc(self) -> int:
        """Where the temperature ends without guests, as the surroundings are now."""
        return REFERENCE_MC + self.theta[0] * ONE // (max(1, self._decay) * THETA_ONE)

    # -- what it forecasts

    def settles_mc(self, work_pm: int) -> int | None:
        """Where the temperature ends at this work; None while that is not known."""
        if not self._knows(Now(REFERENCE_MC, work_pm), work_pm):
            return None
        return self.rest_mc + self._gain * work_pm // 1000

    def forecast(self, now: Now, work_pm: int, after_ms: int) -> int | None:
        """The temperature (m°C) after `after_ms` of this work; None while the model knows too little."""
        if not self._knows(now, work_pm):
            return None
        return self._at(now, work_pm, after_ms)

    def reaches_ms(self, now: Now, work_pm: int, limit_mc: int) -> int | None:
        """How long this work may go on below `limit_mc`, in steps of a window; 0 where it is reached at once.

        None when it is never reached within four hours, or when nobody knows.
        """
        if not self._knows(now, work_pm) or self._at(now, work_pm, HORIZON_WINDOWS * WINDOW_MS) < limit_mc:
            return None if now.temp_mc < limit_mc else 0
        low, high = 0, HORIZON_WINDOWS  # the way to an end is monotone
        while low < high:
            middle = (low + high) // 2
            if self._at(now, work_pm, middle * WINDOW_MS) >= limit_mc:
                high = middle
            else:
                low = middle + 1
        return max(0, low - 1) * WINDOW_MS

    def _at(self, now: Now, work_pm: int, after_ms: int) -> int:
        direct_mc = self.direct_mc
        case_mc = now.temp_mc - direct_mc * now.work_pm // 1000
        ends_mc = self.rest_mc + (self._gain - direct_mc) * work_pm // 1000
        left = power(ONE - self._decay, after_ms // WINDOW_MS)
        left -= left * self._decay // ONE * (after_ms % WINDOW_MS) // WINDOW_MS
        return ends_mc + (case_mc - ends_mc) * left // ONE + direct_mc * work_pm // 1000


@dataclass(frozen=True, slots=True)
class Now:
    """Where a forecast begins: the temperature, and the work that made it."""

    temp_mc: int
    work_pm: int


def power(base: int, exponent: int) -> int:
    """`base` (of `ONE`, at most `ONE`) to a whole power, by squaring."""
    result, exponent = ONE, min(exponent, HORIZON_WINDOWS)
    while exponent:
        if exponent & 1:
            result = result * base // ONE
        base = base * base // ONE
        exponent >>= 1
    return result


def least_squares(
    theta: Row, covariance: tuple[Row, Row, Row, Row], x: Row, seen: int
) -> tuple[Row, tuple[Row, Row, Row, Row]]:
    """One step: `seen` was observed where `x` (of `ONE`) was known. Estimates and covariances afterwards.

    Where forgetting would let the covariance grow beyond the prior's (nothing new is seen for long), nothing is
    forgotten; a covariance that rounding has spoiled begins again from the prior.
    """
    px = tuple(sum(row[j] * x[j] for j in range(4)) // ONE for row in covariance)
    variance = sum(px[i] * x[i] for i in range(4)) // ONE
    if variance < 0 or any(covariance[i][i] <= 0 for i in range(4)):
        return theta, _prior()
    scale = FORGET * FINE // ONE + variance
    error = seen - sum(theta[i] * x[i] for i in range(4)) // ONE
    estimates = tuple(theta[i] + px[i] * error // scale for i in range(4))
    rows = [[covariance[i][j] - px[i] * px[j] // scale for j in range(4)] for i in range(4)]
    if all(rows[i][i] * ONE // FORGET <= PRIOR[i] for i in range(4)):
        rows = [[value * ONE // FORGET for value in row] for row in rows]
    a, b, c, d = (_row(row) for row in rows)
    return _row(estimates), (a, b, c, d)


def _row(values: list[int] | tuple[int, ...]) -> Row:
    a, b, c, d = values
    return a, b, c, d
