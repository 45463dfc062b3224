"""A command of the owner's own, for hardware that nobody here knows: a HAT with a battery, a solar charger, a meter.

The command prints one JSON object within two seconds and ends with 0. Its keys are names of quantities, its values
integers in their units (true and false for those that are `bool`), or a text that says why it is unknown:

    {"battery_present": true, "battery_pct": 76, "on_mains": false, "battery_temp": "the sensor is not connected"}

Whatever else it does (an unknown key, a fraction, no JSON, no end, more than 64 KiB) is a failure of the command: all
of its quantities age until they count as unknown; only that there is a battery stays true. What it gives is preferred
to what any other source gives. The quantities are the rows of `QUANTITIES`; this room's README lists them, and
`tools/plugins` has an example for the PiJuice. Whoever gives a battery this way also sets `expected = "yes"` in the
profile: without any answer a board that has none of its own would be taken for one on mains.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from icn_lite.device.reading import UNITS, Quantity, Reading, known, unknown
from icn_lite.device.sensors.asked import Asked, Run, parse_object
from icn_lite.device.sensors.command import CommandFailed, run_command
from icn_lite.device.sensors.source import Pace

PACE: Final = Pace(busy_ms=10_000, idle_ms=60_000)
MAX_REASON_CHARS: Final = 200
# Not a sensor's: what the node itself measures or asks its clock for.
NODES_OWN: Final = frozenset((Quantity.GUESTS, Quantity.WORK_PM, Quantity.WORK_LEFT, Quantity.LOCAL_MINUTE))
QUANTITIES: Final = {quantity.value: quantity for quantity in Quantity if quantity not in NODES_OWN}


class OwnCommand(Asked):
    """The command that the setting `sensor_command` names."""

    def __init__(self, command: Sequence[str], run: Run = run_command) -> None:
        super().__init__("sensor_command", (), PACE, run)
        self._command = tuple(command)

    def _ask(self, now_ms: int) -> Sequence[Reading]:
        return parse_own(self._output(*self._command), self.name)


def parse_own(output: bytes, source: str) -> tuple[Reading, ...]:
    """The readings of one answer. Raises `CommandFailed` with the first thing that is wrong."""
    answer = parse_object(output)
    strange = answer.keys() - QUANTITIES.keys()
    if strange:
        raise CommandFailed(f"unknown quantity {min(strange)[:40]!r}")
    if not answer:
        raise CommandFailed("expected at least one quantity, found none")
    return tuple(_reading(QUANTITIES[name], value, source) for name, value in answer.items())


def _reading(quantity: Quantity, value: object, source: str) -> Reading:
    if isinstance(value, str) and value:
        return unknown(quantity, source, value[:MAX_REASON_CHARS])
    if isinstance(value, bool) and UNITS[quantity] == "bool":
        return known(quantity, int(value), source)
    if isinstance(value, int) and not isinstance(value, bool):
        return known(quantity, value, source)
    raise CommandFailed(f"{quantity.value}: expected an integer ({UNITS[quantity]}) or a text, found {value!r}"[:200])
