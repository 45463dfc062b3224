/* ed25519.h: verification of Ed25519 signatures (RFC 8032 §5.1.7) in WebAssembly alone.
 *
 * Accepts exactly what libsodium's crypto_sign_verify_detached accepts, which is stricter than the RFC and without
 * its cofactor: S < L; the key's y < p; neither the key nor R of small order; and the encoding of S·B − h·A equals
 * R byte for byte (so R is canonical).
 *
 * Field elements have ten limbs of 26 and 25 bits in turn, signed, so that a product's sums fit 64 bits and reducing
 * waits until the end of a multiplication. Points and formulas are those of "Twisted Edwards Curves Revisited"
 * (Hisil, Wong, Carter, Dawson). Nothing here is secret, so time may depend on the values.
 */
#ifndef ED25519_H
#define ED25519_H

#include "memory.h"
#include "sha512.h"

typedef i32 fe[10];

/* --- the field, mod p = 2^255 - 19 */

#define EACH_LIMB _Pragma("clang loop unroll(full)") for (u32 i = 0; i < 10; i++)

static void fe_copy(fe h, const fe f) { EACH_LIMB h[i] = f[i]; }
static void fe_small(fe h, i32 value) { EACH_LIMB h[i] = i ? 0 : value; }
static void fe_add(fe h, const fe f, const fe g) { EACH_LIMB h[i] = f[i] + g[i]; }
static void fe_sub(fe h, const fe f, const fe g) { EACH_LIMB h[i] = f[i] - g[i]; }
static void fe_negate(fe h, const fe f) { EACH_LIMB h[i] = -f[i]; }

/* Limb i takes what is above its 26 (i even) or 25 bits to the next; from the last it comes round 19-fold. */
#define CARRY(i)                                                                  \
    {                                                                             \
        const u32 bits = (i) & 1 ? 25 : 26;                                       \
        i64 carry = (t[i] + (1ll << (bits - 1))) >> bits;                         \
        t[((i) + 1) % 10] += (i) == 9 ? carry * 19 : carry;                       \
        t[i] -= carry << bits;                                                    \
    }

#define REDUCE                                                                            \
    CARRY(0) CARRY(4) CARRY(1) CARRY(5) CARRY(2) CARRY(6) CARRY(3) CARRY(7) CARRY(4) CARRY(8) CARRY(9) CARRY(0)

/* Limb i weighs 2^ceil(25.5 i): two odd limbs multiply to twice their place, and places past 255 bits count 19. */
static void fe_mul(fe h, const fe f, const fe g) {
    i64 t[10] = {0};
    _Pragma("clang loop unroll(full)") for (u32 i = 0; i < 10; i++) {
        i64 whole = f[i], twice = 2 * whole;
        _Pragma("clang loop unroll(full)") for (u32 j = 0; j < 10; j++) {
            i64 other = i + j < 10 ? g[j] : 19 * (i64)g[j];
            t[(i + j) % 10] += (i & j & 1 ? twice : whole) * other;
        }
    }
    REDUCE
    EACH_LIMB h[i] = (i32)t[i];
}

static void fe_square(fe h, const fe f) {
    i64 t[10] = {0};
    _Pragma("clang loop unroll(full)") for (u32 i = 0; i < 10; i++) {
        _Pragma("clang loop unroll(full)") for (u32 j = i; j < 10; j++) {
            i64 left = f[i] * (i64)((i & j & 1 ? 2 : 1) * (i == j ? 1 : 2));
            t[(i + j) % 10] += left * (i + j < 10 ? f[j] : 19 * (i64)f[j]);
        }
    }
    REDUCE
    EACH_LIMB h[i] = (i32)t[i];
}

static void fe_square_times(fe h, const fe f, u32 times) {
    fe_square(h, f);
    while (--times) fe_square(h, h);
}

/* z^(2^250 - 1), from which both exponents below are made; `z11` becomes z^11. */
static void fe_pow_250(fe out, fe z11, const fe z) {
    fe a, b, c;
    fe_square(a, z);              /* 2 */
    fe_square_times(b, a, 2);     /* 8 */
    fe_mul(b, z, b);              /* 9 */
    fe_mul(z11, a, b);            /* 11 */
    fe_square(a, z11);            /* 22 */
    fe_mul(a, b, a);              /* 2^5 - 1 */
    fe_square_times(b, a, 5);
    fe_mul(a, b, a);              /* 2^10 - 1 */
    fe_square_times(b, a, 10);
    fe_mul(b, b, a);              /* 2^20 - 1 */
    fe_square_times(c, b, 20);
    fe_mul(b, c, b);              /* 2^40 - 1 */
    fe_square_times(b, b, 10);
    fe_mul(a, b, a);              /* 2^50 - 1 */
    fe_square_times(b, a, 50);
    fe_mul(b, b, a);              /* 2^100 - 1 */
    fe_square_times(c, b, 100);
    fe_mul(b, c, b);              /* 2^200 - 1 */
    fe_square_times(b, b, 50);
    fe_mul(out, b, a);
}

