/* wellformed.c: is each item exactly one well-formed CBOR item (RFC 8949, Appendix C) or one JSON text (RFC 8259)?
 *
 * Well-formed means that the bytes can be read, not that they mean something: CBOR's text is not looked into (§5.3.1),
 * and keys may repeat in both. JSON has to be UTF-8 (§8.1, RFC 3629) without a byte order mark. Neither walker
 * recurses; nesting beyond MAX_DEPTH counts as not well-formed, as both standards let a reader decide.
 */
#define GUEST "wellformed"
#include "shard.h"

enum {
    MAGIC = 0x574e4349, /* ICNW */
    ENTRY_BYTES = 8,    /* length u32, kind u32 */
    CBOR = 1,
    JSON = 2,
    MAX_DEPTH = 1024
};

/* Where reading stands. On a fault `at` is the first byte that can't be what the standard allows. */
struct reader {
    const u8 *at, *end;
};

/* CBOR. A frame a container that is open: items still to come, or an indefinite length. */

struct frame {
    u64 left;
    u8 indefinite; /* major type of the container when its length is indefinite, else 0 */
    u8 odd;        /* an indefinite map has read a key whose value is to come */
};

static struct frame frames[MAX_DEPTH];

/* The argument of a head; 0 when the input ends within it. */
static int argument(struct reader *r, u32 info, u64 *value) {
    u32 bytes = info < 24 ? 0 : 1u << (info - 24);
    if ((u32)(r->end - r->at) < bytes) return r->at = r->end, 0;
    *value = bytes ? 0 : info;
    while (bytes--) *value = *value << 8 | *r->at++;
    return 1;
}

/* An item is complete: close every container that it fills. The depth that remains. */
static u32 close(u32 depth) {
    while (depth) {
        struct frame *top = &frames[depth - 1];
        if (top->indefinite) {
            top->odd ^= top->indefinite == 5;
            break;
        }
        if (--top->left) break;
        depth--;
    }
    return depth;
}

/* A "break" (ff) ends an indefinite length, but not between a key and its value. */
static int may_break(u32 depth) { return depth && frames[depth - 1].indefinite && !frames[depth - 1].odd; }

/* Within an indefinite string only definite strings of its own kind may stand (§3.2.3). */
static int may_hold(u32 depth, u32 major, u32 info) {
    u32 outer = depth ? frames[depth - 1].indefinite : 0;
    return (outer != 2 && outer != 3) || (major == outer && info != 31);
}

static int is_cbor(struct reader *r) {
    u32 depth = 0;
    do {
        if (r->at == r->end) return 0;
        const u8 *start = r->at;
        u32 major = *r->at >> 5, info = *r->at & 31;
        u64 value = 0;
        r->at++;
        if (major == 7 && info == 31) {
            if (!may_break(depth)) return r->at = start, 0;
            depth = close(depth - 1);
            continue;
        }
        int nests = major == 4 || major == 5 || major == 6;
        if (!may_hold(depth, major, info)) return r->at = start, 0;
        if (info == 31) {
            if (major < 2 || major == 6 || depth == MAX_DEPTH) return r->at = start, 0;
            frames[depth++] = (struct frame){0, (u8)major, 0};
            continue;
        }
        if (info > 27) return r->at = start, 0;
        if (!argument(r, info, &value)) return 0;
        if (major == 7 && info == 24 && value < 32) return r->at = start, 0; /* a simple value in two bytes (§3.3) */
        if (major == 2 || major == 3) {
            if (value > (u64)(r->end - r->at)) return r->at = r->end, 0;
            r->at += (u32)value;
        }
        u64 items = major == 6 ? 1 : value;
        if (nests && items) {
            /* no more items than bytes are left, so doubling for a map can't overflow */
            if (items > (u64)(r->end - r->at)) return r->at = r->end, 0;
            if (depth == MAX_DEPTH) return r->at = start, 0;
            frames[depth++] = (struct frame){major == 5 ? 2 * items : items, 0, 0};
            continue;
        }
        depth = close(depth);
    } while (depth);
    return r->at == r->end;
}

/* JSON. */

static inline int is_digit(u32 c) { return c - '0' < 10; }
static inline int is_hex(u32 c) { return is_digit(c) || (c | 32) - 'a' < 6; }
static inline u32 peek(const struct reader *r) { return r->at < r->end ? *r->at : 0x100; }

static void skip_space(struct reader *r) {
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\n' || *r->at == '\r' || *r->at == '\t')) r->at++;
}

static int word(struct reader *r, const char *text) {
    for (; *text; text++, r->at++)
        if (peek(r) != (u8)*text) return 0;
    return 1;
}

static int digits(struct reader *r) {
    if (!is_digit(peek(r))) return 0;
    while (is_digit(peek(r))) r->at++;
    return 1;
}

