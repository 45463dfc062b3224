/* groth16.c: verify Groth16 proofs over BLS12-381 against one verifying key.
 *
 * A proof (A, B, C) for public inputs x₁ … xₙ holds when e(A, B) = e(α, β) · e(IC₀ + Σ xᵢ ICᵢ, γ) · e(C, δ)
 * (Groth, "On the Size of Pairing-based Non-interactive Arguments", §3.2). Curve arithmetic is blst's, portable C.
 * Every point has to lie on its curve and in its subgroup, every input below the group's order; a proof for which
 * that is not so does not verify, a key for which it is not so is refused.
 */
#define GUEST "groth16"
#include "shard.h"

#include "blst.h"
#include "memory.h"

enum {
    MAGIC = 0x5a4e4349, /* ICNZ */
    G1_BYTES = 96,      /* x ‖ y, big-endian, as ZCash writes points uncompressed */
    G2_BYTES = 192,     /* x₁ ‖ x₀ ‖ y₁ ‖ y₀ for x₀ + x₁ u */
    SCALAR_BYTES = 32,  /* big-endian */
    SCALAR_BITS = 255,
    HEADER_BYTES = SHARD_HEAD_BYTES + 4,
    ENTRY_BYTES = G1_BYTES + G2_BYTES + G1_BYTES,
    MAX_INPUTS = 1024, /* each costs a multiplication, some million fuel */
    PAIRS = 4
};

enum { COMPRESSED = 0x80 }; /* the flag in a point's first byte; the other form is not taken here */

static const u8 ORDER[SCALAR_BYTES] = {
    0x73, 0xed, 0xa7, 0x53, 0x29, 0x9d, 0x7d, 0x48, 0x33, 0x39, 0xd8, 0x08, 0x09, 0xa1, 0xd8, 0x05,
    0x53, 0xbd, 0xa4, 0x02, 0xff, 0xfe, 0x5b, 0xfe, 0xff, 0xff, 0xff, 0xff, 0x00, 0x00, 0x00, 0x01};

static struct {
    blst_p1_affine alpha;
    blst_p2_affine beta, gamma, delta;
    blst_p1 inputs[MAX_INPUTS + 1];
    u32 count; /* of inputs, without the constant */
} key;

static int read_g1(blst_p1_affine *p, const u8 *bytes) {
    return !(bytes[0] & COMPRESSED) && blst_p1_deserialize(p, bytes) == BLST_SUCCESS && blst_p1_affine_in_g1(p);
}

static int read_g2(blst_p2_affine *p, const u8 *bytes) {
    return !(bytes[0] & COMPRESSED) && blst_p2_deserialize(p, bytes) == BLST_SUCCESS && blst_p2_affine_in_g2(p);
}

/* α, β, γ, δ, IC₀ … ICₙ; 0 when one of them is no point of its group, or none at all. */
static int read_key(const u8 *at) {
    blst_p1_affine point;
    if (!read_g1(&key.alpha, at) || blst_p1_affine_is_inf(&key.alpha)) return 0;
    at += G1_BYTES;
    blst_p2_affine *const of_g2[] = {&key.beta, &key.gamma, &key.delta};
    for (u32 i = 0; i < 3; i++, at += G2_BYTES)
        if (!read_g2(of_g2[i], at) || blst_p2_affine_is_inf(of_g2[i])) return 0;
    for (u32 i = 0; i <= key.count; i++, at += G1_BYTES) {
        if (!read_g1(&point, at)) return 0;
        blst_p1_from_affine(&key.inputs[i], &point);
    }
    return 1;
}

/* IC₀ + Σ xᵢ ICᵢ; 0 when an input is not below the order. */
static int combine(blst_p1_affine *out, const u8 *inputs) {
    blst_p1 sum = key.inputs[0], product;
    u8 scalar[SCALAR_BYTES];
    for (u32 i = 0; i < key.count; i++, inputs += SCALAR_BYTES) {
        u32 j = 0;
        while (j < SCALAR_BYTES && inputs[j] == ORDER[j]) j++;
        if (j == SCALAR_BYTES || inputs[j] > ORDER[j]) return 0;
        for (j = 0; j < SCALAR_BYTES; j++) scalar[j] = inputs[SCALAR_BYTES - 1 - j];
        blst_p1_mult(&product, &key.inputs[i + 1], scalar, SCALAR_BITS);
        blst_p1_add_or_double(&sum, &sum, &product);
    }
    blst_p1_to_affine(out, &sum);
    return 1;
}

static int holds(const u8 *proof, const u8 *inputs) {
    blst_p1_affine A, C, L;
    blst_p2_affine B;
    if (!read_g1(&A, proof) || !read_g2(&B, proof + G1_BYTES) || !read_g1(&C, proof + G1_BYTES + G2_BYTES)) return 0;
    if (!combine(&L, inputs)) return 0;
    blst_p1 minus;
    blst_p1_from_affine(&minus, &A);
    blst_p1_cneg(&minus, 1);
    blst_p1_to_affine(&A, &minus);

    const blst_p1_affine *const left[PAIRS] = {&A, &key.alpha, &L, &C};
    const blst_p2_affine *const right[PAIRS] = {&B, &key.beta, &key.gamma, &key.delta};
    const blst_p1_affine *P[PAIRS];
    const blst_p2_affine *Q[PAIRS];
    u32 pairs = 0;
    for (u32 i = 0; i < PAIRS; i++) {
        if (blst_p1_affine_is_inf(left[i]) || blst_p2_affine_is_inf(right[i])) continue; /* it pairs to one */
        P[pairs] = left[i];
        Q[pairs++] = right[i];
    }
    blst_fp12 product;
    blst_miller_loop_n(&product, Q, P, pairs);
    blst_final_exp(&product, &product);
    return blst_fp12_is_one(&product);
}

ICN_EXPORT("run") int run(void) {
    struct shard s;
    int code = shard_load(&s, MAGIC, HEADER_BYTES, ENTRY_BYTES);
    if (code) return code;
    key.count = read_u32(s.at + SHARD_HEAD_BYTES);
    if (key.count > MAX_INPUTS) REFUSE(BAD_ENTRY, "a proof has more than 1024 public inputs");
    u32 key_bytes = G1_BYTES + 3 * G2_BYTES + (key.count + 1) * G1_BYTES, inputs_bytes = key.count * SCALAR_BYTES;
    if (key_bytes + (u64)s.count * inputs_bytes != s.data_bytes)
        REFUSE(BAD_LENGTH, "key and public inputs do not add up to the input");
    if (!read_key(s.data)) REFUSE(BAD_ENTRY, "a point of the verifying key is not in its group");
    const u8 *inputs = s.data + key_bytes;
    for (u32 i = 0; i < s.count; i++, inputs += inputs_bytes)
        if (!holds(shard_entry(&s, i), inputs)) note(&s, i);
    return shard_report(&s, 1);
}
