/* shard.h: what the verification guests share: reading a packed shard, noting findings, writing the report.
 *
 * A shard is a header (magic, version, count, whatever the guest adds), `count` entries of one size, then data. Every
 * length is checked before it is used. A finding (an item that does not verify) is no failure: its index goes into
 * the report. Findings are kept as u32 over entries that have been read already, so no allocator is needed.
 * README.md, "Inputs", has the formats and exit codes.
 */
#ifndef SHARD_H
#define SHARD_H

#include "icn.h"

enum exit_code { OK, TOO_SHORT, BAD_MAGIC, BAD_VERSION, BAD_ENTRY, BAD_LENGTH, NO_MEMORY, HOST_ERROR };

enum {
    SHARD_VERSION = 1,
    SHARD_HEAD_BYTES = 12,   /* magic, version, count */
    SHARD_REPORT_BYTES = 64 /* a report without its indices takes at most 48 bytes */
};

typedef u32 __attribute__((aligned(1), may_alias)) u32_at;
typedef u64 __attribute__((aligned(1), may_alias)) u64_at;

static inline u32 read_u32(const u8 *p) { return *(const u32_at *)p; }
static inline u64 read_u64(const u8 *p) { return *(const u64_at *)p; }

#define REFUSE(code, text)         \
    do {                           \
        ICN_LOG(GUEST ": " text);  \
        return code;               \
    } while (0)

struct shard {
    u8 *at;       /* all of it */
    u8 *entries;  /* findings overwrite them from the front */
    u8 *data;     /* behind the entries */
    u32 len, count, entry_bytes;
    u32 data_bytes;
    u32 findings;
};

/* Load the input behind `ICN_HEAP` and look at its header; `header_bytes` include magic, version and count. */
static int shard_load(struct shard *s, u32 magic, u32 header_bytes, u32 entry_bytes) {
    i32 len = icn_get_input(0, 0);
    if (len < 0) REFUSE(HOST_ERROR, "the host gives no input");
    if ((u32)len < header_bytes) REFUSE(TOO_SHORT, "the input is shorter than its header");
    if (!icn_reserve(ICN_HEAP, len)) REFUSE(NO_MEMORY, "the input does not fit the memory");
    s->at = (u8 *)ICN_HEAP;
    if (icn_get_input(s->at, len) != len) REFUSE(HOST_ERROR, "the host gives another length than it said");
    if (read_u32(s->at) != magic) REFUSE(BAD_MAGIC, "the input begins with another magic");
    if (read_u32(s->at + 4) != SHARD_VERSION) REFUSE(BAD_VERSION, "the shard has a version other than 1");
    s->len = len;
    s->count = read_u32(s->at + 8);
    s->entry_bytes = entry_bytes;
    s->entries = s->at + header_bytes;
    if (s->count > (s->len - header_bytes) / entry_bytes) REFUSE(BAD_ENTRY, "more entries than the input can hold");
    s->data = s->entries + s->count * entry_bytes;
    s->data_bytes = s->len - (u32)(s->data - s->at);
    s->findings = 0;
    return OK;
}

static inline const u8 *shard_entry(const struct shard *s, u32 index) { return s->entries + index * s->entry_bytes; }

/* CBOR head (RFC 8949 §3) of the shortest form. */
static u8 *put_head(u8 *p, u32 major, u32 value) {
    u32 bytes = value < 24 ? 0 : value < 0x100 ? 1 : value < 0x10000 ? 2 : 4;
    *p++ = (u8)(major << 5 | (bytes == 0 ? value : bytes == 1 ? 24 : bytes == 2 ? 25 : 26));
    while (bytes--) *p++ = (u8)(value >> (8 * bytes));
    return p;
}

static u8 *put_key(u8 *p, const char *text, u32 len) {
    p = put_head(p, 3, len);
    for (u32 i = 0; i < len; i++) *p++ = (u8)text[i];
    return p;
}

/* `words` u32 a finding: its index and what else the guest noted. Word `word` of each, as an array. */
static u8 *put_findings(u8 *p, const struct shard *s, u32 words, u32 word) {
    p = put_head(p, 4, s->findings);
    for (u32 i = 0; i < s->findings; i++) p = put_head(p, 0, read_u32(s->entries + 4 * (words * i + word)));
    return p;
}

static inline void note(struct shard *s, u32 value) { *(u32_at *)(s->entries + 4 * s->findings++) = value; }

/* {"v": 1, "items": …, "offsets": […] if there are two words a finding, "mismatches": […]} */
static int shard_report(struct shard *s, u32 words) {
    u32 report = ICN_HEAP + s->len;
    s->findings /= words;
    if (!icn_reserve(report, SHARD_REPORT_BYTES + 5 * words * s->findings))
        REFUSE(NO_MEMORY, "the report does not fit the memory");
    u8 *p = put_head((u8 *)report, 5, words + 2);
    p = put_head(put_key(p, "v", 1), 0, SHARD_VERSION);
    p = put_head(put_key(p, "items", 5), 0, s->count);
    if (words > 1) p = put_findings(put_key(p, "offsets", 7), s, words, 1);
    p = put_findings(put_key(p, "mismatches", 10), s, words, 0);
    if (icn_put_output((u8 *)report, (u32)p - report) != 0) REFUSE(HOST_ERROR, "the host refuses the report");
    return OK;
}

#endif