static int number(struct reader *r) {
    if (peek(r) == '-') r->at++;
    if (peek(r) == '0') r->at++;
    else if (!digits(r)) return 0;
    if (peek(r) == '.' && (r->at++, !digits(r))) return 0;
    if ((peek(r) | 32) == 'e') {
        r->at++;
        if (peek(r) == '+' || peek(r) == '-') r->at++;
        if (!digits(r)) return 0;
    }
    return 1;
}

/* One character beyond ASCII (RFC 3629 §4): shortest form, no surrogates, at most U+10FFFF. */
static int utf8(struct reader *r) {
    u32 first = *r->at, more = first < 0xe0 ? 1 : first < 0xf0 ? 2 : 3;
    if (first < 0xc2 || first > 0xf4) return 0;
    u32 low = first == 0xe0 ? 0xa0 : first == 0xf0 ? 0x90 : 0x80;
    u32 high = first == 0xed ? 0x9f : first == 0xf4 ? 0x8f : 0xbf;
    for (r->at++; more--; r->at++, low = 0x80, high = 0xbf)
        if (peek(r) < low || peek(r) > high) return 0;
    return 1;
}

static int escape(struct reader *r) {
    u32 c = peek(r);
    if (c == 'u') {
        r->at++;
        for (u32 i = 0; i < 4; i++, r->at++)
            if (!is_hex(peek(r))) return 0;
        return 1;
    }
    if (c != '"' && c != '\\' && c != '/' && c != 'b' && c != 'f' && c != 'n' && c != 'r' && c != 't') return 0;
    r->at++;
    return 1;
}

static int string(struct reader *r) {
    for (r->at++;;) {
        u32 c = peek(r);
        if (c == '"') return r->at++, 1;
        if (c < 0x20 || c == 0x100) return 0;
        if (c == '\\') {
            r->at++;
            if (!escape(r)) return 0;
        } else if (c < 0x80) {
            r->at++;
        } else if (!utf8(r)) {
            return 0;
        }
    }
}

static int scalar(struct reader *r) {
    switch (peek(r)) {
    case '"': return string(r);
    case 't': return word(r, "true");
    case 'f': return word(r, "false");
    case 'n': return word(r, "null");
    default: return number(r);
    }
}

/* A key and its colon. */
static int member(struct reader *r) {
    skip_space(r);
    if (peek(r) != '"' || !string(r)) return 0;
    skip_space(r);
    return peek(r) == ':' && r->at++;
}

static u8 closers[MAX_DEPTH]; /* what ends each open container */

/* Behind a value: close containers and take commas, up to the next value; 0 on a fault, 2 at the end. */
static int after(struct reader *r, u32 *depth) {
    while (skip_space(r), *depth) {
        u32 c = peek(r);
        if (c == ',') {
            r->at++;
            return closers[*depth - 1] == ']' || member(r);
        }
        if (c != closers[*depth - 1]) return 0;
        r->at++;
        (*depth)--;
    }
    return 2;
}

static int is_json(struct reader *r) {
    u32 depth = 0;
    for (int more = 1; more == 1;) {
        skip_space(r);
        u32 c = peek(r);
        if (c == '[' || c == '{') {
            if (depth == MAX_DEPTH) return 0;
            u32 closer = c + 2; /* ASCII: [ ] and { } stand two apart */
            closers[depth++] = (u8)closer;
            r->at++;
            skip_space(r);
            if (peek(r) != closer) {
                if (c == '{' && !member(r)) return 0;
                continue;
            }
        } else if (!scalar(r)) {
            return 0;
        }
        more = after(r, &depth);
        if (!more) return 0;
    }
    return r->at == r->end;
}

ICN_EXPORT("run") int run(void) {
    struct shard s;
    int code = shard_load(&s, MAGIC, SHARD_HEAD_BYTES, ENTRY_BYTES);
    if (code) return code;
    u64 bytes = 0;
    for (u32 i = 0; i < s.count; i++) {
        u32 kind = read_u32(shard_entry(&s, i) + 4);
        if (kind != CBOR && kind != JSON) REFUSE(BAD_ENTRY, "an item is neither CBOR (1) nor JSON (2)");
        bytes += read_u32(shard_entry(&s, i));
    }
    if (bytes != s.data_bytes) REFUSE(BAD_LENGTH, "the lengths of the entries do not add up");
    const u8 *item = s.data;
    for (u32 i = 0; i < s.count; i++) {
        u32 len = read_u32(shard_entry(&s, i)), kind = read_u32(shard_entry(&s, i) + 4);
        struct reader r = {item, item + len};
        if (!(kind == CBOR ? is_cbor(&r) : is_json(&r))) {
            note(&s, i);
            note(&s, (u32)(r.at - item));
        }
        item += len;
    }
    return shard_report(&s, 2);
}
