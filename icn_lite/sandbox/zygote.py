"""The process that children are forked from: Python, one engine, this room's light half, and nothing else.

It speaks with the node over one SOCK_SEQPACKET socket, a question and an answer at a time:

    FORK + a descriptor    a child is forked that keeps only the descriptor       -> pid (negative: errno)
    AHEAD + a descriptor   the same, as a spare: it rehearses before it waits     -> pid (negative: errno)
    REAP + pid             wait for that child, which the node has seen end       -> wait status
    FORGET + pid           the same, for a child whose run has its outcome        -> nothing

It never sees a request: the child reads that itself from its descriptor, so nothing of a job stays here. It ends
when the node closes the socket, and its children are killed with it.

It runs as `python -I -S`, with its stack limit raised before exec, because the kernel lays out the address space
then and the guest needs the room (`jail.STACK_BYTES`). Its environment is empty.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # signal itself would load enum
import _socket
import gc
import posix
import resource
import sys

from icn_lite.sandbox import child, resident
from icn_lite.sandbox.jail import STACK_BYTES, Jail

TYPE_CHECKING = False
if TYPE_CHECKING:
    from icn_lite.sandbox.engine import Engine

FORK, AHEAD, REAP, FORGET, READY, FAILED = b"F", b"A", b"R", b"G", b"Z", b"E"
MESSAGE_BYTES = 512  # the longest message is the reason of FAILED


def main(argv: list[str]) -> None:
    """argv: the descriptor of the control socket, the engine's module and class."""
    control_fd, module, name = int(argv[1]), argv[2], argv[3]
    if _raise_stack_limit():
        posix.set_inheritable(control_fd, True)
        posix.execv(sys.executable, sys.orig_argv)
    control = _socket.socket(_socket.AF_UNIX, _socket.SOCK_SEQPACKET, 0, control_fd)
    try:
        engine: type[Engine] = getattr(__import__(module, fromlist=[name]), name)
    except (ImportError, OSError) as error:  # not installed, or a wheel that this device can't load
        control.send(FAILED + str(error).encode()[: MESSAGE_BYTES - 1])
        return
    jail = Jail(executable_memory=engine.executable_memory)
    _signal.signal(_signal.SIGINT, _signal.SIG_IGN)  # Ctrl-C is the node's to handle
    gc.collect()
    gc.disable()
    gc.freeze()
    resident.let_go()
    control.send(READY)
    _serve(control, jail, engine)


def _raise_stack_limit() -> bool:
    """True when the limit was changed, which takes effect at the next exec; false there, so exec happens once."""
    soft, hard = resource.getrlimit(resource.RLIMIT_STACK)
    want = STACK_BYTES if hard == resource.RLIM_INFINITY else min(STACK_BYTES, hard)
    if want == soft:
        return False
    try:
        resource.setrlimit(resource.RLIMIT_STACK, (want, hard))
    except (OSError, ValueError):  # then the depth budget still traps; only the margin is smaller
        return False
    return resource.getrlimit(resource.RLIMIT_STACK)[0] == want  # an emulator may say yes and do nothing


def _serve(control: _socket.socket, jail: Jail, engine: type[Engine]) -> None:
    own_pid = posix.getpid()
    while True:
        message, ancillary, _, _ = control.recvmsg(MESSAGE_BYTES, _socket.CMSG_SPACE(4))
        if not message:  # the node has gone
            return
        if message in (FORK, AHEAD):
            fd = int.from_bytes(ancillary[0][2][:4], sys.byteorder)
            try:
                pid = posix.fork()
            except OSError as error:
                pid = -(error.errno or 1)
            if pid == 0:
                child.serve(fd, own_pid, jail, engine, message == AHEAD)
            posix.close(fd)
            control.send(pid.to_bytes(8, "big", signed=True))
        elif message[:1] in (REAP, FORGET):
            _, status = posix.waitpid(int.from_bytes(message[1:9], "big"), 0)
            if message[:1] == REAP:
                control.send(status.to_bytes(8, "big"))
