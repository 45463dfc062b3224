"""Whoever may only pretend to be where its datagrams come from is sent no more than it sent (RFC 9175 §2.4).

A stranger's request over UDP is answered in full if that takes no more bytes than the request had. Else the answer is
4.01 with an Echo, which shows, when it comes back, that somebody hears us there; and where not even that fits, the bare
code. An address is believed for a while after an Echo of ours, a handshake's cookie, or a sealed request came from it.

An Echo is an HMAC over the address and the time's slot under a secret of this process: nothing is kept for it. The
table of believed addresses is bounded; one that falls out is asked again. Pure: the caller brings time and the secret.
"""

from __future__ import annotations

import hmac
from collections import OrderedDict
from typing import Final

from aiocoap import Message
from aiocoap.numbers.codes import Code

from icn_lite.mesh.limits import MeshLimits
from icn_lite.mesh.ports import Remote

SECRET_BYTES: Final = 32
ECHO_BYTES: Final = 6  # fits in answers to the shortest requests; a lucky guess wins little
_LABEL: Final = b"icn-lite/echo/1"


class Echoes:
    """Which addresses were shown to be where they say they are."""

    def __init__(self, limits: MeshLimits, secret: bytes) -> None:
        self._limits = limits
        self._secret = secret
        self._until_s: OrderedDict[tuple[str, int], float] = OrderedDict()

    def __len__(self) -> int:
        return len(self._until_s)

    def believes(self, remote: Remote, now_s: float) -> bool:
        """Whether answers may be larger than their requests. A TCP connection has shown it by itself."""
        return remote.transport == "tcp" or self.proved(remote, now_s)

    def proved(self, remote: Remote, now_s: float) -> bool:
        """Whether somebody there answered an Echo or a cookie, or has a session."""
        return self._until_s.get((remote.host, remote.port), 0.0) > now_s

    def remember(self, remote: Remote, now_s: float) -> None:
        """Somebody was heard there who hears us."""
        key = (remote.host, remote.port)
        self._until_s[key] = now_s + self._limits.believed_ms / 1000
        self._until_s.move_to_end(key)
        if len(self._until_s) > self._limits.peers_tracked:
            self._until_s.popitem(last=False)

    def challenge(self, remote: Remote, now_s: float) -> bytes:
        """The Echo for an address, now."""
        return self._echo(remote, self._slot(now_s))

    def heard(self, remote: Remote, echo: bytes, now_s: float) -> bool:
        """An Echo came in; if it is ours, of this address and fresh, the address is believed from now on."""
        slot = self._slot(now_s)
        holds = any(hmac.compare_digest(self._echo(remote, known), echo) for known in (slot, slot - 1))
        if holds:
            self.remember(remote, now_s)
        return holds

    def _slot(self, now_s: float) -> int:
        return int(now_s * 1000) // self._limits.echo_ms

    def _echo(self, remote: Remote, slot: int) -> bytes:
        said = f"{slot} {remote.port} {remote.host}".encode()
        return hmac.digest(self._secret, _LABEL + said, "sha256")[:ECHO_BYTES]


def weight(message: Message) -> int:
    """How many bytes a message takes on the wire beside its header and token."""
    payload = len(message.payload)
    return len(message.opt.encode()) + (payload + 1 if payload else 0)


def fitted(answer: Message, room: int, echo: bytes) -> Message:
    """An answer in at most `room` bytes: itself, else a challenge, else its bare code (4.01 for a success)."""
    if weight(answer) <= room:
        return answer
    challenge = Message(code=Code.UNAUTHORIZED)
    challenge.opt.echo = echo
    if weight(challenge) <= room:
        return challenge
    return Message(code=Code.UNAUTHORIZED if answer.code.is_successful() else answer.code)