static void fe_invert(fe out, const fe z) { /* z^(p-2) = z^(2^255 - 21) */
    fe z11;
    fe_pow_250(out, z11, z);
    fe_square_times(out, out, 5);
    fe_mul(out, out, z11);
}

static void fe_pow_sqrt(fe out, const fe z) { /* z^((p-5)/8) = z^(2^252 - 3) */
    fe z11, t;
    fe_pow_250(t, z11, z);
    fe_square_times(t, t, 2);
    fe_mul(out, t, z);
}

/* Bits `from` to `from + count` of 32 little-endian bytes. */
static i64 bits_of(const u8 *bytes, u32 from, u32 count) {
    u64 word = 0;
    for (u32 i = 0; i < 5 && from / 8 + i < 32; i++) word |= (u64)bytes[from / 8 + i] << (8 * i);
    return (i64)(word >> (from % 8) & ((1ull << count) - 1));
}

static void fe_from_bytes(fe h, const u8 *bytes) { /* without the top bit */
    i64 t[10];
    for (u32 i = 0; i < 10; i++) t[i] = bits_of(bytes, (51 * i + 1) / 2, i & 1 ? 25 : 26);
    REDUCE
    EACH_LIMB h[i] = (i32)t[i];
}

static void fe_to_bytes(u8 *bytes, const fe f) { /* the one canonical form */
    i64 t[10], q = (19 * (i64)f[9] + (1 << 24)) >> 25; /* how many p are in f: -1, 0 or 1 */
    EACH_LIMB t[i] = f[i];
    for (u32 i = 0; i < 10; i++) q = (t[i] + q) >> (i & 1 ? 25 : 26);
    t[0] += 19 * q;
    for (u32 i = 0; i < 10; i++) {
        u32 bits = i & 1 ? 25 : 26;
        i64 carry = t[i] >> bits;
        if (i < 9) t[i + 1] += carry;
        t[i] -= carry << bits;
    }
    for (u32 i = 0; i < 32; i++) bytes[i] = 0;
    for (u32 i = 0; i < 10; i++) {
        u32 from = (51 * i + 1) / 2;
        u64 word = (u64)t[i] << (from % 8);
        for (u32 j = from / 8; word; j++, word >>= 8) bytes[j] |= (u8)word;
    }
}

static int fe_is_zero(const fe f) {
    u8 bytes[32], any = 0;
    fe_to_bytes(bytes, f);
    for (u32 i = 0; i < 32; i++) any |= bytes[i];
    return any == 0;
}

static u32 fe_is_odd(const fe f) {
    u8 bytes[32];
    fe_to_bytes(bytes, f);
    return bytes[0] & 1;
}

/* --- the curve -x² + y² = 1 + d x² y² */

static const u8 D_BYTES[32] = {0xa3, 0x78, 0x59, 0x13, 0xca, 0x4d, 0xeb, 0x75, 0xab, 0xd8, 0x41, 0x41, 0x4d, 0x0a, 0x70, 0x00,
                               0x98, 0xe8, 0x79, 0x77, 0x79, 0x40, 0xc7, 0x8c, 0x73, 0xfe, 0x6f, 0x2b, 0xee, 0x6c, 0x03, 0x52};
static const u8 ROOT_BYTES[32] = {0xb0, 0xa0, 0x0e, 0x4a, 0x27, 0x1b, 0xee, 0xc4, 0x78, 0xe4, 0x2f, 0xad, 0x06, 0x18, 0x43, 0x2f,
                                  0xa7, 0xd7, 0xfb, 0x3d, 0x99, 0x00, 0x4d, 0x2b, 0x0b, 0xdf, 0xc1, 0x4f, 0x80, 0x24, 0x83, 0x2b};
static const u8 P_BYTES[32] = {0xed, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff,
                               0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f};
static const u8 L_BYTES[32] = {0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58, 0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
                               0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10};

struct point { /* x = X/Z, y = Y/Z, x y = T/Z */
    fe X, Y, Z, T;
};
struct addend { /* a point as it is added */
    fe sum, difference, Z, T2d; /* Y+X, Y-X, Z, 2dT */
};

enum { ODD_MULTIPLES = 8 }; /* 1, 3, … 15 */

static fe d, d2, root; /* d, 2d, the square root of -1 */
static struct addend of_base[ODD_MULTIPLES];

