/* merkle.c: verify that leaves are in a Merkle tree: inclusion proofs of RFC 9162 §2.1.3.2 (RFC 6962 §2.1.1).
 *
 * Leaf hash: SHA-256(00 ‖ leaf); node: SHA-256(01 ‖ left ‖ right). Leaf and node can't be taken for each other, and
 * a proof that is longer or shorter than its index and the tree's size demand does not verify.
 */
#define GUEST "merkle"
#include "sha256.h"
#include "shard.h"

enum {
    MAGIC = 0x544e4349, /* ICNT */
    HEADER_BYTES = SHARD_HEAD_BYTES + 8 + 32,
    ENTRY_BYTES = 16, /* index u64, length of the leaf u32, number of nodes u32 */
    HASH_BYTES = 32,
    MAX_NODES = 64 /* a tree has fewer than 2^64 leaves */
};

static inline void write_u32(u8 *p, u32 value) { *(u32_at *)p = value; }

/* SHA-256 of (01 ‖ left ‖ right), as bytes in `out`, which may be one of the two. */
static void node(const u8 *left, const u8 *right, u8 *out) {
    static u8 both[1 + 2 * HASH_BYTES] = {1};
    u32 digest[8];
    for (u32 i = 0; i < HASH_BYTES; i += 8) {
        *(u64_at *)(both + 1 + i) = read_u64(left + i);
        *(u64_at *)(both + 1 + HASH_BYTES + i) = read_u64(right + i);
    }
    sha256(both, sizeof both, digest);
    for (u32 i = 0; i < 8; i++) write_u32(out + 4 * i, sha256_be(digest[i]));
}

/* SHA-256 of (00 ‖ leaf): the byte before the leaf is lent for it, there is always one. */
static void hash_leaf(u8 *data, u32 len, u8 *out) {
    u32 digest[8];
    u8 before = data[-1];
    data[-1] = 0;
    sha256(data - 1, len + 1, digest);
    data[-1] = before;
    for (u32 i = 0; i < 8; i++) write_u32(out + 4 * i, sha256_be(digest[i]));
}

/* RFC 9162 §2.1.3.2, steps 1 to 5. */
static int included(u8 *leaf, u32 len, u64 index, u64 size, const u8 *path, u32 nodes, const u8 *root) {
    u8 hash[HASH_BYTES];
    if (index >= size) return 0;
    u64 fn = index, sn = size - 1;
    hash_leaf(leaf, len, hash);
    for (u32 i = 0; i < nodes; i++, path += HASH_BYTES) {
        if (sn == 0) return 0;
        if ((fn & 1) || fn == sn) {
            node(path, hash, hash);
            while (!(fn & 1) && fn != 0) fn >>= 1, sn >>= 1;
        } else {
            node(hash, path, hash);
        }
        fn >>= 1, sn >>= 1;
    }
    u64 differ = sn;
    for (u32 i = 0; i < HASH_BYTES; i += 8) differ |= read_u64(hash + i) ^ read_u64(root + i);
    return differ == 0;
}

ICN_EXPORT("run") int run(void) {
    struct shard s;
    int code = shard_load(&s, MAGIC, HEADER_BYTES, ENTRY_BYTES);
    if (code) return code;
    u64 leaves = 0, nodes = 0;
    for (u32 i = 0; i < s.count; i++) {
        if (read_u32(shard_entry(&s, i) + 12) > MAX_NODES) REFUSE(BAD_ENTRY, "a proof has more than 64 nodes");
        leaves += read_u32(shard_entry(&s, i) + 8);
        nodes += read_u32(shard_entry(&s, i) + 12);
    }
    if (leaves + HASH_BYTES * nodes != s.data_bytes) REFUSE(BAD_LENGTH, "the lengths of the entries do not add up");

    u64 size = read_u64(s.at + SHARD_HEAD_BYTES);
    const u8 *root = s.at + SHARD_HEAD_BYTES + 8;
    u8 *leaf = s.data;
    const u8 *path = s.data + leaves;
    for (u32 i = 0; i < s.count; i++) {
        const u8 *entry = shard_entry(&s, i);
        u64 index = read_u64(entry);
        u32 len = read_u32(entry + 8), count = read_u32(entry + 12);
        if (!included(leaf, len, index, size, path, count, root)) note(&s, i);
        leaf += len;
        path += HASH_BYTES * count;
    }
    return shard_report(&s, 1);
}
