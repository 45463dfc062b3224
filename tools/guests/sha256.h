/* sha256.h: SHA-256 (FIPS 180-4), shaped for an interpreter.
 *
 * Under a threaded interpreter every operation costs one dispatch, and so does every value that must be parked
 * because the next operation does not take it at once. So: all 64 rounds in a row, the sixteen schedule words and the
 * eight state words in locals, and each expression a chain in which every step takes the result of the one before:
 *
 *   rotr(e,6) ^ rotr(e,11) ^ rotr(e,25)  =  rotr(rotr(rotr(e,14) ^ e, 5) ^ e, 6)
 *   maj(a,b,c)  =  ((a^b) & (b^c)) ^ b,  where b^c is the a^b of the round before
 *
 * KEEP is an empty instruction that the optimiser cannot look through. Without it the compiler regroups the sums,
 * turns the byte swap into eleven operations, and the guest runs at two thirds of the speed (README.md, "Speed").
 */
#ifndef SHA256_H
#define SHA256_H

#include "icn.h"

typedef u32 __attribute__((aligned(1), may_alias)) u32_unaligned;

#define KEEP(x) __asm__ volatile("" : "+r"(x))
#define ROTR(x, n) __builtin_rotateright32((x), (n))

static inline u32 sha256_be(u32 x) {
    KEEP(x);
    u32 odd = __builtin_rotateleft32(x, 8) & 0x00ff00ffu;
    KEEP(odd);
    return (ROTR(x, 8) & 0xff00ff00u) | odd;
}

#define SHA_S1(e) ROTR(ROTR(ROTR(e, 14) ^ e, 5) ^ e, 6)
#define SHA_S0(a) ROTR(ROTR(ROTR(a, 9) ^ a, 11) ^ a, 2)
#define SHA_G1(x) (ROTR(ROTR(x, 2) ^ x, 17) ^ ((x) >> 10))
#define SHA_G0(x) (ROTR(ROTR(x, 11) ^ x, 7) ^ ((x) >> 3))

#define SHA_ROUND(a, b, c, d, e, f, g, h, k, w)  \
    {                                            \
        u32 t = SHA_S1(e);                       \
        KEEP(t);                                 \
        KEEP(h);                                 \
        KEEP(w);                                 \
        t = (((f ^ g) & e) ^ g) + t + h + w + k; \
        KEEP(t);                                 \
        d += t;                                  \
        KEEP(d);                                 \
        u32 ab = a ^ b;                          \
        KEEP(ab);                                \
        t += (ab & bc) ^ b;                      \
        KEEP(t);                                 \
        h = t + SHA_S0(a);                       \
        KEEP(h);                                 \
        bc = ab;                                 \
    }

#define SHA_WORD(a, b, c, d)    \
    {                           \
        a += SHA_G0(b) + c;     \
        KEEP(a);                \
        a += SHA_G1(d);         \
        KEEP(a);                \
    }

#define SHA_ROUNDS(k0, k1, k2, k3, k4, k5, k6, k7, k8, k9, k10, k11, k12, k13, k14, k15) \
    SHA_ROUND(a, b, c, d, e, f, g, h, k0, w0)   SHA_ROUND(h, a, b, c, d, e, f, g, k1, w1)   \
    SHA_ROUND(g, h, a, b, c, d, e, f, k2, w2)   SHA_ROUND(f, g, h, a, b, c, d, e, k3, w3)   \
    SHA_ROUND(e, f, g, h, a, b, c, d, k4, w4)   SHA_ROUND(d, e, f, g, h, a, b, c, k5, w5)   \
    SHA_ROUND(c, d, e, f, g, h, a, b, k6, w6)   SHA_ROUND(b, c, d, e, f, g, h, a, k7, w7)   \
    SHA_ROUND(a, b, c, d, e, f, g, h, k8, w8)   SHA_ROUND(h, a, b, c, d, e, f, g, k9, w9)   \
    SHA_ROUND(g, h, a, b, c, d, e, f, k10, w10) SHA_ROUND(f, g, h, a, b, c, d, e, k11, w11) \
    SHA_ROUND(e, f, g, h, a, b, c, d, k12, w12) SHA_ROUND(d, e, f, g, h, a, b, c, k13, w13) \
    SHA_ROUND(c, d, e, f, g, h, a, b, k14, w14) SHA_ROUND(b, c, d, e, f, g, h, a, k15, w15)

