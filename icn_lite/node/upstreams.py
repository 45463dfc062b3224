"""From an address in the configuration to an upstream: one row a kind."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import SystemRandom
from typing import Final

from icn_lite.bridge.upstream import Upstream
from icn_lite.model import cose
from icn_lite.model.errors import NotSupported, UsageError


def _nats(address: str, signer: cose.Signer) -> Upstream:
    try:
        from icn_lite.bridge.nats import NatsAddress, NatsUpstream
    except ImportError as error:
        raise NotSupported(
            f"upstream {address!r}: nats-py is not installed", hint="pip install 'icn-lite[nats]'"
        ) from error
    return NatsUpstream(NatsAddress.parse(address), signer, SystemRandom())


SCHEMES: Final[dict[str, Callable[[str, cose.Signer], Upstream]]] = {"nats": _nats, "tls": _nats}


def open_upstreams(addresses: Sequence[str], signer: cose.Signer) -> list[Upstream]:
    """The upstreams of a configuration; raises `UsageError` for what is no address of one."""
    return [_open(address, signer) for address in dict.fromkeys(addresses)]


def _open(address: str, signer: cose.Signer) -> Upstream:
    scheme = address.split(":", 1)[0]
    if scheme not in SCHEMES:
        raise UsageError(
            f"upstream {address!r}: expected an address that begins with {', '.join(f'{name}:' for name in SCHEMES)}",
            hint="for example nats://127.0.0.1:4222?domain=hub",
        )
    return SCHEMES[scheme](address, signer)
