"""What the market is told of the device: prices from its profile, the rest from its forecast and its readings."""

from __future__ import annotations

from icn_lite.device import manners
from icn_lite.device.forecast import Forecast
from icn_lite.device.headroom import headroom_pm
from icn_lite.device.profile import PricePolicy, Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.market.endurance import Reserve
from icn_lite.market.price import Pace, Prices
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


def outlook_of(profile: Profile, forecast: Forecast, readings: Readings) -> Outlook:
    """The device at this moment and as far ahead as it sees.

    Free memory that nobody can read limits nothing: the sandbox bounds each guest anyway. A network that the profile
    keeps work off lets no byte through.
    """
    forbidden = manners.network(profile.network, readings)
    stands = forecast.duty_pm == 0
    reserve = Reserve(
        energy_mj=forecast.reserve_mj,
        work_ms=0 if stands else forecast.work_ms,
        memory_mib=readings.get(Quantity.MEMORY_AVAILABLE).value,
        transfer_bytes=0 if forbidden else None,
        why="guests stand still now" if stands else forecast.why,
    )
    return Outlook(
        energy_mj_per_gfuel=forecast.energy_mj_per_gfuel,
        headroom_pm=headroom_pm(profile.battery, forecast.duty_pm, readings.get(Quantity.BATTERY_PCT).value),
        reserve=reserve,
        pace=None if stands else Pace(forecast.duty_pm, forecast.lasts_ms, forecast.later_pm),
    )
