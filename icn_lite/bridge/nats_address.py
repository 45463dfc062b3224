"""Where a NATS hub is reached, as it stands in the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qs, urlsplit

from icn_lite.model.errors import UsageError

DEFAULT_PORT: Final = 4222


@dataclass(frozen=True, slots=True)
class NatsAddress:
    """Where a hub is reached: `nats://HOST:PORT` or `tls://…`, with `?domain=NAME` where it is behind a leaf node."""

    url: str
    domain: str | None = None

    @classmethod
    def parse(cls, text: str) -> NatsAddress:
        """Read an address of the configuration; passwords don't belong there, the node's key logs in."""
        try:
            parts = urlsplit(text)
            port = parts.port or DEFAULT_PORT
        except ValueError as error:
            raise UsageError(
                f"upstream {text!r}: {error}", hint="for example nats://127.0.0.1:4222?domain=hub"
            ) from error
        query = parse_qs(parts.query)
        domain = query.pop("domain", [None])[-1]
        if parts.scheme not in ("nats", "tls") or not parts.hostname or parts.path.strip("/") or query:
            raise UsageError(
                f"upstream {text!r}: expected nats://HOST:PORT or tls://HOST:PORT, with ?domain=NAME at most",
                hint="for example nats://127.0.0.1:4222?domain=hub",
            )
        if parts.username or parts.password:
            raise UsageError(f"upstream {parts.hostname}: expected no password", hint="the node's own key logs in")
        host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
        return cls(f"{parts.scheme}://{host}:{port}", domain)

    def __str__(self) -> str:
        return f"{self.url}?domain={self.domain}" if self.domain else self.url
