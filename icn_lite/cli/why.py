"""`icn-lite why`: what this device may lend at the moment, why, and what it waits for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.live import ask_node
from icn_lite.cli.output import Json

if TYPE_CHECKING:
    from icn_lite.node.home import Home


@command("why", examples=("icn-lite why", "icn-lite why --json"))
@pass_app
def why(app: App) -> None:
    """Say what this device may lend now and why: every limit with its reading, threshold, headroom and forecast.

    While the node runs these are its own numbers, with the last six hours as a small plot (`history` in JSON, a sample
    a minute). Otherwise the sensors are read once, as a node would that had just been started.
    """
    from icn_lite.cli import care_report

    home = app.existing_home()
    status = ask_node(home, "status")
    device = status.get("device") if isinstance(status, dict) else None
    document: dict[str, Json] = {"running": isinstance(device, dict)}
    document.update(device if isinstance(device, dict) else _read_once(app, home))
    document["declined"] = status.get("declined", []) if isinstance(status, dict) else []
    if app.as_json:
        app.out.document(document)
        return
    if not document["running"]:
        app.out.note("no node runs on this home: the sensors were read once")
    care_report.tell(app.out, document)


def _read_once(app: App, home: Home) -> Mapping[str, Json]:
    """The device as a node would find it that starts now."""
    import asyncio

    from icn_lite.device.governor import GovernorState, step
    from icn_lite.device.limits import limits
    from icn_lite.device.reading import Quantity, Readings, known
    from icn_lite.device.sensors.hub import clock_ms
    from icn_lite.node.config import load_config
    from icn_lite.node.device_view import allowance_view, readings_view
    from icn_lite.node.node import profile_of
    from icn_lite.node.sensing import sensors_of

    config = load_config(home.config, app.environ, {})
    profile, _ = profile_of(config)
    sensed = asyncio.run(sensors_of(profile, config).read())
    readings = Readings((*sensed.items, known(Quantity.WORK_LEFT, 0, "no node runs")))
    state, allowance = step(profile, GovernorState(), readings, clock_ms())
    return {
        **allowance_view(profile, allowance, limits(profile, state, readings)),
        "readings": readings_view(readings),
        "history": [],
    }
