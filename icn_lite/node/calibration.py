"""A calibrated profile: what `icn-lite bench` measured of this very device, in `calibration.toml` of its home.

It overrides what the profile only believes, `[prior] fuel_per_s`, and lowers `[guest] memory_pages` where the device
can't give what its profile says; a profile knows no other key that a benchmark could measure. Both stay within the
bounds that a profile's own keys have. It counts for the profile that it was measured under and for no other, so a card
that moves to another board takes no speed along. Deleting the file goes back to the profile.

Reading is as strict as that of a profile: a file that is damaged or was edited wrongly is refused with its line.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from icn_lite.device.profile import SECTIONS as PROFILE_SECTIONS
from icn_lite.device.profile import Profile
from icn_lite.device.profile_text import Key, Section, read_tables
from icn_lite.model.cid import Cid
from icn_lite.model.errors import DocumentError, ProfileError
from icn_lite.node.config import quote
from icn_lite.node.files import write_whole

NAME: Final = "calibration"
MAX_FILE_BYTES: Final = 8_192  # written with less than one; more was not written here
_MOST: Final = (1 << 62) - 1
_HEADER: Final = """\
# What `icn-lite bench` measured of this device; `icn-lite up` takes it in place of what the profile believes.
# Delete this file to go back to the profile, or run `icn-lite bench` again.
"""


@dataclass(frozen=True, slots=True)
class Calibration:
    """What was measured: medians, and of the speed the slowest and the fastest run."""

    profile: str  # whose beliefs it overrides
    measured_at: int  # seconds since 1970, by this device's clock
    benchmark: Cid  # the receipt of the run in the middle
    fuel_per_s: int  # of one worker, while all of them work
    memory_pages: int  # that each of all workers' guests held at once
    runs: int
    least_fuel_per_s: int
    most_fuel_per_s: int
    workers: int
    signatures_per_s: int
    verifications_per_s: int
    prepared_bytes_per_s: int
    start_us: int  # from a request to the outcome of a run that does nothing


def _row(section: str, name: str) -> Key:
    """The row of a profile's key, with its bounds."""
    return next(key for rows in PROFILE_SECTIONS if rows.name == section for key in rows.keys if key.name == name)


_MEASURED: Final = (
    ("runs", "runs of the standard guest"),
    ("least_fuel_per_s", "fuel a second of the slowest run"),
    ("most_fuel_per_s", "fuel a second of the fastest run"),
    ("workers", "guests that ran at once"),
    ("signatures_per_s", "receipts signed in a second"),
    ("verifications_per_s", "receipts verified in a second"),
    ("prepared_bytes_per_s", "bytes of modules prepared in a second"),
    ("start_us", "µs from a request to the outcome of a run that does nothing"),
)


def _sections() -> tuple[Section, ...]:
    return (
        Section(
            "",
            (
                Key("profile", "text", "the profile that it was measured under"),
                Key("measured_at", "int", "s since 1970", (0, _MOST)),
                Key("benchmark", "text", "CID of the benchmark's receipt"),
            ),
        ),
        Section("prior", (_row("prior", "fuel_per_s"),)),
        Section("guest", (_row("guest", "memory_pages"),)),
        Section("measured", tuple(Key(name, "int", meaning, (0, _MOST)) for name, meaning in _MEASURED)),
    )


def parse_calibration(text: str) -> Calibration:
    """Read a calibration's text; raises `ProfileError` with the line."""
    tables = read_tables(text, NAME, _sections(), ())
    top, measured = tables[""], tables["measured"]
    try:
        benchmark = Cid.parse(top.text("benchmark"))
    except DocumentError as error:
        raise ProfileError(f"{NAME}: benchmark: {error.message}", hint="run `icn-lite bench` again") from error
    return Calibration(
        profile=top.text("profile"),
        measured_at=top.int("measured_at"),
        benchmark=benchmark,
        fuel_per_s=tables["prior"].int("fuel_per_s"),
        memory_pages=tables["guest"].int("memory_pages"),
        **{name: measured.int(name) for name, _ in _MEASURED},
    )


def format_calibration(calibration: Calibration) -> str:
    """The text of it; `parse_calibration` gives the same back, and so checks it before it is written."""
    lines = [
        f"{_HEADER}profile = {quote(calibration.profile)}",
        f"measured_at = {calibration.measured_at}",
        f'benchmark = "{calibration.benchmark}"',
        "\n[prior]",
        f"fuel_per_s = {calibration.fuel_per_s:_}",
        "\n[guest]",
        f"memory_pages = {calibration.memory_pages}",
        "\n[measured]",
        *(f"{name} = {getattr(calibration, name):_}" for name, _ in _MEASURED),
    ]
    return "\n".join(lines) + "\n"


def load_calibration(path: Path) -> Calibration | None:
    """The calibration of a home, or None where there is none; raises `ProfileError` for one that can't be read."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ProfileError(f"{path} can't be read: {error.strerror}", hint="check its permissions") from error
    if len(data) > MAX_FILE_BYTES:
        raise ProfileError(f"{path} has more than {MAX_FILE_BYTES} bytes", hint=f"delete {path}")
    try:
        return parse_calibration(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise ProfileError(f"{path} is not UTF-8", hint=f"delete {path}") from error
    except ProfileError as error:
        error.hint = error.hint or f"delete {path}, or run `icn-lite bench` again"
        raise


def save_calibration(path: Path, calibration: Calibration) -> None:
    """Write it, whole or not at all; what no profile could say is refused with `ProfileError` and not written."""
    text = format_calibration(calibration)
    parse_calibration(text)
    write_whole(path, text.encode("utf-8"))


def applicable(profile: Profile, calibration: Calibration | None) -> Calibration | None:
    """The calibration, if it was measured under this profile."""
    return calibration if calibration is not None and calibration.profile == profile.name else None


def calibrated(profile: Profile, calibration: Calibration | None) -> Profile:
    """The profile with what was measured in place of what it believes; unchanged where that is another device's."""
    found = applicable(profile, calibration)
    if found is None:
        return profile
    return replace(
        profile,
        prior=replace(profile.prior, fuel_per_s=found.fuel_per_s),
        guest=replace(profile.guest, memory_pages=min(profile.guest.memory_pages, found.memory_pages)),
    )


def overridden(profile: Profile, calibration: Calibration | None) -> Mapping[str, tuple[int, int]]:
    """Which keys of a profile a calibration changes: name -> what the profile says, and what counts."""
    after = calibrated(profile, calibration)
    pairs = {
        "prior.fuel_per_s": (profile.prior.fuel_per_s, after.prior.fuel_per_s),
        "guest.memory_pages": (profile.guest.memory_pages, after.guest.memory_pages),
    }
    return {name: (said, found) for name, (said, found) in pairs.items() if said != found}
