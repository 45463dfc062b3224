"""What the node lends to a run: the port behind host functions that the child can't answer alone.

A call crosses as its name, its numbers (signed, buffer lengths unsigned) and the bytes its pointers named, in the
order of `hostabi.REMOTE`; the answer is a number for the guest (negative: a `HostAbiError`) and bytes for its buffer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Protocol

from icn_lite.model.errors import HostAbiError
from icn_lite.sandbox.outcome import RunContext

ALWAYS_PERMITTED: Final = frozenset({"io", "job", "data", "crypto", "wasi"})
"""Permissions that every run has: they reach nothing outside the run itself."""


@dataclass(frozen=True, slots=True)
class HostCall:
    """One call of a guest."""

    name: str
    numbers: tuple[int, ...]
    blocks: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class HostAnswer:
    """`result` is what the guest sees; `data` is written to its buffer and may not exceed it."""

    result: int
    data: bytes = b""

    @classmethod
    def refused(cls, error: HostAbiError) -> HostAnswer:
        return cls(int(error))


class HostPort(Protocol):
    """The node's side. Calls come one at a time from one run, but from several runs at once."""

    def serves(self, name: str) -> bool:
        """Whether there is anybody to answer this function; what is not served answers `NotSupported`."""
        ...

    async def call(self, context: RunContext, call: HostCall) -> HostAnswer:
        """Answer within the run's deadline; an `IcnLiteError` becomes `Unknown` for the guest."""
        ...


BUILT_IN: Final = frozenset({"ed25519_verify"})
"""Answered by the pool itself: libsodium would cost every child a megabyte."""


def answer_built_in(call: HostCall) -> HostAnswer:
    """`ed25519_verify`: 1 when the signature holds, 0 when it doesn't (RFC 8032, libsodium's strict form)."""
    from nacl.bindings import crypto_sign_open
    from nacl.exceptions import BadSignatureError

    message, signature, key = call.blocks
    try:
        crypto_sign_open(signature + message, key)
    except BadSignatureError:
        return HostAnswer(0)
    return HostAnswer(1)
