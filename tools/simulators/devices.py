"""Simulated devices of a market: shipped profiles, a day of charging and weather, and people who pull plugs.

Everything that a device decides comes from the node's own code: its capability from its profile, its bid from
`work.bidding`. Here stand only what hardware and people do: when a phone is plugged in, how warm a board's corner is,
how fast a device really is, whether it lies. Physics uses floats from a seeded generator; decisions get integers.
"""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Final

from icn_lite.device.catalogue import load_profile
from icn_lite.device.headroom import headroom_pm
from icn_lite.device.profile import Profile
from icn_lite.market.endurance import Reserve
from icn_lite.market.price import PM
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.did import Did
from icn_lite.model.job import Architecture
from icn_lite.node.outlook import prices_of
from icn_lite.work.bidding import BidderView, Outlook

HOUR_MS: Final = 3_600_000
DAY_MS: Final = 24 * HOUR_MS
MAX_OPEN_SHARDS: Final = 128  # as a node holds at most

# Share of the cooperative, battery in Wh (0: none). Boards and old phones are the most of it.
MIX: Final[tuple[tuple[str, int, float], ...]] = (
    ("pi-zero-2w", 10, 0),
    ("pi-3", 15, 0),
    ("pi-4", 20, 0),
    ("pi-5", 10, 0),
    ("orange-pi", 5, 0),
    ("generic-arm64", 5, 0),
    ("generic-armv7", 5, 0),
    ("termux-phone", 15, 15.0),
    ("termux-old-phone", 10, 9.0),
    ("x86-laptop", 4, 50.0),
    ("server", 1, 0),
)
HOT_DUTY_PM: Final = 400  # what a board in the sun keeps of its duty
CHARGER_W: Final = 8.0
RESTING_W: Final = 0.35  # of a phone in a pocket
CHEAT_SHARE: Final = 0.02  # devices whose results are wrong: a broken memory cell or an owner who lies
MS_PER_H: Final = 3_600_000


@dataclass(slots=True)
class Device:
    """One device: what it is, and its state at `at_ms`."""

    did: Did
    profile: Profile
    capability: NodeCapability
    true_rate: int  # fuel a second of one worker; what it advertises was measured on a good day
    battery_wh: float
    plugged: tuple[tuple[int, int], ...]  # from, until
    hot_hours: tuple[int, int]  # a board in the sun
    cheats: bool
    charge_wh: float = 0.0
    at_ms: int = 0
    free_at_ms: list[int] = field(default_factory=list)  # when each worker is done with what it holds
    open_shards: int = 0
    earned: int = 0
    reputation_ppm: int = 500_000
    busy_ms: int = 0
    work_mj: int = 0

    def is_plugged(self, now_ms: int) -> bool:
        """Whether a charger is connected; without a battery always."""
        return not self.battery_wh or any(start <= now_ms < end for start, end in self.plugged)

    def unplugged_at(self, now_ms: int) -> int | None:
        """When the charger goes, if it is connected and ever goes."""
        return next((end for start, end in self.plugged if start <= now_ms < end), None) if self.battery_wh else None

    def drain_mj(self, millijoules: int) -> None:
        """Energy that work takes from the battery."""
        self.work_mj += millijoules
        if self.battery_wh:
            self.charge_wh = max(0.0, self.charge_wh - millijoules / 3.6e6)

    def advance(self, now_ms: int) -> None:
        """Charge and rest until `now_ms`."""
        hours = (now_ms - self.at_ms) / MS_PER_H
        self.at_ms = now_ms
        if self.battery_wh and hours > 0:
            watts = CHARGER_W - RESTING_W if self.is_plugged(now_ms) else -RESTING_W
            self.charge_wh = min(self.battery_wh, max(0.0, self.charge_wh + watts * hours))

    @property
    def charge_pct(self) -> int | None:
        """Charge in whole percent."""
        return int(self.charge_wh * 100 / self.battery_wh) if self.battery_wh else None

    def duty_pm(self, now_ms: int) -> int:
        """What heat leaves of the duty."""
        hour = now_ms // HOUR_MS % 24
        start, end = self.hot_hours
        return HOT_DUTY_PM if start <= hour < end else PM

    def view(self, now_ms: int, nonce: bytes) -> BidderView:
        """What the device knows of itself when a job is announced."""
        self.advance(now_ms)
        duty_pm, pct, battery = self.duty_pm(now_ms), self.charge_pct, self.profile.battery
        allowance = AllowanceLevel.RUN if duty_pm == PM else AllowanceLevel.SLOW
        reserve = Reserve()
        if pct is not None:
            if pct <= battery.floor_pct:
                allowance = AllowanceLevel.SUSPEND
            elif battery.only_when_charging and not self.is_plugged(now_ms):
                allowance = AllowanceLevel.DRAIN
            if not self.is_plugged(now_ms):
                above_wh = self.charge_wh - self.battery_wh * battery.floor_pct / 100
                reserve = Reserve(energy_mj=max(0, int(above_wh * 3.6e6)))
        return BidderView(
            did=self.did,
            capability=replace(self.capability, allowance=allowance, duty_pm=duty_pm, battery_pct=pct),
            prices=prices_of(self.profile.price),
            outlook=Outlook(self.profile.prior.energy_mj_per_gfuel, headroom_pm(battery, duty_pm, pct), reserve),
            nonce=nonce,
            now_s=now_ms // 1000,
            open_shards=min(self.open_shards, MAX_OPEN_SHARDS),
            max_open_shards=MAX_OPEN_SHARDS,
            max_output_bytes=self.profile.guest.output_bytes,
        )


