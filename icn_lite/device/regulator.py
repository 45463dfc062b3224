"""Holds a temperature under a limit by the duty of guests: a PI controller in its velocity form, in integers.

    change of duty = -KP · (rise since the last step) + KI · (room under the target) · time

The first part brakes while the temperature still rises, so that it does not overshoot; the second one settles where
heat in equals heat out, whatever the case, the room or the sun. In the velocity form nothing winds up: a duty that is
full stays full until the rise says otherwise. Gains are for parts that answer within seconds (a chip) or minutes (a
battery); with a gain of 3 to 30 K between no work and full work the loop is stable for both (`tools/sim_device`).

Units: thousandths of a degree (mc), parts per million of time (ppm), milliseconds. Everything is an integer, so that
the same readings give the same duty on every device.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

FULL_PPM: Final = 1_000_000
MAX_GAP_MS: Final = 30_000  # after a longer pause the last temperature says nothing about the rise
SMOOTHING_MS: Final = 3_000  # time constant of the filter in front; sensors jitter by half a degree


@dataclass(frozen=True, slots=True)
class Gains:
    """`kp` in ppm of duty a kelvin of rise, `ki` in ppm a kelvin and second of room.

    With more than `far_mc` of room a rise is no reason to brake; with more than `free_mc` one may begin at full duty.
    """

    kp: int
    ki: int
    far_mc: int
    free_mc: int


# Finer steps would change the allowance with every hundredth of a degree and mean nothing.
DUTY_STEP_PM: Final = 10
# Below this a device is called slow, and stays so until it is cool: not every dip of the regulator is a change.
SLOW_BELOW_PM: Final = 950

CHIP: Final = Gains(kp=60_000, ki=2_500, far_mc=12_000, free_mc=12_000)
BATTERY: Final = Gains(kp=300_000, ki=1_000, far_mc=3_000, free_mc=4_000)


@dataclass(frozen=True, slots=True)
class Regulator:
    """The state between two steps."""

    duty_ppm: int = FULL_PPM
    temp_mc: int = 0  # filtered
    at_ms: int | None = None  # None before the first reading

    @property
    def duty_pm(self) -> int:
        """Duty in per mille, rounded down."""
        return self.duty_ppm // 1000

    def step(self, temp_mc: int, target_mc: int, now_ms: int, gains: Gains) -> Regulator:
        """One reading later."""
        gap_ms = 0 if self.at_ms is None else now_ms - self.at_ms
        if not 0 < gap_ms <= MAX_GAP_MS:
            first_ppm = FULL_PPM * (target_mc - temp_mc) // gains.free_mc
            return Regulator(max(0, min(FULL_PPM, first_ppm)), temp_mc, now_ms)
        filtered_mc = self.temp_mc + (temp_mc - self.temp_mc) * gap_ms // (gap_ms + SMOOTHING_MS)
        room_mc = target_mc - filtered_mc
        change = gains.ki * room_mc * gap_ms // 1_000_000
        if room_mc < gains.far_mc:
            change -= gains.kp * (filtered_mc - self.temp_mc) // 1000
        return Regulator(max(0, min(FULL_PPM, self.duty_ppm + change)), filtered_mc, now_ms)


def slow_duty_pm(regulator: Regulator) -> int:
    """The regulator's duty in the steps that an allowance has."""
    return regulator.duty_pm // DUTY_STEP_PM * DUTY_STEP_PM


def degrees(temp_mc: int) -> str:
    """Whole degrees, towards the sky: 78.2 reads as 79 when the limit is 79."""
    return f"{-(-temp_mc // 1000)} °C"