#define SHA_SCHEDULE                                            \
    SHA_WORD(w0, w1, w9, w14)   SHA_WORD(w1, w2, w10, w15)      \
    SHA_WORD(w2, w3, w11, w0)   SHA_WORD(w3, w4, w12, w1)       \
    SHA_WORD(w4, w5, w13, w2)   SHA_WORD(w5, w6, w14, w3)       \
    SHA_WORD(w6, w7, w15, w4)   SHA_WORD(w7, w8, w0, w5)        \
    SHA_WORD(w8, w9, w1, w6)    SHA_WORD(w9, w10, w2, w7)       \
    SHA_WORD(w10, w11, w3, w8)  SHA_WORD(w11, w12, w4, w9)      \
    SHA_WORD(w12, w13, w5, w10) SHA_WORD(w13, w14, w6, w11)     \
    SHA_WORD(w14, w15, w7, w12) SHA_WORD(w15, w0, w8, w13)

/* Compress `blocks` blocks of 64 bytes into `state`. */
__attribute__((noinline)) static void sha256_blocks(u32 *state, const u8 *data, u32 blocks) {
    for (; blocks; blocks--, data += 64) {
        const u32_unaligned *q = (const u32_unaligned *)data;
        u32 w0 = sha256_be(q[0]), w1 = sha256_be(q[1]), w2 = sha256_be(q[2]), w3 = sha256_be(q[3]);
        u32 w4 = sha256_be(q[4]), w5 = sha256_be(q[5]), w6 = sha256_be(q[6]), w7 = sha256_be(q[7]);
        u32 w8 = sha256_be(q[8]), w9 = sha256_be(q[9]), w10 = sha256_be(q[10]), w11 = sha256_be(q[11]);
        u32 w12 = sha256_be(q[12]), w13 = sha256_be(q[13]), w14 = sha256_be(q[14]), w15 = sha256_be(q[15]);
        u32 a = state[0], b = state[1], c = state[2], d = state[3];
        u32 e = state[4], f = state[5], g = state[6], h = state[7];
        u32 bc = b ^ c;
        SHA_ROUNDS(0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
                   0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174)
        SHA_SCHEDULE
        SHA_ROUNDS(0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
                   0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967)
        SHA_SCHEDULE
        SHA_ROUNDS(0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
                   0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070)
        SHA_SCHEDULE
        SHA_ROUNDS(0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
                   0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2)
        state[0] += a, state[1] += b, state[2] += c, state[3] += d;
        state[4] += e, state[5] += f, state[6] += g, state[7] += h;
    }
}

/* The digest of `len` bytes, as eight words in the order of the standard. */
static void sha256(const u8 *data, u32 len, u32 state[8]) {
    static u8 last[128];
    u32 whole = len >> 6, rest = len & 63, blocks = rest < 56 ? 1 : 2;
    state[0] = 0x6a09e667, state[1] = 0xbb67ae85, state[2] = 0x3c6ef372, state[3] = 0xa54ff53a;
    state[4] = 0x510e527f, state[5] = 0x9b05688c, state[6] = 0x1f83d9ab, state[7] = 0x5be0cd19;
    sha256_blocks(state, data, whole);
    const u8 *tail = data + (whole << 6);
    for (u32 i = 0; i < rest; i++) last[i] = tail[i];
    last[rest] = 0x80;
    for (u32 i = rest + 1; i < blocks << 6; i++) last[i] = 0;
    u64 bits = (u64)len << 3;
    for (u32 i = 0; i < 8; i++) last[(blocks << 6) - 1 - i] = (u8)(bits >> (8 * i));
    sha256_blocks(state, last, blocks);
}

#endif
