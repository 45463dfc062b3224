"""`icn-lite up`: run this node until it is told to stop."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Final

import click

from icn_lite.cli.app import App, pass_app
from icn_lite.cli.framework import command
from icn_lite.cli.node_options import Words, node_options
from icn_lite.cli.output import Json, printable

LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(message)s"
# Libraries that say more than their users want to read; what matters of theirs reaches our own log.
QUIET: Final = ("coap", "coap-server", "zeroconf", "asyncio", "aiocoap")


@command(
    "up", examples=("icn-lite up", "icn-lite up --port 5683 --peer coap://192.168.1.20:5683", "icn-lite up --json")
)
@click.option("--passphrase-file", metavar="FILE", help="Open the sealed key by the passphrase in FILE.")
@click.option("--until-eof", is_flag=True, help="Stop when standard input ends: for programs that start nodes.")
@node_options
@pass_app
def up(app: App, /, passphrase_file: str | None, until_eof: bool, **settings: Words) -> None:
    """Run this node: find neighbours, bid on their jobs when the device allows it, run shards, deliver receipts.

    Ctrl-C or SIGTERM stop it; what was taken is taken up again at the next start. With --json one document is
    printed when the node listens.
    """
    from icn_lite.node.config import load_config
    from icn_lite.node.node import Node, NodeOptions
    from icn_lite.node.thrift import Thrift

    home = app.home_for_work()
    config = load_config(home.config, app.environ, settings)
    _log_to_stderr(config.log_level.value)
    thrift = Thrift()
    node = Node(NodeOptions(home, config, app.load_key(home, passphrase_file), thrift.give_back))

    async def work() -> None:
        def ready() -> None:
            thrift.settle()
            facts: dict[str, Json] = {
                "did": str(node.shell.did),
                "port": node.endpoint.port,
                "endpoints": list(node.shell.endpoints),
                "profile": node.profile.name,
                "home": str(home.path),
            }
            if app.as_json:
                app.out.document({**facts, "mdns": node.neighbourhood.available if node.neighbourhood else False})
                sys.stdout.flush()
            else:
                app.out.note(
                    f"node {node.shell.did} listens on port {node.endpoint.port} (profile {node.profile.name})"
                )

        await _until_told(node.run(ready), until_eof=until_eof)

    asyncio.run(work())


async def _until_told(work: Coroutine[object, object, None], *, until_eof: bool) -> None:
    """Run `work` until it fails, or SIGINT, SIGTERM or the end of stdin cancel it, which is a good end."""
    loop = asyncio.get_running_loop()
    task = loop.create_task(work)
    told = False

    def stop() -> None:
        nonlocal told
        if not told:  # a second cancellation would fall into the middle of putting everything away
            told = True
            task.cancel()

    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop)
    if until_eof:
        loop.add_reader(sys.stdin.fileno(), _stop_at_eof, loop, stop)
    try:
        await task
    except asyncio.CancelledError:
        if not told:
            raise
    finally:
        if until_eof:
            loop.remove_reader(sys.stdin.fileno())


def _stop_at_eof(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    if not os.read(sys.stdin.fileno(), 4096):
        loop.remove_reader(sys.stdin.fileno())  # an end stays readable for good
        stop()


class _Printable(logging.Formatter):
    """What strangers wrote into a message can't repaint the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return printable(super().format(record))


def _log_to_stderr(level: str) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Printable(LOG_FORMAT))
    logging.basicConfig(level=getattr(logging, level.upper()), handlers=[handler], force=True)
    for name in QUIET:
        logging.getLogger(name).setLevel(logging.ERROR)
