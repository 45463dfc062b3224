#!/usr/bin/env python3
"""Readings of a PiJuice HAT for icn-lite: set `sensor_command = ["/path/to/this/file"]` in config.toml.

Needs the vendor's `pijuice` module (`apt install pijuice-base`) and a user in the group `i2c`. Prints one JSON object,
in the units of icn_lite/device/README.md; what the HAT doesn't answer is a text that says why. Use a profile of your
own with `expected = "yes"` under [battery], so that a HAT that falls silent stops the work.
"""

import json

from pijuice import PiJuice

BUS, ADDRESS = 1, 0x14
CHARGING = ("CHARGING_FROM_IN", "CHARGING_FROM_5V_IO")


def scaled(answer, factor):
    """A number times `factor`, or the HAT's error as the reason why it is unknown."""
    return answer["data"] * factor if answer["error"] == "NO_ERROR" else answer["error"]


def signed(answer):
    """The temperature is two's complement, which the module gives as it stands in two bytes."""
    if answer["error"] == "NO_ERROR" and answer["data"] >= 1 << 15:
        return {**answer, "data": answer["data"] - (1 << 16)}
    return answer


def main():
    status = PiJuice(BUS, ADDRESS).status
    readings = {
        "battery_pct": scaled(status.GetChargeLevel(), 1),
        "battery_voltage": scaled(status.GetBatteryVoltage(), 1000),
        "battery_current": scaled(status.GetBatteryCurrent(), 1000),
        "battery_temp": scaled(signed(status.GetBatteryTemperature()), 1000),
    }
    state = status.GetStatus()
    if state["error"] == "NO_ERROR":
        told = state["data"]
        inputs = (told["powerInput"], told["powerInput5vIo"])
        readings["battery_present"] = told["battery"] != "NOT_PRESENT"
        readings["plugged"] = any(word != "NOT_PRESENT" for word in inputs)
        # a weak or bad input counts as battery unless it charges all the same
        readings["on_mains"] = told["battery"] in CHARGING or "PRESENT" in inputs
    else:
        readings |= dict.fromkeys(("battery_present", "plugged", "on_mains"), state["error"])
    print(json.dumps(readings))


if __name__ == "__main__":
    main()
