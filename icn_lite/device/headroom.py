"""How much of what a device lends is left: the figure that its prices rise by. Pure."""

from __future__ import annotations

from typing import Final

from icn_lite.device.profile import BatteryPolicy

FULL_PM: Final = 1000


def headroom_pm(policy: BatteryPolicy, duty_pm: int, charge_pct: int | None) -> int:
    """The least of the duty that heat leaves and of the charge above the battery's floor, in per mille.

    A device without a battery, or on mains with one that can't be read (`charge_pct` None), has all of its duty.
    """
    if charge_pct is None:
        return duty_pm
    above_pm = max(0, charge_pct - policy.floor_pct) * FULL_PM // max(1, 100 - policy.floor_pct)
    return min(duty_pm, above_pm)
