"""The sensors of this device, as its profile and its settings wish them, with the node's own processes left out."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from icn_lite import __version__
from icn_lite.device.catalogue import is_termux
from icn_lite.device.profile import Profile
from icn_lite.device.senml import Kind, pack
from icn_lite.device.sensors.hub import SensorHub
from icn_lite.device.sensors.rows import Wishes, default_sources
from icn_lite.node.config import Config
from icn_lite.sandbox.pool import Pool


def sensors_of(profile: Profile, config: Config, pids: Callable[[], Iterable[int]] = tuple) -> SensorHub:
    """A hub over all sources; `pids` are child processes whose load is our own."""
    wishes = Wishes(config.sensor_command, profile.thermal.sensors)
    return SensorHub(default_sources(termux=is_termux(), wishes=wishes, pids=pids))


def sensors_beside(profile: Profile, config: Config, pool: Pool) -> SensorHub:
    """The same of a node that runs guests in this pool."""
    return sensors_of(profile, config, lambda: _processes(pool))


def device_state(profile: Profile, hub: SensorHub) -> Callable[[], bytes]:
    """What `/lwm2m/3/0` answers: what the sensors said last, as SenML."""
    kind = Kind(profile.name, __version__, profile.battery.floor_pct)
    return lambda: pack(hub.last(), kind)


def _processes(pool: Pool) -> list[int]:
    zygote = pool.zygote_pid
    return [*pool.child_pids, *pool.spare_pids, *([zygote] if zygote is not None else [])]
