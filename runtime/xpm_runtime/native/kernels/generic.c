/* Plain C, one lane: runs anywhere, and is what the other families are compared with. */
#include "table.h"

#include <math.h>
#include <string.h>

enum { VF = 1, SUMS = 8, WIDE = 4, NARROW = 4, RANKS = 4, ROW_TILE = 2, TOKEN_TILE = 4, SHARED = 1 };
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(place) (void)(place)

typedef float vf;
typedef struct { uint8_t bytes[4]; } vb;

INLINE vf vf_zero(void) { return 0; }
INLINE vf vf_set(float x) { return x; }
INLINE vf vf_add(vf a, vf b) { return a + b; }
INLINE vf vf_sub(vf a, vf b) { return a - b; }
INLINE vf vf_mul(vf a, vf b) { return a * b; }
INLINE vf vf_div(vf a, vf b) { return a / b; }
INLINE vf vf_max(vf a, vf b) { return a > b ? a : b; }
INLINE vf vf_min(vf a, vf b) { return a < b ? a : b; }
INLINE vf vf_fma(vf a, vf b, vf c) { return a * b + c; }
INLINE vf vf_fnma(vf a, vf b, vf c) { return c - a * b; }
INLINE vf vf_round(vf x) { return nearbyintf(x); }
INLINE vf vf_scale(vf x, vf n) { return ldexpf(x, (int)n); }
INLINE vf vf_where_negative(vf x, vf then, vf otherwise) { return x < 0 ? then : otherwise; }
INLINE vf vf_load(const float *p) { return *p; }
INLINE void vf_store(float *p, vf x) { *p = x; }
INLINE vf vf_first(vf x, size_t left) { return (void)left, x; }
INLINE vf vf_load_upto(const float *p, size_t left) { return (void)left, *p; }
INLINE void vf_store_upto(float *p, vf x, size_t left) { (void)left, *p = x; }
INLINE float vf_sum(vf x) { return x; }
INLINE float vf_largest_upto(vf x, size_t left) { return (void)left, x; }
INLINE vf vf_sum_each(const vf *v) { return *v; }

INLINE vf vf_half_upto(const uint16_t *p, size_t left) {
    (void)left;
    uint32_t sign = (uint32_t)(*p >> 15) << 31, exponent = *p >> 10 & 31, fraction = *p & 1023, bits;
    if (exponent == 0) return (sign ? -1.0f : 1.0f) * ldexpf((float)fraction, -24);
    bits = sign | (exponent == 31 ? 255u << 23 : (exponent + 112) << 23) | fraction << 13;
    float x;
    memcpy(&x, &bits, sizeof x);
    return x;
}

INLINE vf vf_bytes_upto(const int8_t *p, size_t left) { return (void)left, (vf)*p; }
INLINE vf vf_nibbles(const uint8_t *p, int is_high) { return (vf)((int8_t)(is_high ? *p & 0xf0 : *p << 4) / 16); }

/* Rounded to the nearest, ties to even. */
INLINE void vf_to_half_upto(uint16_t *p, vf x, size_t left) {
    (void)left;
    uint32_t bits;
    memcpy(&bits, &x, sizeof bits);
    uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
    float size = fabsf(x);
    if (isnan(x)) *p = sign | 0x7e00;
    else if (size >= 65520.0f) *p = sign | 0x7c00;
    else if (size < 6.103515625e-05f)
        *p = sign | (uint16_t)nearbyintf(ldexpf(size, 24)); /* below the smallest normal one */
    else {
        bits &= 0x7fffffff;
        *p = sign | (uint16_t)((bits + 0xfff + (bits >> 13 & 1) - (112u << 23)) >> 13);
    }
}

#include "floats.h"

#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 128)
INLINE vb vb_load(const void *p) {
    vb result;
    memcpy(&result, p, sizeof result);
    return result;
}
INLINE vb vb_load_upto(const void *p, size_t left) {
    vb result = {{0}};
    memcpy(&result, p, left);
    return result;
}
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    for (int i = 0; i < 4; i++) {
        low->bytes[i] = bits == 4 ? weights.bytes[i] & 15 : weights.bytes[i];
        high->bytes[i] = weights.bytes[i] >> 4;
    }
}
INLINE vf chunk_scales(const float *scales, int count) { return (void)count, *scales; }

#include "product.h"

INLINE void quantise_chunks(const float *x, int bits, int is_shared, Chunk *out) {
    (void)is_shared;
    int count = bits == 4 ? 8 : 4;
    float largest = 0;
    for (int i = 0; i < count; i++) largest = vf_max(largest, fabsf(x[i]));
    float inverse = largest == 0 ? 0 : 127.0f / largest;
    out->scale[0] = largest * (1.0f / 127.0f);
    for (int i = 0; i < count; i++)
        out->values[bits == 4 ? i % 2 : 0][bits == 4 ? i / 2 : i] = (int8_t)nearbyintf(x[i] * inverse);
}

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps) {
    (void)steps;
    int32_t sum = 0;
    for (int i = 0; i < 4; i++) {
        sum += low->bytes[i] * x->values[0][i];
        if (bits == 4) sum += high->bytes[i] * x->values[1][i];
    }
    return (vf)sum;
}

INLINE vf lane_sums(const Chunk *x, int bits) {
    const vb ones = {{1, 1, 1, 1}};
    return x->scale[0] * sums_of_four(&ones, &ones, x, bits, 1);
}

KERNELS(generic)
