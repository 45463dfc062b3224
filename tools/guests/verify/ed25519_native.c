/* ed25519_native.c: verify Ed25519 signatures by the host's own routine, at a fixed price in fuel. */
#define GUEST "ed25519_native"
#include "signatures.h"

static int holds(const u8 *message, u32 len, const u8 *key, const u8 *signature) {
    return icn_ed25519_verify(message, len, signature, key);
}
