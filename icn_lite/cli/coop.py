"""`icn-lite coop`: the cooperatives that this node belongs to."""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import answer, group, subcommand
from icn_lite.cli.output import Json
from icn_lite.model.errors import PeerError, UsageError

if TYPE_CHECKING:
    from icn_lite.node.memberships import Memberships

ANSWER_S: Final = 30.0  # a handshake on a busy Pi, and the disk


@group("coop", examples=("icn-lite coop list", "icn-lite coop list --json"))
def coop() -> None:
    """Make cooperatives, list those that this node belongs to, put members out.

    A cooperative is a key. Whoever holds a membership that it signed is let in by its other members; nobody else is.
    A node that belongs to none makes one of its own, called `home`, when it first starts.
    """


@subcommand(coop, "create", examples=("icn-lite coop create village", "icn-lite coop create riverside --json"))
@click.argument("name")
@pass_app
def create(app: App, name: str) -> None:
    """Make a cooperative, of which this node is the first member and admin.

    Its key stays in this home, sealed under this node's own: keep a copy of the home.
    """
    from icn_lite.node.coop_commands import check_name
    from icn_lite.node.views import cooperative_view

    check_name(name)
    made = ask_running(app, "coop_create", {"name": name})
    if not isinstance(made, dict):
        with memberships_of(app) as memberships:
            made = cooperative_view(memberships, memberships.create(name))
    answer(app.out, made, [f"Cooperative  {made['name']}", f"DID          {made['cooperative']}",
                           f"Fingerprint  {made['fingerprint']}"])  # fmt: skip


@subcommand(coop, "list", examples=("icn-lite coop list", "icn-lite coop list --json"))
@pass_app
def list_(app: App) -> None:
    """List the cooperatives that this node belongs to, and what it is in each."""
    from icn_lite.node.views import cooperatives_view

    found = ask_running(app, "coops", {})
    if not isinstance(found, list):
        with memberships_of(app) as memberships:
            found = list(cooperatives_view(memberships))
    rows = [row for row in found if isinstance(row, dict)]
    if app.as_json:
        app.out.document({"cooperatives": rows})
        return
    names = {"name": "Name", "roles": "Roles", "scope": "Scope", "fingerprint": "Fingerprint", "state": "State"}
    app.out.table(list(names.values()), [[_shown(row.get(key)) for key in names] for row in rows])


@subcommand(
    coop,
    "revoke",
    examples=(
        "icn-lite coop revoke did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw --coop home",
        "icn-lite coop revoke did:key:z6MktwupdmLXVVqTzCw4i46r4uGyosGXRnR3XjN4Zq7oMMsw --coop home --json",
    ),
)
@click.argument("did")
@click.option("--coop", "name", metavar="NAME", help="The cooperative, where this node may choose.")
@pass_app
def revoke(app: App, did: str, name: str | None) -> None:
    """Put a member out: every membership that it was given until now is over.

    A running node ends that member's sessions at once and tells its peers, which tell theirs. If it doesn't run, they
    hear of it when they meet it again.
    """
    from icn_lite.node.coop_commands import revoke as put_out

    told = ask_running(app, "coop_revoke", {"did": did, "coop": name})
    if not isinstance(told, dict):
        with memberships_of(app) as memberships:
            told = asyncio.run(put_out(memberships, name, did))
    answer(app.out, told, [f"{told['member']} is no member of {told['name']} any more"])


@subcommand(
    coop,
    "renew",
    examples=("icn-lite coop renew --coop village", "icn-lite coop renew --coop village --json"),
)
@click.option("--coop", "name", metavar="NAME", help="The cooperative, where this node may choose.")
@click.option("--of", "of", metavar="DID", help="The admin to ask; without it everybody who is here.")
@pass_app
def renew(app: App, name: str | None, of: str | None) -> None:
    """Get the successor of this node's membership from an admin, with the same roles for as long again.

    A running node does this by itself with the first admin that it meets in the last third of its membership's time,
    and nobody gives one before. Memberships of fewer than 30 days are visits and are not renewed.
    """
    from icn_lite.node.control import ask

    socket = app.existing_home().control_socket
    if not socket.exists():
        raise UsageError("no node runs on this home, which could ask an admin", hint="start it: `icn-lite up`")
    told = ask(socket, {"command": "coop_renew", "coop": name, "of": of}, timeout_s=ANSWER_S)
    if not isinstance(told, dict):
        raise PeerError("the node answered with something else", hint="is it another version?")
    answer(app.out, told, [f"Renewed  {told['name']}", f"Until    {told['expires_at']} (seconds since 1970)"])