/* A result before its last multiplications: x = X/Z, y = Y/T. */
static void complete(struct point *r, const struct point *p, int with_t) {
    fe X;
    fe_mul(X, p->X, p->T);
    if (with_t) {
        fe T;
        fe_mul(T, p->X, p->Y);
        fe_mul(r->Y, p->Y, p->Z);
        fe_mul(r->Z, p->Z, p->T);
        fe_copy(r->T, T);
    } else {
        fe_mul(r->Y, p->Y, p->Z);
        fe_mul(r->Z, p->Z, p->T);
    }
    fe_copy(r->X, X);
}

static void twice(struct point *r, const struct point *p, int with_t) {
    struct point q;
    fe xx, yy, zz, sum;
    fe_square(xx, p->X);
    fe_square(yy, p->Y);
    fe_square(zz, p->Z);
    fe_add(sum, p->X, p->Y);
    fe_square(sum, sum);
    fe_add(q.Y, yy, xx);
    fe_sub(q.Z, yy, xx);
    fe_sub(q.X, sum, q.Y);
    fe_add(zz, zz, zz);
    fe_sub(q.T, zz, q.Z);
    complete(r, &q, with_t);
}

/* r = p + q, or p - q. */
static void add(struct point *r, const struct point *p, const struct addend *q, int minus, int with_t) {
    struct point s;
    fe a, b, c, zz;
    fe_add(a, p->Y, p->X);
    fe_sub(b, p->Y, p->X);
    fe_mul(a, a, minus ? q->difference : q->sum);
    fe_mul(b, b, minus ? q->sum : q->difference);
    fe_mul(c, q->T2d, p->T);
    fe_mul(zz, p->Z, q->Z);
    fe_add(zz, zz, zz);
    fe_sub(s.X, a, b);
    fe_add(s.Y, a, b);
    if (minus) {
        fe_sub(s.Z, zz, c);
        fe_add(s.T, zz, c);
    } else {
        fe_add(s.Z, zz, c);
        fe_sub(s.T, zz, c);
    }
    complete(r, &s, with_t);
}

static void to_addend(struct addend *r, const struct point *p) {
    fe_add(r->sum, p->Y, p->X);
    fe_sub(r->difference, p->Y, p->X);
    fe_copy(r->Z, p->Z);
    fe_mul(r->T2d, p->T, d2);
}

static void odd_multiples(struct addend *table, const struct point *p) {
    struct point two, next = *p;
    twice(&two, p, 1);
    for (u32 i = 0; i < ODD_MULTIPLES; i++) {
        to_addend(&table[i], &next);
        if (i + 1 < ODD_MULTIPLES) add(&next, &two, &table[i], 0, 1);
    }
}

/* A point from its encoding (RFC 8032 §5.1.3); 0 when there is none. The top bit is x's parity. */
static int from_bytes(struct point *p, const u8 *bytes) {
    fe u, v, v3, check, other;
    fe_from_bytes(p->Y, bytes);
    fe_small(p->Z, 1);
    fe_square(u, p->Y);
    fe_mul(v, u, d);
    fe_sub(u, u, p->Z); /* y² - 1 */
    fe_add(v, v, p->Z); /* d y² + 1 */
    fe_square(v3, v);
    fe_mul(v3, v3, v);
    fe_square(p->X, v3);
    fe_mul(p->X, p->X, v);
    fe_mul(p->X, p->X, u); /* u v^7 */
    fe_pow_sqrt(p->X, p->X);
    fe_mul(p->X, p->X, v3);
    fe_mul(p->X, p->X, u); /* u v^3 (u v^7)^((p-5)/8) */
    fe_square(check, p->X);
    fe_mul(check, check, v);
    fe_sub(other, check, u);
    if (!fe_is_zero(other)) {
        fe_add(other, check, u);
        if (!fe_is_zero(other)) return 0;
        fe_mul(p->X, p->X, root);
    }
    if (fe_is_odd(p->X) != (u32)bytes[31] >> 7) fe_negate(p->X, p->X);
    fe_mul(p->T, p->X, p->Y);
    return 1;
}

/* Eight times it is the neutral element: x = 0 and y = 1. */
static int has_small_order(const struct point *p) {
    struct point q = *p;
    for (u32 i = 0; i < 3; i++) twice(&q, &q, 0);
    fe difference;
    fe_sub(difference, q.Y, q.Z);
    return fe_is_zero(q.X) && fe_is_zero(difference);
}

/* --- scalars, mod L */

static int less(const u8 *a, const u8 *b) { /* 32 little-endian bytes */
    for (u32 i = 32; i--;)
        if (a[i] != b[i]) return a[i] < b[i];
    return 0;
}

