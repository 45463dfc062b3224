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
    _NULL, _from_buffer = _ffi.NULL, _ffi.from_buffer
    DIRECT = True
except (ImportError, AttributeError):  # pragma: no cover - no PyNaCl so far
    DIRECT = False

KEY_BYTES: Final = 32
NONCE_BYTES: Final = 12
TAG_BYTES: Final = 16


def encrypt(plain: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes | bytearray:
    """The ciphertext with its tag."""
    if not DIRECT:
        return encrypt_by_bindings(plain, aad, nonce, key)
    if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} and a key of {KEY_BYTES} bytes")
    out = bytearray(len(plain) + TAG_BYTES)
    _encrypt_with(_from_buffer(out), _NULL, plain, len(plain), aad, len(aad), _NULL, nonce, key)
    return out


def decrypt(sealed: bytes, aad: bytes, nonce: bytes, key: bytes) -> bytes:
    """The plain bytes; raises `SignatureError` if the tag doesn't hold."""
    if not DIRECT:
        return decrypt_by_bindings(sealed, aad, nonce, key)
    if len(nonce) != NONCE_BYTES or len(key) != KEY_BYTES:
        raise ValueError(f"expected a nonce of {NONCE_BYTES} and a key of {KEY_BYTES} bytes")
    if len(sealed) < TAG_BYTES:
        raise SignatureError("a sealed message is too short")
    out = bytearray(len(sealed) - TAG_BYTES)
    if _decrypt_with(_from_buffer(out), _NULL, _NULL, sealed, len(sealed), aad, len(aad), nonce, key) != 0:
        raise SignatureError("a sealed message does not hold")
    return bytes(out)


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
