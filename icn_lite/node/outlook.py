"""What the market is told of the device: prices from its profile, headroom from its allowance and its readings."""

from __future__ import annotations

from icn_lite.device.governor import Allowance
from icn_lite.device.headroom import headroom_pm
from icn_lite.device.profile import PricePolicy, Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.market.price import Prices
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
    """The device at this moment."""
    charge_pct = readings.get(Quantity.BATTERY_PCT).value
    return Outlook(profile.prior.energy_mj_per_gfuel, headroom_pm(profile.battery, allowance.duty_pm, charge_pct))