/* 64 bytes mod L into 32: multiples of L are taken away from the top, byte by byte (as in TweetNaCl, public domain). */
static void reduce_scalar(u8 *out, const u8 *wide) {
    i64 x[64];
    for (u32 i = 0; i < 64; i++) x[i] = wide[i];
    for (u32 i = 63; i >= 32; i--) {
        i64 carry = 0;
        u32 j = i - 32;
        for (; j < i - 12; j++) {
            x[j] += carry - 16 * x[i] * L_BYTES[j - (i - 32)];
            carry = (x[j] + 128) >> 8;
            x[j] -= carry << 8;
        }
        x[j] += carry;
        x[i] = 0;
    }
    i64 carry = 0;
    for (u32 j = 0; j < 32; j++) {
        x[j] += carry - (x[31] >> 4) * L_BYTES[j];
        carry = x[j] >> 8;
        x[j] &= 255;
    }
    for (u32 j = 0; j < 32; j++) x[j] -= carry * L_BYTES[j];
    for (u32 i = 0; i < 32; i++) {
        if (i < 31) x[i + 1] += x[i] >> 8;
        out[i] = (u8)x[i];
    }
}

/* Digits -15, -13, … 15 and 0, of which no two neighbours in five are other than 0, that sum up to the scalar. */
static void signed_digits(signed char *r, const u8 *scalar) {
    for (u32 i = 0; i < 256; i++) r[i] = scalar[i / 8] >> (i % 8) & 1;
    for (u32 i = 0; i < 256; i++) {
        if (!r[i]) continue;
        for (u32 b = 1; b <= 6 && i + b < 256; b++) {
            if (!r[i + b]) continue;
            int part = r[i + b] * (1 << b);
            if (r[i] + part <= 15) {
                r[i] += part;
                r[i + b] = 0;
            } else if (r[i] - part >= -15) {
                r[i] -= part;
                for (u32 k = i + b; k < 256; k++) {
                    r[k] = !r[k];
                    if (r[k]) break;
                }
            } else {
                break;
            }
        }
    }
}

/* a·A + b·B, B the base point. */
static void double_product(struct point *r, const u8 *a, const struct point *A, const u8 *b) {
    static signed char of_a[256], of_b[256];
    static struct addend multiples[ODD_MULTIPLES];
    signed_digits(of_a, a);
    signed_digits(of_b, b);
    odd_multiples(multiples, A);
    fe_small(r->X, 0);
    fe_small(r->Y, 1);
    fe_small(r->Z, 1);
    fe_small(r->T, 0);
    u32 i = 256;
    while (i && !of_a[i - 1] && !of_b[i - 1]) i--;
    while (i--) {
        int x = of_a[i], y = of_b[i];
        twice(r, r, x || y);
        if (x) add(r, r, &multiples[(x < 0 ? -x : x) / 2], x < 0, y != 0);
        if (y) add(r, r, &of_base[(y < 0 ? -y : y) / 2], y < 0, 0);
    }
}

/* Once, before the first signature. */
static void ed25519_begin(void) {
    static u8 bytes[32];
    struct point base;
    fe_from_bytes(d, D_BYTES);
    fe_add(d2, d, d);
    fe_from_bytes(root, ROOT_BYTES);
    for (u32 i = 0; i < 32; i++) bytes[i] = i ? 0x66 : 0x58; /* y = 4/5 */
    from_bytes(&base, bytes);
    odd_multiples(of_base, &base);
}

static int ed25519_verify(const u8 *message, u32 len, const u8 *key, const u8 *signature) {
    const u8 *R = signature, *S = signature + 32;
    struct point A, Q;
    struct sha512 hash;
    u8 wide[64], h[32], canonical[32], differ = 0;
    for (u32 i = 0; i < 32; i++) canonical[i] = i == 31 ? key[i] & 0x7f : key[i];
    if (!less(S, L_BYTES) || !less(canonical, P_BYTES)) return 0;
    if (!from_bytes(&A, key) || has_small_order(&A)) return 0;
    sha512_begin(&hash);
    sha512_add(&hash, R, 32);
    sha512_add(&hash, key, 32);
    sha512_add(&hash, message, len);
    sha512_end(&hash, wide);
    reduce_scalar(h, wide);
    fe_negate(A.X, A.X);
    fe_negate(A.T, A.T);
    double_product(&Q, h, &A, S);
    if (has_small_order(&Q)) return 0;

    fe inverse, x, y;
    fe_invert(inverse, Q.Z);
    fe_mul(x, Q.X, inverse);
    fe_mul(y, Q.Y, inverse);
    u8 encoded[32];
    fe_to_bytes(encoded, y);
    encoded[31] |= (u8)(fe_is_odd(x) << 7);
    for (u32 i = 0; i < 32; i++) differ |= encoded[i] ^ R[i];
    return differ == 0;
}

#endif
