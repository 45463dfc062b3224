"""`icn-lite profile`: the kinds of device that icn-lite knows, and which one this is."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import TYPE_CHECKING

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import group, subcommand
from icn_lite.cli.output import Json, flatten

if TYPE_CHECKING:
    from icn_lite.device.profile import Profile


@group("profile", examples=("icn-lite profile list", "icn-lite profile detect --json"))
def profile() -> None:
    """Device profiles: what a kind of device may lend, and when it must stop.

    A profile is one TOML file; `icn-lite up --profile NAME` takes a shipped one by name or your own by path.
    """


@subcommand(profile, "list", examples=("icn-lite profile list", "icn-lite profile list --json"))
@pass_app
def list_command(app: App) -> None:
    """List the shipped profiles."""
    from icn_lite.device.catalogue import list_profiles, load_profile

    profiles = [load_profile(name) for name in list_profiles()]
    if app.as_json:
        app.out.document({"profiles": [{"name": p.name, "title": p.title} for p in profiles]})
        return
    rows = [[p.name, p.title, str(p.guest.workers), str(p.guest.memory_pages)] for p in profiles]
    app.out.table(["Profile", "Device", "Workers>", "Pages>"], rows)


@subcommand(
    profile,
    "show",
    examples=(
        "icn-lite profile show pi-4",
        "icn-lite profile show pi-4 --toml > new-board.toml",
        "icn-lite profile show ./my-board.toml --json",
    ),
)
@click.argument("name", metavar="NAME|FILE")
@click.option("--toml", "as_toml", is_flag=True, help="Print the file itself: the start of a profile of your own.")
@pass_app
def show(app: App, name: str, as_toml: bool) -> None:
    """Show a profile with all its keys, and what `icn-lite bench` measured in place of them, if it did."""
    from icn_lite.device.catalogue import load_profile, profile_text

    found = load_profile(name)
    if as_toml and not app.as_json:
        app.out.line(profile_text(name).rstrip("\n"))
        return
    _print(app, found, _calibration(app, found))


@subcommand(profile, "detect", examples=("icn-lite profile detect", "icn-lite profile detect --json"))
@pass_app
def detect(app: App) -> None:
    """Say which profile fits this device, why, and what a profile of your own can match it by."""
    from icn_lite.device.catalogue import detect as detect_profile
    from icn_lite.device.catalogue import read_facts

    found, why = detect_profile()
    facts: dict[str, Json] = dataclasses.asdict(read_facts())
    if app.as_json:
        app.out.document({"profile": found.name, "title": found.title, "reason": why, "facts": facts})
        return
    app.out.line(f"{found.name}: {why}")
    app.out.facts([(name, "unknown" if value is None else str(value)) for name, value in facts.items()])
    app.out.note(f"for a board of your own: icn-lite profile show {found.name} --toml > my-board.toml")


@subcommand(profile, "check", examples=("icn-lite profile check ./my-board.toml", "icn-lite profile check pi-4 --json"))
@click.argument("name", metavar="FILE")
@pass_app
def check(app: App, name: str) -> None:
    """Check a profile: every key known, in its range, and on the right side of its resume value."""
    from icn_lite.device.catalogue import load_profile, matches, read_facts
    from icn_lite.node.runner import profile_limits

    found = load_profile(name)
    profile_limits(found)  # names in [wasm]
    why = matches(found.match, read_facts())
    if app.as_json:
        app.out.document({"accepted": True, "profile": found.name, "matches": bool(why)})
    else:
        app.out.line(f"{found.name} is accepted; {f'it matches this device: {why}' if why else 'for another device'}")


def _calibration(app: App, found: Profile) -> dict[str, Json] | None:
    """What was measured of this device, if it was under this profile."""
    from icn_lite.model.errors import ProfileError
    from icn_lite.node.calibration import applicable, load_calibration, overridden

    path = app.home.calibration
    try:
        calibration = applicable(found, load_calibration(path))
    except ProfileError as error:
        return {"file": str(path), "error": error.message}
    if calibration is None:
        return None
    changes: dict[str, Json] = {name: list(pair) for name, pair in overridden(found, calibration).items()}
    return {
        "file": str(path),
        "measured_at": calibration.measured_at,
        "benchmark": str(calibration.benchmark),
        "overrides": changes,
    }


def _print(app: App, found: Profile, calibration: dict[str, Json] | None) -> None:
    document = _as_json(found)
    if app.as_json:
        app.out.document({**document, "calibration": calibration})
        return
    app.out.line(f"{found.name}: {found.title}")
    for section, values in document.items():
        if isinstance(values, Mapping) and values:
            app.out.line()
            app.out.line(f"[{section}]")
            app.out.facts([(key, "" if value is None else str(value)) for key, value in values.items()])
    if calibration is not None:
        app.out.line()
        app.out.line("Calibrated by `icn-lite bench`; of each key what the profile believes, and what counts:")
        app.out.facts(flatten(calibration))


def _as_json(found: Profile) -> dict[str, Json]:
    """A profile as plain values, by section."""
    from icn_lite.device.profile import HoursPolicy

    document: dict[str, Json] = {}
    for field in dataclasses.fields(found):
        value = getattr(found, field.name)
        if isinstance(value, HoursPolicy):
            document[field.name] = {"quiet": list(value.texts())}
        elif dataclasses.is_dataclass(value):
            document[field.name] = {item.name: _plain(getattr(value, item.name)) for item in dataclasses.fields(value)}
        else:
            document[field.name] = dict(value) if isinstance(value, Mapping) else str(value)
    return document


def _plain(value: object) -> Json:
    if isinstance(value, tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, (bool, int)) else str(value)
