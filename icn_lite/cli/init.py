"""`icn-lite init`: make the home, its identity and its settings."""

from __future__ import annotations

import secrets
from pathlib import Path

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import answer, command
from icn_lite.cli.output import Json
from icn_lite.model.errors import StoreError


@command(
    "init",
    examples=(
        "icn-lite init",
        "icn-lite init --profile pi-4 --json",
        "icn-lite init --passphrase",
        "icn-lite init --home /srv/icn --passphrase-file /etc/icn-passphrase",
    ),
)
@click.option("--passphrase", "ask", is_flag=True, help="Seal the key by a passphrase that is asked for.")
@click.option("--passphrase-file", metavar="FILE", help="Seal the key by the passphrase in FILE.")
@click.option("--unsealed", is_flag=True, help="Keep the key plain (mode 0600), whatever the environment says.")
@click.option("--profile", metavar="NAME", help="Write this device profile into the settings.")
@pass_app
def init(app: App, ask: bool, passphrase_file: str | None, unsealed: bool, profile: str | None) -> None:
    """Make this device's identity and settings.

    The identity is one Ed25519 key. Without a passphrase it is kept plain, readable by you alone: right for a device
    that must start unattended. A sealed one asks for its passphrase, or takes it from --passphrase-file,
    ICN_LITE_PASSPHRASE_FILE or ICN_LITE_PASSPHRASE, each time a command signs.

    The node belongs to a cooperative of its own, called `home`, until it joins others (`icn-lite join`) or invites
    others into its own (`icn-lite invite`). An existing identity is never replaced.
    """
    from icn_lite.node.clock import Clock
    from icn_lite.node.config import default_file
    from icn_lite.node.keys import create_key
    from icn_lite.node.memberships import Memberships

    if unsealed and (ask or passphrase_file):
        raise click.UsageError("--unsealed and a passphrase exclude each other")
    home = app.home
    if home.initialised:
        raise StoreError(f"{home.path} holds an identity already", hint="keep it, or choose another home with --home")
    if profile is not None:
        _check_profile(profile)
    passphrase = None if unsealed else _passphrase(app, ask, passphrase_file)
    home.create()
    key = create_key(home.key, passphrase)
    if not home.config.exists():
        overrides = {} if profile is None else {"profile": profile}
        home.config.write_text(default_file(overrides), encoding="utf-8")
    memberships = Memberships(home.cooperatives, key, Clock(), secrets.token_bytes)
    memberships.load()
    memberships.ensure_one()
    cooperative = memberships.held[0]
    lines = [f"Identity  {key.did}", f"Home      {home.path}", f"Key       {'sealed' if key.sealed else 'unsealed'}"]
    lines.append(f"Member of {cooperative.name}")
    document: Json = {
        "did": str(key.did),
        "peer_id": key.did.peer_id,
        "home": str(home.path),
        "sealed": key.sealed,
        "config": str(home.config),
        "profile": profile,
        "cooperative": {"name": cooperative.name, "did": str(cooperative.did)},
    }
    answer(app.out, document, lines)


def _passphrase(app: App, ask: bool, file: str | None) -> bytes | None:
    from icn_lite.node.keys import passphrase_from

    given = passphrase_from(app.environ, Path(file) if file else None)
    if given is None and ask:
        return app.ask_passphrase("Passphrase for the new key", twice=True)
    return given


def _check_profile(name: str) -> None:
    """A misspelt profile is better refused now than when the node starts."""
    from icn_lite.device.catalogue import load_profile

    if name != "auto":
        load_profile(name)
