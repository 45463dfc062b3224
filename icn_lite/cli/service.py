"""A node as a service: one event loop, the log on stderr, and an end by signal or by the end of standard input."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TYPE_CHECKING, Final

from icn_lite.cli.output import Json, Output, flush_stdout, printable
from icn_lite.model.cose import KeySigner
from icn_lite.node.config import load_config
from icn_lite.node.home import Home
from icn_lite.node.node import Node, NodeOptions
from icn_lite.node.thrift import Thrift

if TYPE_CHECKING:
    from icn_lite.cli.daemon import Order

LOG_FORMAT: Final = "%(asctime)s %(levelname)-7s %(message)s"
# Libraries that say more than their users want to read; what matters of theirs reaches our own log.
QUIET: Final = ("coap", "coap-server", "zeroconf", "asyncio", "aiocoap")


def run_node(order: Order) -> None:
    """Run a node until it is told to stop."""
    home = Home(Path(order.home))
    config = load_config(home.config, os.environ, order.settings)
    _log_to_stderr(config.log_level.value)
    thrift = Thrift()
    node = Node(NodeOptions(home, config, KeySigner(order.seed), thrift.give_back))
    out = Output(as_json=order.as_json)

    def ready() -> None:
        thrift.settle()
        _tell(node, out)

    asyncio.run(_until_told(node.run(ready), until_eof=order.until_eof))


def _tell(node: Node, out: Output) -> None:
    """The node listens."""
    if not out.as_json:
        out.note(f"node {node.shell.did} listens on port {node.endpoint.port} (profile {node.profile.name})")
        return
    facts: dict[str, Json] = {
        "did": str(node.shell.did),
        "port": node.endpoint.port,
        "endpoints": list(node.shell.endpoints),
        "profile": node.profile.name,
        "home": str(node.options.home.path),
        "mdns": node.neighbourhood.available if node.neighbourhood else False,
    }
    out.document(facts)
    flush_stdout()


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
