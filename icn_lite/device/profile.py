"""A firmware profile: what a kind of device may lend, as data.

`parse_profile` turns the text of one `firmware_profiles/*.toml` into a frozen `Profile`. It promises: every key is
known, of the right type and in its range; every limit stands on the right side of its resume value; anything else is a
`ProfileError` with the line and the reason. It reads nothing and asks nothing (finding files is `catalogue`).

Keys with their units and ranges are the rows of `SECTIONS`; `firmware_profiles/README.md` explains them, and a test
holds the two together. `[wasm]` is a plain mapping of names to numbers: those are the structural limits of the room
`wasm`, which this room may not import, so that the node checks the names when it applies them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

from icn_lite.device.profile_text import Key, Order, Section, Table, read_tables

Expected = Literal["yes", "no", "detect"]
Metered = Literal["allow", "avoid", "never"]

_C: Final = (-20, 120)  # whole °C: what a thermal limit can sensibly be
_PCT: Final = (0, 100)
_PM: Final = (0, 1000)
_DAY_S: Final = (0, 86_400)


@dataclass(frozen=True, slots=True)
class Match:
    """Which devices the profile is for; every pattern is a shell pattern, every empty tuple says nothing."""

    rank: int  # of the profiles that match, the highest rank wins
    device_tree_models: tuple[str, ...]
    termux: bool
    dmi_chassis_types: tuple[int, ...]
    machines: tuple[str, ...]  # `uname -m`
    memory_mib_max: int | None  # matches only devices with at most this much memory


@dataclass(frozen=True, slots=True)
class GuestPolicy:
    """What guests get."""

    memory_pages: int  # of 64 KiB
    workers: int  # guests at a time; the node takes no more than there are processors
    timeout_s: int  # wall time of one run
    output_bytes: int  # a job that wants more is declined
    log_bytes: int  # what is past it is cut, being no part of a result
    host_calls: int  # a run that makes more fails here, and may go on elsewhere


@dataclass(frozen=True, slots=True)
class ThermalPolicy:
    """Limits of the hottest processor sensor. Held under `soft_c` by a duty cycle, suspended from `hard_c`."""

    soft_c: int
    soft_resume_c: int
    hard_c: int
    hard_resume_c: int
    unknown_duty_pm: int  # duty while no temperature can be read; 0 suspends
    dwell_s: int  # how long a stricter allowance lasts at least
    sensors: tuple[str, ...]  # patterns of zones or chips in order of preference; empty: the hottest processor sensor


@dataclass(frozen=True, slots=True)
class BatteryPolicy:
    """Limits of the battery, for devices that have one."""

    expected: Expected  # "yes": an unreadable battery is a reason to stop; "no": only one that is seen counts
    floor_pct: int
    resume_pct: int
    only_when_charging: bool
    hot_c: int
    hot_resume_c: int
    charged_pct: int  # until then the charge comes first
    charge_loss_pm: int  # of the charging current: what guests may take


@dataclass(frozen=True, slots=True)
class HoursPolicy:
    """When the device is left alone."""

    quiet: tuple[tuple[int, int], ...]  # minutes of the local day: from, and until (past midnight if smaller)

    def texts(self) -> tuple[str, ...]:
        """The spans as the file writes them."""
        return tuple(f"{start // 60:02}:{start % 60:02}-{end // 60:02}:{end % 60:02}" for start, end in self.quiet)

    def is_quiet(self, minute: int) -> bool:
        """Whether this minute of the local day lies in a quiet span; the last minute of a span does not."""
        return any(
            start <= minute < end if start < end else minute >= start or minute < end for start, end in self.quiet
        )


@dataclass(frozen=True, slots=True)
class NetworkPolicy:
    """Over which network work may be taken."""

    metered: Metered  # "avoid": not while it is known to be metered; "never": not unless it is known not to be
    wifi_only: bool  # Wi-Fi or a cable, never mobile data; unknown counts as mobile data


@dataclass(frozen=True, slots=True)
class ActivityPolicy:
    """What is left to the device's user and to other programs."""

    idle_s: int  # in use until nobody has touched it for so long; 0: being used doesn't matter
    busy_pm: int  # load of others from which the device is busy; 1000: it doesn't matter
    busy_resume_pm: int
    duty_pm: int  # duty of guests while it is in use or busy; 0 suspends


@dataclass(frozen=True, slots=True)
class PricePolicy:
    """What a bid asks for; an hour is one of a worker at work."""

    base_mana: int  # for a job, whatever it costs
    energy_mana_per_kwh: int
    wear_mana_per_hour: int
    opportunity_mana_per_hour: int
    margin_pm: int
    surge_pm: int  # the surcharge of a device that has nothing left


