"""ChaCha20-Poly1305 (RFC 8439) by libsodium, as the channel's messages need it: four times for every exchange.

PyNaCl's public functions cost 22 µs each, of which libsodium takes 2; called through the same compiled module without
their checks and copies it is 7. Lengths are checked here, since nothing below does. Where that module has another
shape than expected (it is PyNaCl's own affair), the public functions do.
"""

from __future__ import annotations

from typing import Final

from nacl import bindings
from nacl.exceptions import CryptoError

from icn_lite.model.errors import SignatureError

try:
    from nacl._sodium import ffi as _ffi
    from nacl._sodium import lib as _lib

    _encrypt_with = _lib.crypto_aead_chacha20poly1305_ietf_encrypt
    _decrypt_with = _lib.crypto_aead_chacha20poly1305_ietf_decrypt
    _NULL, _from_buffer, _BYTES = _ffi.NULL, _ffi.from_buffer, _ffi.typeof("unsigned char[]")
    DIRECT = True
except (ImportError, AttributeError):  # pragma: no cover - no PyNaCl so far
    DIRECT = False

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16
_ROOM_FOR_TAG: Final = bytes(TAG_BYTES)


def encrypt(plain: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes | bytearray:
    """The ciphertext with its tag."""
    return encrypt_behind(b"", (plain,), aad, nonce, key)


def encrypt_behind(head: bytes, plain: tuple[bytes, ...], aad: bytes, nonce: bytes, key: bytes) -> bytes | bytearray:
    """What goes out: `head` as it is, and the pieces of `plain` sealed as one. They are copied together once."""
    if not DIRECT:
        return head + encrypt_by_bindings(b"".join(plain), aad, nonce, key)
    if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} and a key of {KEY_BYTES} bytes")
    out = bytearray().join((head, *plain, _ROOM_FOR_TAG))
    place = _from_buffer(_BYTES, out) + len(head)
    _encrypt_with(place, _NULL, place, len(out) - len(head) - TAG_BYTES, aad, len(aad), _NULL, nonce, key)
    return out


def decrypt(sealed: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    """The plain bytes; raises `SignatureError` if the tag doesn't hold."""
    return bytes(decrypt_behind(0, sealed, aad, nonce, key))


def decrypt_behind(at: int, message: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes | bytearray:
    """The plain bytes of the ciphertext that stands in `message` from `at` to its end."""
    if not DIRECT:
        return decrypt_by_bindings(message[at:], aad, nonce, key)
    if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} and a key of {KEY_BYTES} bytes")
    size = len(message) - at
    if size < TAG_BYTES:
        raise SignatureError("a sealed message is too short")
    out = bytearray(size - TAG_BYTES)
    place = _from_buffer(_BYTES, message) + at
    if _decrypt_with(_from_buffer(out), _NULL, _NULL, place, size, aad, len(aad), nonce, key) != 0:
        raise SignatureError("a sealed message does not hold")
    return out


def encrypt_by_bindings(plain: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    """The same by PyNaCl's public function."""
    sealed: bytes = bindings.crypto_aead_chacha20poly1305_ietf_encrypt(plain, aad, nonce, key)
    return sealed


def decrypt_by_bindings(sealed: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    """The same by PyNaCl's public function."""
    try:
        plain: bytes = bindings.crypto_aead_chacha20poly1305_ietf_decrypt(sealed, aad, nonce, key)
    except CryptoError as error:
        raise SignatureError("a sealed message does not hold") from error
    return plain
