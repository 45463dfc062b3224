"""From an address in the configuration to an upstream: one row a kind."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import SystemRandom
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs

from icn_lite.bridge.nats_address import NatsAddress
from icn_lite.bridge.upstream import Upstream
from icn_lite.model import cose
from icn_lite.model.errors import NotSupported, UsageError

if TYPE_CHECKING:
    from icn_lite.bridge.http import Server


@dataclass(frozen=True, slots=True)
class Scheme:
    """One kind of upstream: `check` refuses what is no address of it, `open` makes it."""

    check: Callable[[str], None]
    open: Callable[[str, cose.Signer], Upstream]


def _check_nats(address: str) -> None:
    NatsAddress.parse(address)
    try:
        importlib.import_module("icn_lite.bridge.nats")
    except ImportError as error:
        raise NotSupported(
            f"upstream {address!r}: nats-py is not installed", hint="pip install 'icn-lite[nats]'"
        ) from error


def _open_nats(address: str, signer: cose.Signer) -> Upstream:
    from icn_lite.bridge.nats import NatsUpstream

    return NatsUpstream(NatsAddress.parse(address), signer, SystemRandom())


def _core_of(address: str) -> tuple[Server, str | None]:
    """`icn-core+http://HOST[:PORT]` or `icn-core+https://…`, with `?key-file=PATH` for its API key."""
    from icn_lite.bridge.http import Server
    from icn_lite.bridge.icn_core_http import DEFAULT_PORT

    url, _, query = address.removeprefix("icn-core+").partition("?")
    given = parse_qs(query)
    key_file = given.pop("key-file", [None])[-1]
    try:
        if given:
            raise ValueError(f"expected ?key-file=PATH at most, found {query!r}")
        return Server.parse(url, DEFAULT_PORT), Path(key_file).read_text("ascii").strip() if key_file else None
    except (ValueError, OSError) as error:
        raise UsageError(f"upstream {address!r}: {error}", hint="for example icn-core+http://127.0.0.1:7845") from error


def _check_core(address: str) -> None:
    _core_of(address)


def _open_core(address: str, signer: cose.Signer) -> Upstream:
    from icn_lite.bridge.icn_core_http import IcnCore, IcnCoreUpstream

    return IcnCoreUpstream(IcnCore(*_core_of(address)))


_CORE: Final = Scheme(_check_core, _open_core)
_NATS: Final = Scheme(_check_nats, _open_nats)
SCHEMES: Final[dict[str, Scheme]] = {"nats": _NATS, "tls": _NATS, "icn-core+http": _CORE, "icn-core+https": _CORE}


def check_upstreams(addresses: Sequence[str]) -> None:
    """Raises `UsageError` for what is no address of an upstream, `NotSupported` for one that can't be had here."""
    for address in addresses:
        _scheme(address).check(address)


def open_upstreams(addresses: Sequence[str], signer: cose.Signer) -> list[Upstream]:
    """The upstreams of a configuration; raises as `check_upstreams` does."""
    check_upstreams(addresses)
    return [_scheme(address).open(address, signer) for address in dict.fromkeys(addresses)]


def _scheme(address: str) -> Scheme:
    scheme = SCHEMES.get(address.split(":", 1)[0])
    if scheme is None:
        raise UsageError(
            f"upstream {address!r}: expected an address that begins with {', '.join(f'{name}:' for name in SCHEMES)}",
            hint="for example nats://127.0.0.1:4222?domain=hub",
        )
    return scheme
