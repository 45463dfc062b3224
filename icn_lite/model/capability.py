"""What a node can do and offers: `NodeCapability` of `rfc-planetary-mesh.md` §4.4.

Its fields answer those of `ExecutionPolicy` and `ComputeRequirements` one by one, so that a job can be matched
without asking.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Annotated, TypeAlias

from icn_lite.model.cid import Cid
from icn_lite.model.job import Architecture
from icn_lite.model.schema import MaxLen, Range
from icn_lite.model.units import DurationMs, Name, Pages, Region


class NodeRole(Enum):
    """What a node does for others; a node may have several roles."""

    EXECUTE = "execute"
    SUBMIT = "submit"
    BRIDGE = "bridge"


class AllowanceLevel(Enum):
    """How much of itself the device lends now (`DESIGN.md` "Power and heat")."""

    RUN = "run"
    SLOW = "slow"
    DRAIN = "drain"
    SUSPEND = "suspend"


FuelRate: TypeAlias = Annotated[int, Range(0, 1 << 50)]


@dataclass(frozen=True, slots=True)
class NodeCapability:
    """Capabilities as advertised; `fuel_per_s` is measured or, before the first run, the profile's prior."""

    profile: Name
    roles: Annotated[tuple[NodeRole, ...], MaxLen(8)]
    architecture: Architecture
    cpu_cores: Annotated[int, Range(1, 4096)]
    memory_mb: Annotated[int, Range(1, 1 << 24)]
    max_pages: Pages
    workers: Annotated[int, Range(0, 256)]
    fuel_per_s: FuelRate
    runtimes: Annotated[tuple[Name, ...], MaxLen(8)] = ("WASM",)
    engines: Annotated[tuple[Name, ...], MaxLen(8)] = ("wasm3",)
    meters: Annotated[tuple[Name, ...], MaxLen(8)] = ()
    region: Region | None = None
    trust_scopes: Annotated[tuple[Name, ...], MaxLen(16)] = ()
    allowance: AllowanceLevel = AllowanceLevel.RUN
    duty_pm: Annotated[int, Range(0, 1000)] = 1000
    battery_pct: Annotated[int, Range(0, 100)] | None = None
    timeout_ms: DurationMs = 600_000
    benchmark: Cid | None = None  # the receipt of the standard benchmark, which anyone can run again
