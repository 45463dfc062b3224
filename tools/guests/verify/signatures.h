/* signatures.h: a shard of Ed25519 signatures; `holds` is the guest's, native or in WebAssembly. */
#ifndef SIGNATURES_H
#define SIGNATURES_H

#include "shard.h"

enum {
    MAGIC = 0x534e4349, /* ICNS */
    KEY_BYTES = 32,
    SIGNATURE_BYTES = 64,
    ENTRY_BYTES = 4 + KEY_BYTES + SIGNATURE_BYTES
};

/* 1 when the signature holds, 0 when it does not, negative when the host refuses to look. */
static int holds(const u8 *message, u32 len, const u8 *key, const u8 *signature);

ICN_EXPORT("run") int run(void) {
    struct shard s;
    int code = shard_load(&s, MAGIC, SHARD_HEAD_BYTES, ENTRY_BYTES);
    if (code) return code;
    u64 bytes = 0;
    for (u32 i = 0; i < s.count; i++) bytes += read_u32(shard_entry(&s, i));
    if (bytes != s.data_bytes) REFUSE(BAD_LENGTH, "the lengths of the entries do not add up");
    const u8 *message = s.data;
    for (u32 i = 0; i < s.count; i++) {
        const u8 *entry = shard_entry(&s, i);
        u32 len = read_u32(entry);
        int answer = holds(message, len, entry + 4, entry + 4 + KEY_BYTES);
        if (answer < 0) REFUSE(HOST_ERROR, "the host refuses to look at a signature");
        if (!answer) note(&s, i);
        message += len;
    }
    return shard_report(&s, 1);
}

#endif
