"""The cooperatives of one home, on disk: a folder for each under `coops/`, named by the cooperative's fingerprint.

    membership   this node's certificate (COSE_Sign1)
    key          the cooperative's own key, where this home made it, sealed under this node's
    revocations  who is no member any more (signed blocks)
    invitations  those given out here that may still be used
    addresses    where the node that invited this one is reached

Every file is one DAG-CBOR value, written whole or not at all, readable by this user alone. A folder that can't be read
is an error that names it: to start without a revocation would let somebody in who was put out.
"""

from __future__ import annotations

import hashlib
import threading
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, ClassVar, Final

from nacl import secret, utils
from nacl.exceptions import CryptoError

from icn_lite.model import cbor, cose, document, schema
from icn_lite.model.did import Did
from icn_lite.model.document import Sealed
from icn_lite.model.errors import IcnLiteError, StoreError
from icn_lite.model.invitation import TOKEN_BYTES
from icn_lite.model.membership import (
    Label,
    MemberRole,
    Membership,
    Revocation,
    fingerprint,
    read_membership,
    read_revocation,
)
from icn_lite.model.schema import MaxLen
from icn_lite.model.units import EpochS, Uri
from icn_lite.node.files import write_whole

MAX_COOPERATIVES: Final = 8  # of one node; each is a hint in every offer
MAX_INVITATIONS: Final = 64  # open at a time, of one cooperative
MAX_FILE_BYTES: Final = 16 << 20  # every revocation that is kept at its largest
MAX_ADDRESSES: Final = 4
_BOX_BYTES: Final = secret.SecretBox.NONCE_SIZE + secret.SecretBox.MACBYTES + cose.SEED_LENGTH
_SEAL: Final = b"icn-lite/cooperative-key-seal/1\0"


class CooperativeSigner(cose.KeySigner):
    """A cooperative's key, which its maker's home keeps."""

    def __init__(self, seed: bytes) -> None:
        super().__init__(seed)
        self.seed = seed


@dataclass(frozen=True, slots=True)
class CooperativeKey:
    """The file `key`: the cooperative's seed in a box that only this node's key opens."""

    KIND: ClassVar[str] = "icn-lite/cooperative-key/1"
    AUTHOR: ClassVar[str] = "cooperative"
    cooperative: Did
    box: Annotated[bytes, MaxLen(_BOX_BYTES, least=_BOX_BYTES)]


@dataclass(frozen=True, slots=True)
class Invited:
    """One invitation that was given out; `member` is who has used it."""

    token: Annotated[bytes, MaxLen(TOKEN_BYTES, least=TOKEN_BYTES)] = field(repr=False)
    roles: Annotated[tuple[MemberRole, ...], MaxLen(len(MemberRole), least=1)]
    expires_at: EpochS
    days: Annotated[int, schema.Range(1, 3660)]
    scope: Label | None = None
    member: Did | None = None


@dataclass(frozen=True, slots=True)
class _Invitations:
    KIND: ClassVar[str] = "icn-lite/invitations/1"
    AUTHOR: ClassVar[str] = ""
    given: Annotated[tuple[Invited, ...], MaxLen(MAX_INVITATIONS)]


@dataclass(frozen=True, slots=True)
class _Addresses:
    KIND: ClassVar[str] = "icn-lite/addresses/1"
    AUTHOR: ClassVar[str] = ""
    uris: Annotated[tuple[Uri, ...], MaxLen(MAX_ADDRESSES)]


@dataclass(slots=True)
class Cooperative:
    """One cooperative that this home belongs to."""

    folder: Path
    held: Sealed[Membership]
    key: CooperativeSigner | None = None
    revocations: tuple[Sealed[Revocation], ...] = ()
    invitations: tuple[Invited, ...] = ()
    addresses: tuple[str, ...] = ()
    _writing: threading.Lock = field(default_factory=threading.Lock, repr=False, compare=False)

    @property
    def did(self) -> Did:
        """The cooperative."""
        return self.held.document.cooperative

    @property
    def name(self) -> str:
        """What people call it."""
        return self.held.document.name

    # -- what changes on disk

    def save_membership(self, sealed: Sealed[Membership]) -> None:
        """A newer certificate takes the older one's place."""
        write_whole(self.folder / "membership", sealed.block)
        self.held = sealed

    # Both are saved as they are when their turn comes, one at a time: several threads may have come to it, and
    # what one of them knew when it began must not take the place of what another has saved meanwhile.

    def save_invitations(self) -> None:
        """The open invitations."""
        with self._writing:
            write_whole(self.folder / "invitations", document.encode(_Invitations(self.invitations)))

    def save_revocations(self) -> None:
        """The revocations of this cooperative."""
        with self._writing:
            write_whole(self.folder / "revocations", cbor.encode([sealed.block for sealed in self.revocations]))

    def save_addresses(self, uris: tuple[str, ...]) -> None:
        """Where the node that invited us is reached."""
        write_whole(self.folder / "addresses", document.encode(_Addresses(uris[:MAX_ADDRESSES])))
        self.addresses = uris[:MAX_ADDRESSES]


