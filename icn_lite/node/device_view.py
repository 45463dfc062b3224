"""What people and programs are shown of the device: allowance, limits, forecast, what was learned, the last hours."""

from __future__ import annotations

from icn_lite.device.demand import Allowance
from icn_lite.device.forecast import Forecast
from icn_lite.device.governor import GovernorState
from icn_lite.device.history import History
from icn_lite.device.limits import Limit, limits
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Reading, Readings
from icn_lite.node.care import Care
from icn_lite.node.control import Json


def care_view(profile: Profile, care: Care, now_ms: int) -> dict[str, Json]:
    """Everything of a running node's device; times are ages, because clocks jump."""
    rows = limits(profile, care.state, care.readings)
    return {
        **allowance_view(profile, care.allowance, rows),
        "forecast": _forecast(care.forecast()),
        "learned": _learned(care.state),
        "readings": readings_view(care.readings),
        "history": _history(care.history, now_ms),
    }


def allowance_view(profile: Profile, allowance: Allowance, rows: tuple[Limit, ...]) -> dict[str, Json]:
    """What may happen, why, and what it waits for."""
    return {
        "profile": profile.name,
        "allowance": allowance.level.value,
        "duty_pm": allowance.duty_pm,
        "may_bid": allowance.may_bid,
        "reasons": list(allowance.reasons),
        "wants": [row.wants for row in rows if row.wants] if not allowance.may_bid else [],
        "limits": [_limit(row) for row in rows],
    }


def readings_view(readings: Readings) -> list[Json]:
    """Every reading with its source, age, and why it is unknown."""
    return [_reading(reading) for reading in readings.items]


def _reading(reading: Reading) -> dict[str, Json]:
    return {
        "name": reading.quantity.value,
        "value": reading.value,
        "unit": reading.unit,
        "source": reading.source,
        "age_ms": reading.age_ms,
        "unknown": reading.why_unknown or None,
    }


def _limit(row: Limit) -> dict[str, Json]:
    return {
        "name": row.name,
        "unit": row.unit,
        "reading": row.reading,
        "unknown": row.why_unknown or None,
        "threshold": row.threshold,
        "resume": row.resume,
        "headroom": row.headroom,
        "forecast": row.forecast,
        "standing": row.standing.value,
        "wants": row.wants or None,
    }


def _forecast(found: Forecast) -> dict[str, Json]:
    return {
        "duty_pm": found.duty_pm,
        "lasts_ms": found.lasts_ms,
        "later_pm": found.later_pm,
        "work_ms": found.work_ms,
        "why": found.why or None,
        "reserve_mj": found.reserve_mj,
        "energy_mj_per_gfuel": found.energy_mj_per_gfuel,
    }


def _learned(state: GovernorState) -> dict[str, Json]:
    thermal = state.learned.thermal
    known = thermal.known
    return {
        "windows": thermal.windows,
        "time_constant_s": thermal.time_constant_s if known else None,
        "gain_mc": thermal.gain_mc if known else None,
        "direct_mc": thermal.direct_mc if known else None,
        "rest_mc": thermal.rest_mc if known else None,
        "work_mw": state.learned.energy.work_mw,
    }


def _history(history: History, now_ms: int) -> list[Json]:
    return [
        {
            "age_s": max(0, now_ms - sample.at_ms) // 1000,
            "allowance": sample.level.value,
            "duty_pm": sample.duty_pm,
            "temp_mc": sample.temp_mc,
            "charge_pct": sample.charge_pct,
        }
        for sample in history.samples()
    ]
