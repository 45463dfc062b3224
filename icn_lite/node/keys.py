"""The node's identity: one Ed25519 key in the file `key`, sealed by a passphrase or plain for unattended devices.

The file is a DAG-CBOR document (`icn-lite/key/1`). Sealed, it holds a 24-byte nonce and the XSalsa20-Poly1305 box of
the 32-byte seed under a key that Argon2id (RFC 9106) makes of the passphrase; its cost stands in the file, within
bounds, so that a forged file can't exhaust a small device. Plain, it holds the seed.

Promises: the file appears whole or not at all and never replaces another; it is created 0600 and refused when anybody
else may read it; a seed is only used when it gives the DID that stands beside it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import stat
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, ClassVar, Final

from nacl import pwhash, secret, utils
from nacl.exceptions import CryptoError

from icn_lite.model import document
from icn_lite.model.cose import SEED_LENGTH, KeySigner
from icn_lite.model.did import Did
from icn_lite.model.errors import DocumentError, StoreError, UsageError
from icn_lite.model.schema import MaxLen, Range

FILE_MODE: Final = 0o600
MAX_FILE_BYTES: Final = 1024  # a sealed key takes some 220 bytes
PASSPHRASE_VARIABLE: Final = "ICN_LITE_PASSPHRASE"
PASSPHRASE_FILE_VARIABLE: Final = "ICN_LITE_PASSPHRASE_FILE"
MAX_PASSPHRASE_BYTES: Final = 1024

# RFC 9106 §4, the second recommended choice (3 passes over 64 MiB): it must also run on a board with 512 MiB.
ARGON2_PASSES: Final = 3
ARGON2_MEMORY_KIB: Final = 64 * 1024
_SALT_BYTES: Final = pwhash.argon2id.SALTBYTES
_BOX_BYTES: Final = secret.SecretBox.NONCE_SIZE + secret.SecretBox.MACBYTES + SEED_LENGTH

PassphraseSource = Callable[[], bytes]


@dataclass(frozen=True, slots=True)
class Seal:
    """A sealed seed: the cost and salt of Argon2id, and the box (nonce first)."""

    passes: Annotated[int, Range(1, 16)]
    memory_kib: Annotated[int, Range(8, 1 << 20)]
    salt: Annotated[bytes, MaxLen(_SALT_BYTES, least=_SALT_BYTES)]
    box: Annotated[bytes, MaxLen(_BOX_BYTES, least=_BOX_BYTES)]


@dataclass(frozen=True, slots=True)
class KeyFile:
    """What the file holds: the DID, and either a plain seed or a sealed one."""

    KIND: ClassVar[str] = "icn-lite/key/1"
    AUTHOR: ClassVar[str] = "did"
    did: Did
    seed: Annotated[bytes, MaxLen(SEED_LENGTH, least=SEED_LENGTH)] | None = None
    sealed: Seal | None = None

    def __post_init__(self) -> None:
        if (self.seed is None) == (self.sealed is None):
            raise DocumentError("expected either a seed or a sealed seed")


class NodeKey(KeySigner):
    """The signer that was loaded from a file, its seed, and whether that file is sealed."""

    def __init__(self, seed: bytes, *, sealed: bool) -> None:
        super().__init__(seed)
        self.seed = seed
        self.sealed = sealed


def create_key(path: Path, passphrase: bytes | None, *, seed: bytes | None = None) -> NodeKey:
    """Make an identity and write it to `path`; an existing one is never replaced. `seed` is for tests and imports."""
    seed = seed if seed is not None else utils.random(SEED_LENGTH)
    key = NodeKey(seed, sealed=passphrase is not None)
    content = KeyFile(key.did, seed) if passphrase is None else KeyFile(key.did, sealed=_seal(seed, passphrase))
    _write_new(path, document.encode(content))
    return key


def read_key_file(path: Path) -> KeyFile:
    """Read the file without opening the seal: its DID, and whether it is sealed."""
    data = _read_private(path)
    try:
        return document.decode(KeyFile, data)
    except DocumentError as error:
        raise StoreError(
            f"{path} is no key of icn-lite: {error}", hint="restore the file from a copy; it can't be repaired"
        ) from error


def load_key(path: Path, passphrase: PassphraseSource) -> NodeKey:
    """Load the identity; `passphrase` is asked only when the key is sealed."""
    content = read_key_file(path)
    if content.sealed is not None:
        seed = _open(content.sealed, passphrase(), path)
    else:
        assert content.seed is not None  # KeyFile holds one of the two
        seed = content.seed
    key = NodeKey(seed, sealed=content.sealed is not None)
    if key.did != content.did:
        raise StoreError(f"{path} holds a key that is not that of {content.did}", hint="restore the file from a copy")
    return key


def passphrase_from(environ: Mapping[str, str], file: Path | None) -> bytes | None:
    """The passphrase from `--passphrase-file`, `ICN_LITE_PASSPHRASE_FILE` or `ICN_LITE_PASSPHRASE`; None if unset."""
    named = file or (Path(environ[PASSPHRASE_FILE_VARIABLE]) if environ.get(PASSPHRASE_FILE_VARIABLE) else None)
    if named is None:
        text = environ.get(PASSPHRASE_VARIABLE)
        return check_passphrase(os.fsencode(text)) if text is not None else None
    try:
        with named.open("rb") as stream:
            data = stream.read(MAX_PASSPHRASE_BYTES + 2)
    except OSError as error:
        raise UsageError(f"can't read the passphrase file {named}: {error.strerror}", hint="check its path") from error
    return check_passphrase(data.removesuffix(b"\n").removesuffix(b"\r"))


def check_passphrase(passphrase: bytes) -> bytes:
    """Refuse an empty or an absurdly long passphrase."""
    if not 1 <= len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise UsageError(
            f"expected a passphrase of 1 to {MAX_PASSPHRASE_BYTES} bytes, found {len(passphrase)}",
            hint="leave it out to keep the key unsealed",
        )
    return passphrase


def _seal(seed: bytes, passphrase: bytes) -> Seal:
    salt = utils.random(_SALT_BYTES)
    box = secret.SecretBox(_derive(passphrase, salt, ARGON2_PASSES, ARGON2_MEMORY_KIB)).encrypt(seed)
    return Seal(ARGON2_PASSES, ARGON2_MEMORY_KIB, salt, bytes(box))


def _open(seal: Seal, passphrase: bytes, path: Path) -> bytes:
    try:
        return bytes(secret.SecretBox(_derive(passphrase, seal.salt, seal.passes, seal.memory_kib)).decrypt(seal.box))
    except CryptoError as error:
        raise UsageError(
            f"the passphrase does not open {path}",
            hint=f"type it again, or give it by --passphrase-file, {PASSPHRASE_FILE_VARIABLE} or {PASSPHRASE_VARIABLE}",
        ) from error


def _derive(passphrase: bytes, salt: bytes, passes: int, memory_kib: int) -> bytes:
    try:
        return bytes(
            pwhash.argon2id.kdf(
                secret.SecretBox.KEY_SIZE, passphrase, salt, opslimit=passes, memlimit=memory_kib * 1024
            )
        )
    except (CryptoError, MemoryError, RuntimeError) as error:
        raise StoreError(
            f"no memory for the key's seal: it needs {memory_kib // 1024} MiB", hint="stop other programs and try again"
        ) from error


def _read_private(path: Path) -> bytes:
    """The file's bytes, if it is a plain file of ours that nobody else may read or write."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise StoreError(f"no key at {path}", hint="run `icn-lite init`, or name the home with --home") from error
    except OSError as error:
        raise StoreError(
            f"can't open the key {path}: {error.strerror}", hint="it must be a plain file of yours"
        ) from error
    try:
        _check_private(path, os.fstat(descriptor))
        data = os.read(descriptor, MAX_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(data) > MAX_FILE_BYTES:
        raise StoreError(f"{path} is too large for a key", hint="restore the file from a copy")
    return data


def _check_private(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise StoreError(f"expected the key {path} to be a plain file", hint="restore the file from a copy")
    if status.st_uid != os.geteuid():
        raise StoreError(
            f"the key {path} belongs to user {status.st_uid}, this is user {os.geteuid()}", hint="run as its owner"
        )
    if status.st_mode & 0o077:
        raise StoreError(
            f"others may read the key {path} (mode {stat.S_IMODE(status.st_mode):04o})",
            hint=f"chmod 600 {path}; if somebody may have copied it, make a new home",
        )


@contextlib.contextmanager
def _folder(path: Path) -> Iterator[int]:
    """The folder's descriptor, locked against another process that makes a key in it at the same time."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # held for a few milliseconds by whoever has it
        yield descriptor
    finally:
        os.close(descriptor)


def _write_new(path: Path, data: bytes) -> None:
    """Write to a name of its own, sync, rename, sync the folder: whole or not at all, after a power cut too."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.new")
    try:
        with _folder(path.parent) as folder:
            if path.exists():
                raise StoreError(
                    f"{path} holds an identity already", hint="keep it, or choose another home with --home"
                )
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, FILE_MODE)
            with os.fdopen(descriptor, "wb") as file:
                os.fchmod(descriptor, FILE_MODE)
                file.write(data)
                file.flush()
                os.fsync(descriptor)
            temporary.rename(path)
            os.fsync(folder)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise StoreError(
            f"can't write the key {path}: {error.strerror}", hint="check the folder and free space"
        ) from error