def place(
    coops: Path, sealed: Sealed[Membership], signer: cose.Signer, key: CooperativeSigner | None = None
) -> Cooperative:
    """Make a cooperative's folder, or give the one that stands there a newer certificate; `key` is sealed into it."""
    folder = coops / fingerprint(sealed.document.cooperative).hex()
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise StoreError(f"can't make {folder}: {error.strerror}", hint="check permissions and free space") from error
    if key is not None:
        box = secret.SecretBox(_sealing_key(signer, key.did)).encrypt(key.seed)
        write_whole(folder / "key", document.encode(CooperativeKey(key.did, bytes(box))))
    write_whole(folder / "membership", sealed.block)
    return _read(folder, signer)


def load(coops: Path, signer: cose.Signer) -> list[Cooperative]:
    """All cooperatives of a home, the earliest joined first."""
    try:
        folders = [path for path in coops.iterdir() if (path / "membership").exists()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise StoreError(f"can't read {coops}: {error.strerror}", hint="check the folder's permissions") from error
    found = [_read(folder, signer) for folder in folders]
    return sorted(found, key=lambda cooperative: (cooperative.held.document.issued_at, cooperative.name))


def held(coops: Path) -> list[Membership]:
    """The certificates of a home, without anybody's key: for those who only look."""
    paths = sorted(coops.glob("*/membership"))
    return [read_membership(_bytes(path)).document for path in paths]


def _read(folder: Path, signer: cose.Signer) -> Cooperative:
    name = "membership"
    try:
        certificate = read_membership(_bytes(folder / name))
        found = Cooperative(folder, certificate)
        if certificate.document.member != signer.did:
            raise StoreError(f"{folder / name} is the membership of {certificate.document.member}, not of this node")
        name = "key"
        if (folder / name).exists():
            found.key = _open_key(_bytes(folder / name), signer)
        name = "revocations"
        if (folder / name).exists():
            found.revocations = tuple(read_revocation(block) for block in _blocks(_bytes(folder / name)))
        name = "invitations"
        if (folder / name).exists():
            found.invitations = document.decode(_Invitations, _bytes(folder / name)).given
        name = "addresses"
        if (folder / name).exists():
            found.addresses = document.decode(_Addresses, _bytes(folder / name)).uris
    except StoreError:
        raise
    except IcnLiteError as error:
        raise StoreError(
            f"{folder / name} can't be read: {error.message}",
            hint=f"restore it from a copy, or leave that cooperative by removing {folder}",
        ) from error
    return found


def _sealing_key(signer: cose.Signer, cooperative: Did) -> bytes:
    """A key that only this node can make: the hash of its own (deterministic) signature."""
    return hashlib.sha256(_SEAL + signer.sign(_SEAL + cooperative.public_key)).digest()


def _open_key(data: bytes, signer: cose.Signer) -> CooperativeSigner:
    content = document.decode(CooperativeKey, data)
    try:
        seed = secret.SecretBox(_sealing_key(signer, content.cooperative)).decrypt(content.box)
    except CryptoError as error:
        raise StoreError(f"the key of {content.cooperative} was sealed by another node's") from error
    key = CooperativeSigner(bytes(seed))
    if key.did != content.cooperative:
        raise StoreError(f"the key is not that of {content.cooperative}")
    return key


def new_key() -> CooperativeSigner:
    """A fresh cooperative."""
    return CooperativeSigner(bytes(utils.random(cose.SEED_LENGTH)))


def _blocks(data: bytes) -> list[bytes]:
    value = cbor.decode(data, max_bytes=MAX_FILE_BYTES)
    return [block for block in value if isinstance(block, bytes)] if isinstance(value, list) else []


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise StoreError(f"can't read {path}: {error.strerror}", hint="check the file's permissions") from error
    if len(data) > MAX_FILE_BYTES:
        raise StoreError(f"{path} has more than {MAX_FILE_BYTES} bytes", hint="restore it from a copy")
    return data
