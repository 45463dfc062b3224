"""What the market is told of the device: prices from its profile, headroom from its allowance and its readings."""

from __future__ import annotations

from icn_lite.device.governor import Allowance
from icn_lite.device.profile import PricePolicy, Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.market.price import PM, Prices
from icn_lite.work.bidding import Outlook


def prices_of(policy: PricePolicy) -> Prices:
    """A profile's prices, as the market takes them."""
    return Prices(
        base=policy.base_mana,
        energy_per_kwh=policy.energy_mana_per_kwh,
        wear_per_hour=policy.wear_mana_per_hour,
        opportunity_per_hour=policy.opportunity_mana_per_hour,
        margin_pm=policy.margin_pm,
        surge_pm=policy.surge_pm,
    )


def outlook_of(profile: Profile, allowance: Allowance, readings: Readings) -> Outlook:
    """The device at this moment.

    Headroom is the least of the duty that heat leaves and of the charge above the battery's floor. A device without a
    battery, or on mains with one that can't be read, has all of it.
    """
    headroom_pm = allowance.duty_pm
    pct = readings.get(Quantity.BATTERY_PCT).value
    if pct is not None:
        floor = profile.battery.floor_pct
        headroom_pm = min(headroom_pm, max(0, pct - floor) * PM // max(1, 100 - floor))
    return Outlook(profile.prior.energy_mj_per_gfuel, headroom_pm)