def make_devices(count: int, rng: random.Random) -> list[Device]:
    """`count` devices of mixed profiles; the same for the same generator."""
    profiles = {name: load_profile(name) for name, _, _ in MIX}
    weights = [share for _, share, _ in MIX]
    return [_make(number, profiles, rng.choices(MIX, weights)[0], rng) for number in range(count)]


def _make(number: int, profiles: dict[str, Profile], kind: tuple[str, int, float], rng: random.Random) -> Device:
    name, _, battery_wh = kind
    profile = profiles[name]
    workers = profile.guest.workers
    rate = profile.prior.fuel_per_s
    capability = NodeCapability(
        profile=name,
        roles=(NodeRole.EXECUTE,),
        architecture=Architecture.ARM64,
        cpu_cores=4,
        memory_mb=profile.guest.memory_pages // 16,
        max_pages=profile.guest.memory_pages,
        workers=workers,
        fuel_per_s=rate,
        timeout_ms=profile.guest.timeout_s * 1000,
    )
    noon = rng.randrange(10, 15)
    return Device(
        did=Did(number.to_bytes(32, "big")),
        profile=profile,
        capability=capability,
        true_rate=max(1, int(rate * rng.uniform(0.6, 1.1))),
        battery_wh=battery_wh,
        plugged=_plugged(rng),
        hot_hours=(noon, noon + rng.randrange(1, 5)) if rng.random() < 0.3 else (0, 0),
        cheats=rng.random() < CHEAT_SHARE,
        charge_wh=battery_wh * rng.uniform(0.3, 1.0),
        free_at_ms=[0] * workers,
    )


def _plugged(rng: random.Random) -> tuple[tuple[int, int], ...]:
    """A night at the charger, and for some an hour or two by day."""
    evening, morning = rng.uniform(20, 23.9), rng.uniform(5.5, 9)
    spans = [(0.0, morning), (evening, 24.0)]
    if rng.random() < 0.5:
        start = rng.uniform(9, 18)
        spans.append((start, start + rng.uniform(0.5, 2.5)))
    return tuple((int(start * HOUR_MS), int(end * HOUR_MS)) for start, end in spans)
