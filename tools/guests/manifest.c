/* manifest.c: verify the integrity of files against their SHA-256.
 *
 * Input: one packed shard, output: a report in deterministic DAG-CBOR. README.md, "The manifest shard", has both
 * formats and the exit codes. Nothing in the input is trusted: every length is checked before it is used, so that a
 * malformed shard ends with an exit code and a line in the log, never with a trap.
 */
#include "icn.h"
#include "sha256.h"

enum {
    HEADER_BYTES = 12,
    ENTRY_BYTES = 40,
    PATH_MAX_BYTES = 4096, /* Linux PATH_MAX: no file has a longer name */
    REPORT_HEAD_BYTES = 64 /* the report without its indices takes at most 52 bytes */
};

enum exit_code { OK, TOO_SHORT, BAD_MAGIC, BAD_VERSION, BAD_ENTRY, BAD_LENGTH, NO_MEMORY, HOST_ERROR };

#define REFUSE(code, text)           \
    do {                             \
        ICN_LOG("manifest: " text);  \
        return code;                 \
    } while (0)

static inline u32 read_u32(const u8 *p) { return *(const u32_unaligned *)p; }
static inline void write_u32(u8 *p, u32 value) { *(u32_unaligned *)p = value; }

/* CBOR head (RFC 8949 §3) of the shortest form. */
static u8 *put_head(u8 *p, u32 major, u32 value) {
    u32 bytes = value < 24 ? 0 : value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;
    *p++ = (u8)(major << 5 | (bytes == 0 ? value : bytes == 1 ? 24 : bytes == 2 ? 25 : 26));
    while (bytes--) *p++ = (u8)(value >> (8 * bytes));
    return p;
}

static u8 *put_text(u8 *p, const char *text, u32 len) {
    p = put_head(p, 3, len);
    for (u32 i = 0; i < len; i++) *p++ = (u8)text[i];
    return p;
}

/* Lengths of all paths and of all data; an exit code when an entry or the sum does not fit the input. */
static int measure(const u8 *shard, u32 len, u32 count, u32 *paths_bytes, u32 *data_bytes) {
    u64 paths = 0, data = 0;
    for (u32 i = 0; i < count; i++) {
        const u8 *entry = shard + HEADER_BYTES + i * ENTRY_BYTES;
        u32 path_len = read_u32(entry);
        if (path_len == 0 || path_len > PATH_MAX_BYTES) REFUSE(BAD_ENTRY, "a path has no bytes or more than 4096");
        paths += path_len;
        data += read_u32(entry + 4);
    }
    if (HEADER_BYTES + (u64)count * ENTRY_BYTES + paths + data != len)
        REFUSE(BAD_LENGTH, "the lengths of the entries do not add up to the input");
    *paths_bytes = (u32)paths;
    *data_bytes = (u32)data;
    return OK;
}

/* Hash every file. The indices of those that differ are left as u32 at `shard + HEADER_BYTES`, over entries that
 * have been read already (4 bytes written for 40 read); returns how many. */
static u32 verify(u8 *shard, u32 count, const u8 *data) {
    u32 wrong = 0, digest[8];
    for (u32 i = 0; i < count; i++) {
        const u8 *entry = shard + HEADER_BYTES + i * ENTRY_BYTES;
        u32 len = read_u32(entry + 4), differ = 0;
        sha256(data, len, digest);
        for (u32 j = 0; j < 8; j++) differ |= digest[j] ^ sha256_be(read_u32(entry + 8 + 4 * j));
        if (differ) write_u32(shard + HEADER_BYTES + 4 * wrong++, i);
        data += len;
    }
    return wrong;
}

static u8 *put_report(u8 *p, u32 files, u32 bytes, u32 wrong, const u8 *indices) {
    p = put_head(p, 5, 4);
    p = put_head(put_text(p, "v", 1), 0, 1);
    p = put_head(put_text(p, "bytes", 5), 0, bytes);
    p = put_head(put_text(p, "files", 5), 0, files);
    p = put_head(put_text(p, "mismatches", 10), 4, wrong);
    for (u32 i = 0; i < wrong; i++) p = put_head(p, 0, read_u32(indices + 4 * i));
    return p;
}

ICN_EXPORT("run") int run(void) {
    i32 len = icn_get_input(0, 0);
    if (len < 0) REFUSE(HOST_ERROR, "the host gives no input");
    if (len < HEADER_BYTES) REFUSE(TOO_SHORT, "the input is shorter than the header of 12 bytes");
    u8 *shard = (u8 *)ICN_HEAP;
    if (!icn_reserve(ICN_HEAP, len)) REFUSE(NO_MEMORY, "the input does not fit the memory");
    if (icn_get_input(shard, len) != len) REFUSE(HOST_ERROR, "the host gives another length than it said");
    if (read_u32(shard) != 0x4d4e4349) REFUSE(BAD_MAGIC, "the input does not begin with ICNM");
    if (read_u32(shard + 4) != 1) REFUSE(BAD_VERSION, "the shard has a version other than 1");
    u32 count = read_u32(shard + 8), paths_bytes, data_bytes;
    if (count > ((u32)len - HEADER_BYTES) / ENTRY_BYTES) REFUSE(BAD_ENTRY, "more entries than the input can hold");
    int code = measure(shard, len, count, &paths_bytes, &data_bytes);
    if (code) return code;

    u32 wrong = verify(shard, count, shard + HEADER_BYTES + count * ENTRY_BYTES + paths_bytes);
    u32 report = ICN_HEAP + len;
    if (!icn_reserve(report, REPORT_HEAD_BYTES + 5 * wrong)) REFUSE(NO_MEMORY, "the report does not fit the memory");
    u8 *end = put_report((u8 *)report, count, data_bytes, wrong, shard + HEADER_BYTES);
    if (icn_put_output((u8 *)report, (u32)end - report) != 0) REFUSE(HOST_ERROR, "the host refuses the report");
    return OK;
}
