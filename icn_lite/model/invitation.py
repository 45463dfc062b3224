"""Invitations: `icn://HOST:PORT/join?f=FINGERPRINT&t=TOKEN&n=NAME`, short enough for a QR code.

The token is a secret of 16 bytes that only the inviting node and the invited one know. It is never sent: the invited
proves in the handshake that it has it (`proof`), bound to that handshake, so whoever sits between the two learns
nothing that it could use. The fingerprint is the cooperative's: the invited joins only where it is shown a membership
of that key. Further addresses of the inviting node stand as `a=HOST:PORT`. Fingerprint and token are base64url
without padding (RFC 4648 §5).
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, field
from typing import Final, Self
from urllib.parse import parse_qsl, quote, urlsplit

from icn_lite.model.errors import UsageError
from icn_lite.model.membership import FINGERPRINT_BYTES

SCHEME: Final = "icn"
TOKEN_BYTES: Final = 16
ID_BYTES: Final = 8  # names an invitation to the node that made it; tells nothing of the token
MAX_ADDRESSES: Final = 3  # of one node; more make the QR code hard to read
MAX_URI_CHARS: Final = 512
MAX_NAME_CHARS: Final = 32
_NETLOC: Final = re.compile(r"(\[[0-9A-Fa-f:.%]{2,64}\]|[0-9A-Za-z._-]{1,128}):([0-9]{1,5})")
_HINT: Final = "copy the whole line that `icn-lite invite` printed, in quotes"


@dataclass(frozen=True, slots=True)
class Invitation:
    """What stands in the URI; `addresses` are `host:port`, best first."""

    addresses: tuple[str, ...]
    fingerprint: bytes
    token: bytes = field(repr=False)
    name: str

    def __post_init__(self) -> None:
        if not 1 <= len(self.addresses) <= MAX_ADDRESSES:
            raise UsageError(f"invitation: expected 1 to {MAX_ADDRESSES} addresses, found {len(self.addresses)}")
        for netloc in self.addresses:
            found = _NETLOC.fullmatch(netloc)
            if found is None or not 0 < int(found[2]) < 65_536:
                raise UsageError(f"invitation: expected HOST:PORT, found {netloc[:80]!r}", hint=_HINT)
        if len(self.fingerprint) != FINGERPRINT_BYTES or len(self.token) != TOKEN_BYTES:
            raise UsageError("invitation: fingerprint or token is not whole", hint=_HINT)
        if not 1 <= len(self.name) <= MAX_NAME_CHARS or not self.name.isprintable():
            raise UsageError("invitation: expected the cooperative's name", hint=_HINT)

    @property
    def uris(self) -> tuple[str, ...]:
        """The inviting node's addresses as peers are named."""
        return tuple(f"coap://{netloc}" for netloc in self.addresses)

    def format(self) -> str:
        """The URI."""
        first, *more = self.addresses
        parts = [f"f={_text(self.fingerprint)}", f"t={_text(self.token)}", f"n={quote(self.name, safe='')}"]
        parts += [f"a={quote(netloc, safe=':[]')}" for netloc in more]
        return f"{SCHEME}://{first}/join?{'&'.join(parts)}"

    @classmethod
    def parse(cls, uri: str) -> Self:
        """Read the URI; anything odd is refused with `UsageError`."""
        if len(uri) > MAX_URI_CHARS:
            raise UsageError(f"invitation: expected at most {MAX_URI_CHARS} characters", hint=_HINT)
        try:
            parts = urlsplit(uri.strip())
            pairs = parse_qsl(parts.query, strict_parsing=True, max_num_fields=3 + MAX_ADDRESSES)
        except ValueError as error:
            raise UsageError("invitation: not such a URI", hint=_HINT) from error
        fields: dict[str, str] = {}
        more = [value for key, value in pairs if key == "a"]
        for key, value in pairs:
            if key in fields or key not in ("f", "t", "n", "a"):
                raise UsageError(f"invitation: {key!r} is repeated or unknown", hint=_HINT)
            if key != "a":
                fields[key] = value
        if parts.scheme != SCHEME or parts.path != "/join" or parts.fragment or len(fields) != 3:
            raise UsageError(f"invitation: expected {SCHEME}://HOST:PORT/join?f=…&t=…&n=…", hint=_HINT)
        return cls((parts.netloc, *more), _bytes(fields["f"]), _bytes(fields["t"]), fields["n"])


def invitation_id(token: bytes) -> bytes:
    """How the node that made an invitation finds it."""
    return hashlib.sha256(b"icn-lite/invitation-id/1" + token).digest()[:ID_BYTES]


def proof(token: bytes, transcript: bytes) -> bytes:
    """What shows that one has the token, in this handshake and in no other."""
    return hmac.digest(token, b"icn-lite/invitation-proof/1" + transcript, "sha256")


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _bytes(text: str) -> bytes:
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise UsageError("invitation: fingerprint or token is not base64url", hint=_HINT) from error
    if _text(data) != text:
        raise UsageError("invitation: fingerprint or token is not base64url", hint=_HINT)
    return data
