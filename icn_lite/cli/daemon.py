"""The process of a node: what `icn-lite up` becomes once its words are read and its key is open.

`up` hands an `Order` over by exec, through a pipe, so that process number, streams and signals stay what they were and
the words still stand in the process list. What only reads words and opens keys has then never been in the node's
memory: the command line's library, Argon2's 64 MiB, TLS. Where exec fails, the same process goes on (`serve`).

Its values are dataclasses that share what they can (`values.py`).

Left out as well: the columns of every line of code (a traceback has its lines and no underlining), and OpenSSL, as
long as no large block is hashed (`model/digest.py`). No transport of a node speaks TLS.
"""

from __future__ import annotations

import dataclasses
import json
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NoReturn, Self, cast

import icn_lite
from icn_lite.cli import values
from icn_lite.cli.output import AnswerLost, Output, flush_stdout
from icn_lite.cli.report import EXIT_BROKEN_PIPE, EXIT_INTERRUPTED, as_fault, drop_stdout, report, settle_streams
from icn_lite.model.errors import IcnLiteError

# `import` finds None here and says that there is no such module; every user of these two bears that.
UNLOADED: Final = ("ssl", "_hashlib")
# `-P`: what lies in the folder where somebody types `up` is no part of this program. The package comes last.
BOOT: Final = "import sys; sys.path.append(sys.argv[1]); from icn_lite.cli.daemon import main; main()"
FIRST_USERS: Final = ("asyncio", "hashlib", "hmac")


@dataclass(frozen=True, slots=True)
class Order:
    """What a node is started with, checked before."""

    home: str
    seed: bytes
    settings: Mapping[str, str | Sequence[str]]
    until_eof: bool
    as_json: bool
    debug: bool

    def encode(self) -> bytes:
        """For the pipe; never written anywhere else, because it holds the key."""
        fields = {name: getattr(self, name) for name in self.__slots__}
        return json.dumps({**fields, "seed": self.seed.hex()}).encode()

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """What `encode` made."""
        fields = json.loads(data)
        return cls(**{**fields, "seed": bytes.fromhex(fields["seed"])})


def hand_over(order: Order) -> None:
    """Become the node's process; returns where that can't be, so that this one goes on."""
    reading, writing = os.pipe()
    try:
        os.set_blocking(writing, False)
        data = order.encode()
        if os.write(writing, data) < len(data):  # no pipe here holds it
            return
        os.set_inheritable(reading, True)
        sys.stdout.flush()
        sys.stderr.flush()
        options = [f"-X{name}" if value is True else f"-X{name}={value}" for name, value in sys._xoptions.items()]
        options += [f"-W{option}" for option in sys.warnoptions]
        flags = sys.flags
        options += [
            switch
            for switch, is_set in (("-I", flags.isolated), ("-S", flags.no_site), ("-B", flags.dont_write_bytecode))
            if is_set
        ]
        root = str(Path(icn_lite.__file__).resolve().parents[1])
        command = [sys.executable, "-P", "-Xno_debug_ranges", *options, "-c", BOOT, root, str(reading), *sys.argv]
        os.execv(sys.executable, command)
    except OSError:
        return
    finally:
        os.close(reading)
        os.close(writing)


def serve(order: Order) -> None:
    """Run the node until it is told to stop."""
    from icn_lite.cli.service import run_node

    run_node(order)


def main() -> NoReturn:
    """The node's process: `argv[1]` is where the package lies, `argv[2]` the pipe that holds the order."""
    settle_streams()
    order = _read_order(int(sys.argv[2]))
    _settle()
    out = Output(as_json=order.as_json)
    try:
        code = _run(order, out)
        flush_stdout()
    except BrokenPipeError:
        drop_stdout()
        code = EXIT_BROKEN_PIPE
    except AnswerLost as error:
        drop_stdout()
        code = report(Output(as_json=False), error, debug=order.debug)
    sys.exit(code)


def _read_order(pipe: int) -> Order:
    with os.fdopen(pipe, "rb") as stream:
        return Order.decode(stream.read())


def _settle() -> None:
    """Have the first users of what is not needed do without it (who needs it later may load it); share methods."""
    modules = cast("dict[str, object]", sys.modules)
    absent = [name for name in UNLOADED if name not in modules]
    modules.update(dict.fromkeys(absent))
    try:
        for name in FIRST_USERS:
            __import__(name)
    finally:
        for name in absent:
            del modules[name]
    vars(dataclasses)["dataclass"] = values.dataclass


def _run(order: Order, out: Output) -> int:
    try:
        serve(order)
    except (AnswerLost, BrokenPipeError):
        raise
    except IcnLiteError as error:
        return report(out, error, debug=order.debug)
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the last catch, as in main.py
        return report(out, as_fault(error), debug=order.debug)
    return 0
