"""What this node offers, from its profile, its configuration and its state right now."""

from __future__ import annotations

import os
import platform
from typing import Final

from icn_lite.device.governor import Allowance
from icn_lite.device.profile import Profile
from icn_lite.device.reading import Quantity, Readings
from icn_lite.model.capability import AllowanceLevel, NodeCapability, NodeRole
from icn_lite.model.job import Architecture
from icn_lite.node.calibration import Calibration
from icn_lite.node.config import Config
from icn_lite.wasm.limits import PAGE_BYTES
from icn_lite.wasm.prepared import METER

_ARCHITECTURES: Final = {
    "x86_64": Architecture.X86_64,
    "amd64": Architecture.X86_64,
    "aarch64": Architecture.ARM64,
    "arm64": Architecture.ARM64,
    "armv7l": Architecture.ARMV7,
    "armv8l": Architecture.ARMV7,
    "riscv64": Architecture.RISCV64,
}


def workers(profile: Profile, config: Config) -> int:
    """Guests that run at once: what the configuration or the profile says, no more than there are processors."""
    return min(config.workers or profile.guest.workers, os.cpu_count() or 1)


def describe(
    profile: Profile, config: Config, allowance: Allowance, readings: Readings, fuel: FuelMeter
) -> NodeCapability:
    """The capability to advertise."""
    pages = profile.guest.memory_pages
    return NodeCapability(
        profile=profile.name,
        roles=(*(NodeRole(role.value) for role in config.roles), *((NodeRole.BRIDGE,) if config.upstreams else ())),
        architecture=_ARCHITECTURES.get(platform.machine().lower(), Architecture.ARMV7),
        cpu_cores=os.cpu_count() or 1,
        memory_mb=max(1, pages * PAGE_BYTES >> 20),
        max_pages=pages,
        workers=workers(profile, config),
        fuel_per_s=fuel.fuel_per_s,
        engines=(config.engine.value,),
        meters=(METER,),
        region=config.region,
        trust_scopes=config.trust_scopes,
        allowance=AllowanceLevel(allowance.level.value),
        duty_pm=allowance.duty_pm,
        battery_pct=readings.get(Quantity.BATTERY_PCT).value,
        timeout_ms=profile.guest.timeout_s * 1000,
        benchmark=fuel.benchmark,
    )


class FuelMeter:
    """Measured fuel a second of one worker: a calibration or the profile's prior first, then a mean over runs.

    A prior is forgotten with the first long enough run; a calibration was measured, and so is one of what the mean
    is taken over. `benchmark` is its receipt.
    """

    MIN_CPU_MS: Final = 50  # a shorter run tells about start-up and not about speed
    WEIGHT: Final = 4  # of the old mean against one new run

    def __init__(self, prior_per_s: int, calibration: Calibration | None = None) -> None:
        self.fuel_per_s = prior_per_s if calibration is None else calibration.fuel_per_s
        self.benchmark = None if calibration is None else calibration.benchmark
        self._measured = calibration is not None

    def ran(self, fuel_used: int, cpu_ms: int) -> None:
        """A run ended."""
        if cpu_ms < self.MIN_CPU_MS:
            return
        rate = fuel_used * 1000 // cpu_ms
        self.fuel_per_s = (self.fuel_per_s * self.WEIGHT + rate) // (self.WEIGHT + 1) if self._measured else rate
        self._measured = True
