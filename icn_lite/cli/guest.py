"""`icn-lite guest`: begin a guest of one's own with the kit that ships with icn-lite (tools/guests)."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import answer, group, subcommand
from icn_lite.model.errors import StoreError

# By language: the kit's file, the example, and the line that says what compiles it.
LANGUAGES: Final = {
    "c": ("icn.h", "count.c", "apt-get install clang lld"),
    "rust": ("icn.rs", "count.rs", "apt-get install rustc libstd-rust-dev-wasm32 lld"),
    "as": ("icn.ts", "count.ts", "npm install -g assemblyscript"),
}
BUILD_SCRIPT: Final = "build.sh"
JOB: Final = """\
# A job for `icn-lite submit`; `icn-lite submit --help` shows more keys.
name = "count"
module = "count.wasm"
input = "input.txt"
deadline_in_s = 600
[budget]
max_total = 1000               # mana, for all executions together
[compute]
max_fuel = 1000000000          # of one shard
"""
INPUT: Final = "three words here\nand four words there\n"


@group("guest", examples=("icn-lite guest new rust adder", "icn-lite guest new c adder-in-c --json"))
def guest() -> None:
    """Write a guest: a WebAssembly module that nodes run.

    Programs that speak WASI preview 1 need nothing from here: `icn-lite run program.wasm`.
    """


@subcommand(
    guest,
    "new",
    examples=("icn-lite guest new c", "icn-lite guest new rust words", "icn-lite guest new as --json"),
)
@click.argument("language", metavar="LANGUAGE", type=click.Choice(sorted(LANGUAGES)))
@click.argument("folder", metavar="[FOLDER]", type=click.Path(path_type=Path), required=False)
@pass_app
def new(app: App, language: str, folder: Path | None) -> None:
    """Write a working guest into FOLDER: `c`, `rust`, or `as` for AssemblyScript.

    FOLDER gets the host's functions for that language, an example that counts words, a script that builds it, an
    input and a job. Without FOLDER it is called LANGUAGE-guest. Nothing that exists is overwritten.
    """
    from icn_lite.resources import kit_file

    folder = folder or Path(f"{language}-guest")
    kit, example, compiler = LANGUAGES[language]
    files = {name: kit_file(name) for name in (kit, example, BUILD_SCRIPT)}
    files |= {"input.txt": INPUT, "job.toml": JOB}
    present = sorted(name for name in files if (folder / name).exists())
    if present:
        raise StoreError(f"{folder} holds {', '.join(present)} already", hint="name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")
        (folder / BUILD_SCRIPT).chmod(0o755)
    except OSError as error:
        raise StoreError(f"{folder} can't be written: {error.strerror}", hint="name another folder") from error
    lines = [f"{folder}: {', '.join(sorted(files))}", "", "Build it, look at it, run it:"]
    lines += [f"  {compiler}    # once", f"  cd {folder}", f"  OUT=. ./{BUILD_SCRIPT} {example}"]
    lines += [
        "  icn-lite check count.wasm",
        "  icn-lite run count.wasm --input input.txt",
        "  icn-lite submit job.toml",
    ]
    answer(app.out, {"folder": str(folder), "language": language, "files": sorted(files)}, lines)
