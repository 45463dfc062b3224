"""What a device's care says, for people: the allowance, every limit in a row, what is expected, the last hours.

It draws from the document that a running node gives (`node/device_view.py`), so that people and programs see the same
numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Final

from icn_lite.cli.output import Json, Output

BLOCKS: Final = "▁▂▃▄▅▆▇█"
GAP: Final = " "
PLOT_COLUMNS: Final = 60  # fits a terminal of eighty with its labels
LEVELS: Final = {"run": "█", "slow": "▅", "drain": "▂", "suspend": "▁"}
DAY_MIN: Final = 1440


def tell(out: Output, device: Mapping[str, Json]) -> None:
    """All of it."""
    out.line(f"allowance  {device['allowance']}, {_per_cent(device['duty_pm'])} of the time")
    for reason in _texts(device["reasons"]):
        out.line(f"  because  {reason}")
    for want in _texts(device["wants"]):
        out.line(f"  work begins with {want}")
    out.line()
    columns = ["Limit", "Reading>", "Threshold>", "Resumes>", "Headroom>", "In 10 min>", "Stands"]
    out.table(columns, [_limit_row(row) for row in _rows(device["limits"])])
    _tell_forecast(out, device.get("forecast"))
    _tell_declined(out, _rows(device.get("declined")))
    plot(out, device)


def _tell_forecast(out: Output, forecast: Json) -> None:
    if not isinstance(forecast, dict):
        return
    facts = []
    if isinstance(forecast["lasts_ms"], int):
        later = _per_cent(forecast["later_pm"])
        facts.append(("heat", f"{later} of the time in {_span(forecast['lasts_ms'] // 1000)}, if work goes on"))
    if isinstance(forecast["work_ms"], int):
        facts.append(("ends", f"in {_span(forecast['work_ms'] // 1000)}, because of {forecast['why']}"))
    if isinstance(forecast["reserve_mj"], int):
        facts.append(("reserve", f"{forecast['reserve_mj'] // 1000} J above the battery's floor"))
    facts.append(("energy", f"{forecast['energy_mj_per_gfuel']} mJ for 10⁹ fuel"))
    out.line()
    out.facts(facts)


def _tell_declined(out: Output, declined: Sequence[Mapping[str, Json]]) -> None:
    """The last jobs that were not bid on, and why."""
    if declined:
        out.line()
        rows = [[str(row[key]) for key in ("job", "code", "message")] for row in declined]
        out.table(["No bid on", "Code", "Because"], rows)


def plot(out: Output, device: Mapping[str, Json]) -> None:
    """The last hours in three lines of blocks, the newest at the right; nothing before there are two samples."""
    samples = _rows(device.get("history"))
    if len(samples) < 2:
        return
    span_s = max(1, _int(samples[0]["age_s"]))
    out.line()
    out.line(f"the last {_span(span_s)}, the newest at the right")
    levels = _columns(samples, span_s, "allowance")
    out.line("allowance   " + "".join(LEVELS.get(str(value), GAP) for value in levels))
    for name, key, scale, unit in (("duty", "duty_pm", 10, "%"), ("processor", "temp_mc", 1000, "°C")):
        _curve(out, name, [_scaled(value, scale) for value in _columns(samples, span_s, key)], unit)
    _curve(out, "charge", [_scaled(value, 1) for value in _columns(samples, span_s, "charge_pct")], "%")


def _curve(out: Output, name: str, values: Sequence[int | None], unit: str) -> None:
    known = [value for value in values if value is not None]
    if not known:
        return
    low, high = min(known), max(known)
    step = max(1, high - low)
    shown = "".join(GAP if v is None else BLOCKS[(v - low) * (len(BLOCKS) - 1) // step] for v in values)
    out.line(f"{name:<11} {shown}  {low} to {high} {unit}" if low != high else f"{name:<11} {shown}  {low} {unit}")


def _columns(samples: Sequence[Mapping[str, Json]], span_s: int, key: str) -> list[Json]:
    """One value a column; a sample stands until the next one, because a level is kept when it changes."""
    columns: list[Json] = [None] * PLOT_COLUMNS
    for index, sample in enumerate(samples):
        until_s = _int(samples[index + 1]["age_s"]) if index + 1 < len(samples) else 0
        first = (span_s - _int(sample["age_s"])) * (PLOT_COLUMNS - 1) // span_s
        last = (span_s - until_s) * (PLOT_COLUMNS - 1) // span_s
        columns[max(0, first) : last + 1] = [sample[key]] * (last + 1 - max(0, first))
    return columns


def _limit_row(row: Mapping[str, Json]) -> list[str]:
    unit = str(row["unit"])
    values = [_shown(row[name], unit) for name in ("reading", "threshold", "resume")]
    if row["reading"] is None:
        values[0] = "unknown"
    same = row["threshold"] == row["resume"]
    headroom = row["headroom"]
    left = _shown(headroom, "s" if unit == "s" else "min left" if unit == "min" else unit)
    return [
        str(row["name"]),
        values[0],
        values[1],
        "" if same else values[2],
        left,
        _shown(row["forecast"], unit),
        str(row["standing"]) + (f": {row['unknown']}" if row["unknown"] else ""),
    ]


def _shown(value: Json, unit: str) -> str:
    if not isinstance(value, int):
        return ""
    if unit == "m°C":
        return f"{value / 1000:.1f} °C"
    if unit == "‰":
        return _per_cent(value)
    if unit == "bool":
        return "yes" if value > 0 else "no"
    if unit == "min":
        return f"{value % DAY_MIN // 60:02}:{value % 60:02}"
    return f"{value} {unit.removesuffix(' left')}"


def _per_cent(value: Json) -> str:
    return f"{_int(value) / 10:g} %"


def _span(seconds: int) -> str:
    if seconds < 120:
        return f"{seconds} s"
    return f"{seconds // 60} min" if seconds < 7_200 else f"{seconds // 3600} h {seconds // 60 % 60} min"


def _scaled(value: Json, scale: int) -> int | None:
    return value // scale if isinstance(value, int) else None


def _int(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _texts(value: Json) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else []


def _rows(value: Json) -> list[Mapping[str, Json]]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []
