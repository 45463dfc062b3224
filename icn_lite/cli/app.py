"""What every command is given: where the home is, how to answer, and how to come by the identity."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import click

from icn_lite.cli.output import Output
from icn_lite.model.errors import StoreError, UsageError

if TYPE_CHECKING:  # these load libsodium and the CBOR library: not for --help
    from icn_lite.node.home import Home
    from icn_lite.node.keys import NodeKey


@dataclass(slots=True)
class App:
    """The global options of one invocation."""

    as_json: bool = False
    debug: bool = False
    color: bool | None = None
    home_option: str | None = None
    own_process: bool = False  # nothing else lives in this process: `up` may replace what runs in it
    environ: Mapping[str, str] = field(default_factory=lambda: os.environ)

    @property
    def out(self) -> Output:
        """How this invocation answers."""
        return Output(as_json=self.as_json, color=self.color)

    @property
    def home(self) -> Home:
        """The home that was asked for; nothing is created or checked."""
        from icn_lite.node.home import locate_home

        return locate_home(self.home_option, self.environ, sys.platform)

    def existing_home(self) -> Home:
        """The home, refused with a hint unless it was initialised and is ours."""
        home = self.home
        home.check()
        if not home.initialised:
            raise StoreError(f"no identity in {home.path}", hint="run `icn-lite init` first")
        return home

    def home_for_work(self) -> Home:
        """The home; a fresh one with an unsealed identity is made when none stands there, with one line about it."""
        home = self.home
        home.create()
        if not home.initialised:
            from icn_lite.node.keys import create_key

            key = create_key(home.key, None)
            self.out.note(f"new identity {key.did} in {home.path} (unsealed; `icn-lite init --help` says more)")
        return home

    def load_key(self, home: Home, passphrase_file: str | None = None) -> NodeKey:
        """The identity of `home`; a sealed one is opened by file, environment or a question on the terminal."""
        from icn_lite.node.keys import load_key, passphrase_from

        def ask() -> bytes:
            given = passphrase_from(self.environ, Path(passphrase_file) if passphrase_file else None)
            return given if given is not None else self.ask_passphrase(f"Passphrase for {home.key}")

        return load_key(home.key, ask)

    def ask_passphrase(self, prompt: str, *, twice: bool = False) -> bytes:
        """Ask on the terminal, on stderr; without a terminal it is an error that names the other ways."""
        from icn_lite.node.keys import PASSPHRASE_FILE_VARIABLE, PASSPHRASE_VARIABLE, check_passphrase

        if not sys.stdin.isatty():
            raise UsageError(
                "there is no terminal to ask for the key's passphrase",
                hint=f"give it by --passphrase-file, {PASSPHRASE_FILE_VARIABLE} or {PASSPHRASE_VARIABLE}",
            )
        text: str = click.prompt(prompt, hide_input=True, confirmation_prompt=twice, err=True)
        return check_passphrase(os.fsencode(text))


pass_app = click.make_pass_decorator(App, ensure=True)