@dataclass(frozen=True, slots=True)
class Prior:
    """What is believed of the device until it is measured."""

    fuel_per_s: int
    energy_mj_per_gfuel: int  # above what the device uses at rest


@dataclass(frozen=True, slots=True)
class Profile:
    """One kind of device."""

    name: str
    title: str
    match: Match
    guest: GuestPolicy
    wasm: Mapping[str, int]
    thermal: ThermalPolicy
    battery: BatteryPolicy
    hours: HoursPolicy
    network: NetworkPolicy
    activity: ActivityPolicy
    price: PricePolicy
    prior: Prior


SECTIONS: Final[tuple[Section, ...]] = (
    Section("", (Key("title", "text", "one line for people"),)),
    Section(
        "match",
        (
            Key("rank", "int", "priority among the profiles that match", (0, 1000)),
            Key("device_tree_models", "texts", "patterns for /proc/device-tree/model", optional=True),
            Key("termux", "bool", "Termux on Android", optional=True),
            Key("dmi_chassis_types", "ints", "SMBIOS chassis types (8-14, 30-32: portable)", (1, 36), optional=True),
            Key("machines", "texts", "patterns for `uname -m`", optional=True),
            Key("memory_mib_max", "int", "MiB; only devices with at most this much", (64, 1 << 20), optional=True),
        ),
    ),
    Section(
        "guest",
        (
            Key("memory_pages", "int", "pages of 64 KiB a guest may have", (1, 65536)),
            Key("workers", "int", "guests running at a time", (1, 64)),
            Key("timeout_s", "int", "s of wall time a run may take", (1, 86_400)),
            Key("output_bytes", "int", "bytes of output a run may leave", (1024, 64 << 20)),
            Key("log_bytes", "int", "bytes of log that are kept of a run", (0, 1 << 20)),
            Key("host_calls", "int", "host calls a run may make: 400 bytes each until it ends", (1000, 250_000)),
        ),
    ),
    Section("wasm", (Key("*", "int", "structural limits of the validator", (0, (1 << 32) - 1), optional=True),)),
    Section(
        "thermal",
        (
            Key("soft_c", "int", "°C under which guests are held by a duty cycle", _C),
            Key("soft_resume_c", "int", "°C at which they run at full speed again", _C),
            Key("hard_c", "int", "°C at which guests are suspended", _C),
            Key("hard_resume_c", "int", "°C at which they run slowly again", _C),
            Key("unknown_duty_pm", "int", "‰ of duty while the temperature is unknown; 0 suspends", _PM),
            Key("dwell_s", "int", "s that a stricter allowance lasts at least", (0, 3600)),
            Key("sensors", "texts", "patterns of thermal zones or hwmon chips, the preferred first", optional=True),
        ),
    ),
    Section(
        "battery",
        (
            Key("expected", "choice", "whether the device has one", choices=("yes", "no", "detect")),
            Key("floor_pct", "int", "% at which guests are suspended", _PCT),
            Key("resume_pct", "int", "% from which they run again", _PCT),
            Key("only_when_charging", "bool", "take no new work on battery"),
            Key("hot_c", "int", "°C of the battery at which guests are suspended", _C),
            Key("hot_resume_c", "int", "°C of the battery at which they run again", _C),
            Key("charged_pct", "int", "% until which charging comes first", _PCT),
            Key("charge_loss_pm", "int", "‰ of the charging current that guests may take until then", _PM),
        ),
    ),
    Section(
        "hours",
        (Key("quiet", "spans", 'spans of the local day without guests, like "22:00-07:00"'),),
    ),
    Section(
        "network",
        (
            Key("metered", "choice", "work over a metered network", choices=("allow", "avoid", "never")),
            Key("wifi_only", "bool", "take work over Wi-Fi or a cable only, never over mobile data"),
        ),
    ),
    Section(
        "activity",
        (
            Key("idle_s", "int", "s without its user after which a device is not in use; 0: use is no matter", _DAY_S),
            Key("busy_pm", "int", "‰ of all processors used by others: busy; 1000: no matter", (1, 1000)),
            Key("busy_resume_pm", "int", "‰ used by others from which down it is not busy any more", (0, 999)),
            Key("duty_pm", "int", "‰ of duty while it is in use or busy; 0 suspends", _PM),
        ),
    ),
    Section(
        "price",
        (
            Key("base_mana", "int", "mana for a job, whatever it costs", (0, 1 << 40)),
            Key("energy_mana_per_kwh", "int", "mana for a kWh", (0, 1 << 40)),
            Key("wear_mana_per_hour", "int", "mana an hour of one worker: wear", (0, 1 << 40)),
            Key("opportunity_mana_per_hour", "int", "mana an hour of one worker: what its owner forgoes", (0, 1 << 40)),
            Key("margin_pm", "int", "‰ on top of the costs", (0, 100_000)),
            Key("surge_pm", "int", "‰ that a device without headroom asks more", (0, 100_000)),
        ),
    ),
    Section(
        "prior",
        (
            Key("fuel_per_s", "int", "fuel a second until it is measured", (1, 1 << 48)),
            Key("energy_mj_per_gfuel", "int", "mJ for 10^9 fuel until it is measured", (0, 1 << 32)),
        ),
    ),
)

