"""What a lender owes those whose device it is: their hours, their network, their use of it, its weak supply. Pure.

- Hours: no guests in a quiet span of the local day; a device with such a span that doesn't know the time is quiet.
- Network: no new work where traffic costs, or over mobile data, as the profile says; what runs needs no network.
- Activity: while somebody uses the device, or other programs load it, guests get `duty_pm`. Both count where they can
  be known: many devices can't tell, and would never lend anything if that meant "in use". A load that was high when it
  was last seen stays high.
- Supply: while its voltage is too low or its firmware throttles, a device runs at a part of its duty, because more
  load makes either worse.
"""

from __future__ import annotations

from typing import Final

from icn_lite.device.demand import Demand, fetch_nothing, slow, suspend
from icn_lite.device.profile import ActivityPolicy, HoursPolicy, NetworkPolicy
from icn_lite.device.reading import Quantity, Reading, Readings

MAX_AGE_MS: Final = 120_000  # people, networks and minutes change within minutes
FALTERING_DUTY_PM: Final = 300  # what a weak supply or a throttled processor is asked for
MINUTES_A_DAY: Final = 24 * 60


def _fresh(readings: Readings, quantity: Quantity) -> Reading:
    return readings.get(quantity).unless_older(MAX_AGE_MS)


def hours(policy: HoursPolicy, readings: Readings) -> list[Demand]:
    """Quiet hours."""
    if not policy.quiet:
        return []
    minute = _fresh(readings, Quantity.LOCAL_MINUTE)
    if minute.value is None:
        return [suspend(f"it has quiet hours, and the time is unknown ({minute.why_unknown})")]
    if not policy.is_quiet(minute.value):
        return []
    return [suspend(f"quiet hours: it is {clock(minute.value)}, they end at {clock(_end(policy, minute.value))}")]


def quiet_in_min(policy: HoursPolicy, minute: int) -> int | None:
    """Minutes until the next quiet span begins; None without any, 0 inside one."""
    if not policy.quiet:
        return None
    if policy.is_quiet(minute):
        return 0
    return min((start - minute) % MINUTES_A_DAY for start, _ in policy.quiet)


def _end(policy: HoursPolicy, minute: int) -> int:
    """The first minute that is not quiet any more; spans may touch, and together cover the day."""
    for ahead in range(MINUTES_A_DAY):
        if not policy.is_quiet((minute + ahead) % MINUTES_A_DAY):
            return (minute + ahead) % MINUTES_A_DAY
    return minute


def clock(minute: int) -> str:
    """A minute of the day, as clocks show it."""
    return f"{minute // 60:02}:{minute % 60:02}"


def network(policy: NetworkPolicy, readings: Readings) -> list[Demand]:
    """Networks over which no work is taken."""
    demands = []
    metered, wifi = _fresh(readings, Quantity.METERED), _fresh(readings, Quantity.WIFI)
    if policy.metered != "allow" and metered.value == 1:
        demands.append(fetch_nothing("the network is metered, and its owner keeps work off such networks"))
    elif policy.metered == "never" and metered.value is None:
        demands.append(fetch_nothing(f"nobody knows whether the network is metered ({metered.why_unknown})"))
    if policy.wifi_only and wifi.value is None:
        demands.append(fetch_nothing(f"work only over Wi-Fi or a cable, and nobody can tell ({wifi.why_unknown})"))
    elif policy.wifi_only and wifi.value == 0:
        demands.append(fetch_nothing("work only over Wi-Fi or a cable, and there is none"))
    return demands


def activity(policy: ActivityPolicy, busy: bool, readings: Readings) -> tuple[bool, list[Demand]]:
    """The device's user and other programs; `busy` is whether those were too many at the step before."""
    demands = []
    idle, load = _fresh(readings, Quantity.USER_IDLE_S), _fresh(readings, Quantity.FOREIGN_LOAD_PM)
    if idle.value is not None and idle.value < policy.idle_s:  # whatever its age: it may have been touched since
        reason = f"in use {idle.value} s ago: guests have {policy.duty_pm} ‰ until {policy.idle_s} s have passed"
        demands.append(_part(policy.duty_pm, reason))
    if policy.busy_pm >= 1000:
        return False, demands
    if load.value is not None:
        busy = load.value >= policy.busy_pm or (busy and load.value > policy.busy_resume_pm)
    if busy:
        shown = "unknown" if load.value is None else f"{load.value} ‰"
        reason = f"other programs' load is {shown}: limit {policy.busy_pm} ‰, resumes at {policy.busy_resume_pm} ‰"
        demands.append(_part(policy.duty_pm, reason))
    return busy, demands


def supply(readings: Readings) -> list[Demand]:
    """A supply that falters."""
    demands = []
    if _fresh(readings, Quantity.UNDERVOLTAGE).value == 1:
        demands.append(slow(FALTERING_DUTY_PM, "the supply's voltage is too low"))
    if _fresh(readings, Quantity.THROTTLED).value == 1:
        demands.append(slow(FALTERING_DUTY_PM, "the firmware throttles the processor"))
    return demands


def _part(duty_pm: int, reason: str) -> Demand:
    return slow(duty_pm, reason) if duty_pm else suspend(reason)
