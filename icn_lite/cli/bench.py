"""`icn-lite bench`: how fast this device is, and a calibrated profile that says so."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.output import Json

if TYPE_CHECKING:
    from icn_lite.node.benchmark import Measured, Spread, Subject
    from icn_lite.node.calibration import Calibration
    from icn_lite.node.home import Home

MAX_ROUNDS: Final = 100  # minutes of work; more rounds tell nothing more
BUSY_PM: Final = 250  # a quarter of the processors at other work shows in every figure


@command("bench", examples=("icn-lite bench", "icn-lite bench --rounds 9", "icn-lite bench --dry-run --json"))
@click.option("--rounds", type=click.IntRange(1, MAX_ROUNDS), default=5, show_default=True, help="Runs of each worker.")
@click.option("--dry-run", is_flag=True, help="Measure and tell; write nothing.")
@click.option("--profile", metavar="NAME", help="The device profile to calibrate.  [default: that of the settings]")
@click.option("--passphrase-file", metavar="FILE", help="Opens a sealed key.")
@pass_app
def bench(app: App, rounds: int, dry_run: bool, profile: str | None, passphrase_file: str | None) -> None:
    """Measure fuel a second, memory, signatures and preparation on this device, and calibrate its profile.

    The standard guest runs in the sandbox, in all workers at once. Figures are medians, with the least and the most.
    What was measured is written to `calibration.toml` in the home, and the next `icn-lite up` takes it in place of
    what the profile believes. The receipt of the run in the middle goes along with this node's bids: anyone can run
    it again with `icn-lite receipts verify`.

    Stop the node first: it would disturb the figures, and it holds the home. It takes a few seconds on a PC, up to a
    minute on a small board. Let a warm device cool down before.
    """
    from dataclasses import replace

    from icn_lite.node import benchmark
    from icn_lite.node.calibration import overridden, save_calibration
    from icn_lite.node.capability import workers
    from icn_lite.node.config import load_config
    from icn_lite.node.node import profile_of
    from icn_lite.node.runner import open_store

    home = app.home_for_work()
    config = load_config(home.config, app.environ, {})
    config = config if profile is None else replace(config, profile=profile)
    found, why = profile_of(config)
    key = app.load_key(home, passphrase_file)
    if not dry_run:
        with open_store(home):
            pass  # now, and not after a minute of work, a running node is an error
    load_pm = _load_pm()
    subject = benchmark.Subject(found, workers(found, config), config.engine.value, rounds)
    measured = benchmark.measure(subject, key, (lambda _: None) if app.as_json else app.out.note)
    receipt = None if dry_run else benchmark.keep_benchmark(home, key, measured)
    made = None if receipt is None else benchmark.calibration_of(subject, measured, receipt.cid)
    if made is not None:
        save_calibration(home.calibration, made)
    if app.as_json:
        document = _document(subject, measured)
        document["load_before_pm"] = load_pm
        document["receipt"] = str(made.benchmark) if made else None
        document["calibration"] = str(home.calibration) if made else None
        document["overrides"] = {name: list(pair) for name, pair in overridden(found, made).items()}
        app.out.document(document)
    else:
        _tell(app, subject, measured, why)
        if load_pm is not None and load_pm > BUSY_PM:
            app.out.note(f"other programs loaded this machine ({load_pm} ‰ of its processors): it may be faster")
        _tell_written(app, home, made)


def _load_pm() -> int | None:
    """Load of the last minute, of all processors; before anything of ours runs it is that of others."""
    try:
        return int(os.getloadavg()[0] * 1000) // (os.cpu_count() or 1)
    except OSError:  # Termux
        return None


def _document(subject: Subject, measured: Measured) -> dict[str, Json]:
    return {
        "profile": subject.profile.name,
        "engine": subject.engine,
        "workers": subject.workers,
        "fuel_per_s": _spread(measured.fuel_per_s),
        "memory_pages": measured.memory_pages,
        "start_us": _spread(measured.start_us),
        "signatures_per_s": _spread(measured.signatures_per_s),
        "verifications_per_s": _spread(measured.verifications_per_s),
        "prepared_bytes_per_s": _spread(measured.prepared_bytes_per_s),
        "believed": {
            "fuel_per_s": subject.profile.prior.fuel_per_s,
            "memory_pages": subject.profile.guest.memory_pages,
        },
    }


def _spread(spread: Spread) -> dict[str, Json]:
    return {"median": spread.median, "least": spread.least, "most": spread.most, "count": spread.count}


def _tell(app: App, subject: Subject, measured: Measured, why: str) -> None:
    prior, guest = subject.profile.prior, subject.profile.guest
    pages = f"{measured.memory_pages} pages of 64 KiB in each of {subject.workers} guests at once"
    app.out.facts(
        [
            ("profile", f"{subject.profile.name}: {why}"),
            ("engine", f"{subject.engine}, {subject.workers} guests at once"),
            ("fuel", f"{_shown(measured.fuel_per_s, 'a second')}; the profile believes {prior.fuel_per_s:,}"),
            ("memory", f"{pages}; the profile says {guest.memory_pages}"),
            ("start", _shown(measured.start_us, "µs")),
            ("sign", _shown(measured.signatures_per_s, "receipts a second")),
            ("verify", _shown(measured.verifications_per_s, "receipts a second")),
            ("prepare", _shown(measured.prepared_bytes_per_s, "bytes a second")),
        ]
    )


def _shown(spread: Spread, unit: str) -> str:
    return f"{spread.median:,} {unit} ({spread.least:,} to {spread.most:,}, {spread.count} times)"


def _tell_written(app: App, home: Home, made: Calibration | None) -> None:
    if made is None:
        app.out.note("nothing was written")
        return
    app.out.note(f"receipt {made.benchmark}")
    app.out.note(f"calibrated: {home.calibration}; the next `icn-lite up` takes it")
