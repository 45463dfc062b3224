"""Which layers of the jail hold on this device, found by putting a child into it and asking."""

from __future__ import annotations

import socket
from typing import Final

from icn_lite.model.errors import IcnLiteError
from icn_lite.sandbox import frames, wire, zygote
from icn_lite.sandbox.forkserver import SandboxError, Zygote

PROBE_TIMEOUT_S: Final = 60.0  # the same as for a start on a slow device

Layer = wire.LayerReport


def layers(engine: str = "wasm3") -> list[Layer]:
    """Start a zygote, fork a child that only enters the jail, and list what it found. Blocks for some 50 ms.

    A device on which no child can be had at all yields one layer that says so.
    """
    keeper = Zygote(engine)
    try:
        control = keeper.launch()
        control.settimeout(PROBE_TIMEOUT_S)
        keeper.check_started(control.recv(zygote.MESSAGE_BYTES))
        found = _probe(control)
        return [Layer("process", True, "each run has a process of its own, forked and gone afterwards"), *found]
    except (IcnLiteError, OSError, frames.FrameError, wire.ProtocolError) as error:
        return [Layer("process", False, f"no child could be had: {error}")]
    finally:
        keeper.close()


def _probe(control: socket.socket) -> list[Layer]:
    ours, theirs = socket.socketpair()
    with ours:
        with theirs:
            socket.send_fds(control, [zygote.FORK], [theirs.fileno()])
            pid = int.from_bytes(control.recv(zygote.MESSAGE_BYTES)[:8], "big", signed=True)
        if pid <= 0:
            raise SandboxError("this device refuses another process")
        ours.settimeout(PROBE_TIMEOUT_S)
        ours.sendall(wire.encode_probe())
        ours.setblocking(True)
        found = wire.read_layers(wire.decode_answer(frames.read_frame(ours.fileno())))
        control.send(zygote.REAP + pid.to_bytes(8, "big"))
        control.recv(zygote.MESSAGE_BYTES)
        return found