ORDERS: Final = (
    Order("thermal", "soft_resume_c", "soft_c"),
    Order("thermal", "hard_resume_c", "hard_c"),
    Order("thermal", "soft_c", "hard_c"),
    Order("battery", "hot_resume_c", "hot_c"),
    Order("battery", "floor_pct", "resume_pct"),
    Order("activity", "busy_resume_pm", "busy_pm"),
)


def parse_profile(text: str, name: str) -> Profile:
    """The profile that `text` describes; `name` is its file's name without `.toml`. Raises `ProfileError`."""
    tables = read_tables(text, name, SECTIONS, ORDERS)
    return Profile(
        name=name,
        title=tables[""].text("title"),
        match=_match(tables["match"]),
        guest=_guest(tables["guest"]),
        wasm=MappingProxyType(tables["wasm"].ints()),
        thermal=_thermal(tables["thermal"]),
        battery=_battery(tables["battery"]),
        hours=HoursPolicy(tables["hours"].spans("quiet")),
        network=_network(tables["network"]),
        activity=_activity(tables["activity"]),
        price=_price(tables["price"]),
        prior=Prior(tables["prior"].int("fuel_per_s"), tables["prior"].int("energy_mj_per_gfuel")),
    )


def _match(t: Table) -> Match:
    return Match(
        rank=t.int("rank"),
        device_tree_models=t.texts("device_tree_models"),
        termux=t.flag("termux"),
        dmi_chassis_types=t.numbers("dmi_chassis_types"),
        machines=t.texts("machines"),
        memory_mib_max=t.int("memory_mib_max") if "memory_mib_max" in t else None,
    )


def _guest(t: Table) -> GuestPolicy:
    return GuestPolicy(
        memory_pages=t.int("memory_pages"),
        workers=t.int("workers"),
        timeout_s=t.int("timeout_s"),
        output_bytes=t.int("output_bytes"),
        log_bytes=t.int("log_bytes"),
        host_calls=t.int("host_calls"),
    )


def _thermal(t: Table) -> ThermalPolicy:
    return ThermalPolicy(
        soft_c=t.int("soft_c"),
        soft_resume_c=t.int("soft_resume_c"),
        hard_c=t.int("hard_c"),
        hard_resume_c=t.int("hard_resume_c"),
        unknown_duty_pm=t.int("unknown_duty_pm"),
        dwell_s=t.int("dwell_s"),
        sensors=t.texts("sensors"),
    )


def _battery(t: Table) -> BatteryPolicy:
    expected: dict[str, Expected] = {"yes": "yes", "no": "no", "detect": "detect"}
    return BatteryPolicy(
        expected=expected[t.text("expected")],
        floor_pct=t.int("floor_pct"),
        resume_pct=t.int("resume_pct"),
        only_when_charging=t.flag("only_when_charging"),
        hot_c=t.int("hot_c"),
        hot_resume_c=t.int("hot_resume_c"),
        charged_pct=t.int("charged_pct"),
        charge_loss_pm=t.int("charge_loss_pm"),
    )


def _network(t: Table) -> NetworkPolicy:
    metered: dict[str, Metered] = {"allow": "allow", "avoid": "avoid", "never": "never"}
    return NetworkPolicy(metered=metered[t.text("metered")], wifi_only=t.flag("wifi_only"))


def _activity(t: Table) -> ActivityPolicy:
    return ActivityPolicy(
        idle_s=t.int("idle_s"),
        busy_pm=t.int("busy_pm"),
        busy_resume_pm=t.int("busy_resume_pm"),
        duty_pm=t.int("duty_pm"),
    )


def _price(t: Table) -> PricePolicy:
    return PricePolicy(
        base_mana=t.int("base_mana"),
        energy_mana_per_kwh=t.int("energy_mana_per_kwh"),
        wear_mana_per_hour=t.int("wear_mana_per_hour"),
        opportunity_mana_per_hour=t.int("opportunity_mana_per_hour"),
        margin_pm=t.int("margin_pm"),
        surge_pm=t.int("surge_pm"),
    )
