/* ed25519.c: verify Ed25519 signatures in WebAssembly alone, so that the result depends on no host's library. */
#define GUEST "ed25519"
#include "ed25519.h"
#include "signatures.h"

static int holds(const u8 *message, u32 len, const u8 *key, const u8 *signature) {
    static int begun;
    if (!begun) {
        ed25519_begin();
        begun = 1;
    }
    return ed25519_verify(message, len, key, signature);
}