@subcommand(
    coop,
    "export",
    examples=(
        "icn-lite coop export home.key --coop home --passphrase-file ./notes.txt",
        "icn-lite coop export home-2.key --coop home --passphrase-file ./notes.txt --json",
    ),
)
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option("--coop", "name", metavar="NAME", help="The cooperative, where this home holds the keys of several.")
@click.option("--passphrase-file", metavar="FILE", help="Seal the copy by the passphrase in FILE.")
@pass_app
def export(app: App, file: Path, name: str | None, passphrase_file: str | None) -> None:
    """Write a copy of a cooperative's key to FILE, sealed by a passphrase, while no node runs on this home.

    Whoever has both can invite and put out anybody; without any copy the cooperative ends with this home.
    """
    from icn_lite.node.keys import create_key, passphrase_from

    with memberships_of(app) as memberships:
        cooperative = memberships.find(name)
        if cooperative.key is None:
            raise UsageError(f"the key of {cooperative.name!r} is in another home", hint="export it there")
        given = passphrase_from({}, Path(passphrase_file) if passphrase_file else None)
        passphrase = given if given is not None else app.ask_passphrase("Passphrase for the copy", twice=True)
        create_key(file.absolute(), passphrase, seed=cooperative.key.seed)
        told: dict[str, Json] = {"name": cooperative.name, "cooperative": str(cooperative.did), "file": str(file)}
    answer(app.out, told, [f"Cooperative  {told['name']}", f"Copy         {file}"])


@subcommand(
    coop,
    "import",
    examples=(
        "icn-lite coop import village.key --name village",
        "icn-lite coop import village.key --name village --json",
    ),
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--name", metavar="NAME", help="What the cooperative is called, where this node is no member of it.")
@click.option("--passphrase-file", metavar="FILE", help="The passphrase that the copy was sealed by.")
@pass_app
def import_(app: App, file: Path, name: str | None, passphrase_file: str | None) -> None:
    """Take a cooperative's key from the copy in FILE, while no node runs on this home; this node is its admin then.

    Who was put out meanwhile it hears from the first member that it meets.
    """
    from icn_lite.node.coop_commands import check_name
    from icn_lite.node.cooperatives import CooperativeSigner
    from icn_lite.node.keys import load_key, passphrase_from
    from icn_lite.node.views import cooperative_view

    def ask() -> bytes:
        given = passphrase_from({}, Path(passphrase_file) if passphrase_file else None)
        return given if given is not None else app.ask_passphrase(f"Passphrase for {file}")

    if name is not None:
        check_name(name)
    with memberships_of(app) as memberships:
        key = CooperativeSigner(load_key(file.absolute(), ask).seed)
        told = cooperative_view(memberships, memberships.take_over(key, name))
    answer(app.out, told, [f"Cooperative  {told['name']}", f"DID          {told['cooperative']}"])


def ask_running(app: App, command: str, fields: Mapping[str, str | None]) -> Json:
    """The answer of the node that runs on the home, None when none does; what it refuses is raised."""
    from icn_lite.model.errors import PeerError
    from icn_lite.node.control import ask

    home = app.existing_home()
    if not home.control_socket.exists():
        return None
    given = {key: value for key, value in fields.items() if value is not None}
    try:
        return ask(home.control_socket, {**given, "command": command}, timeout_s=ANSWER_S)
    except PeerError:
        return None  # a socket that a killed node left behind; whoever runs after all holds the lock


@contextlib.contextmanager
def memberships_of(app: App) -> Iterator[Memberships]:
    """The memberships of a home on which no node runs; nobody else changes them meanwhile."""
    from icn_lite.node.clock import Clock
    from icn_lite.node.memberships import Memberships
    from icn_lite.store.lock import HomeLock

    home = app.existing_home()
    key = app.load_key(home)
    lock = HomeLock.acquire(home.path)
    try:
        memberships = Memberships(home.cooperatives, key, Clock(), secrets.token_bytes)
        memberships.load()
        memberships.ensure_one()
        yield memberships
    finally:
        lock.release(clean=not lock.after_unclean_end)  # whether the node's last end was clean is for its next start


def _shown(value: Json) -> str:
    if isinstance(value, list):
        return " ".join(str(item) for item in value)
    return "" if value is None else str(value)
