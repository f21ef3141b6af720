/* 64-bit ARM with dot products (Armv8.2-A): Apple, Graviton 2, Cortex-A76 and later. */
#include "table.h"

#include <arm_neon.h>
#include <math.h>
#include <string.h>

enum { VF = 4, SUMS = 8, WIDE = 8, NARROW = 2, RANKS = 4, ROW_TILE = 4, TOKEN_TILE = 4, SHARED = 1 };
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(place) __builtin_prefetch(place)

typedef float32x4_t vf;
typedef int32x4_t vi;
typedef int8x16_t vb;

INLINE vf vf_zero(void) { return vdupq_n_f32(0); }
INLINE vf vf_set(float x) { return vdupq_n_f32(x); }
INLINE vf vf_add(vf a, vf b) { return vaddq_f32(a, b); }
INLINE vf vf_sub(vf a, vf b) { return vsubq_f32(a, b); }
INLINE vf vf_mul(vf a, vf b) { return vmulq_f32(a, b); }
INLINE vf vf_div(vf a, vf b) { return vdivq_f32(a, b); }
INLINE vf vf_max(vf a, vf b) { return vmaxq_f32(a, b); }
INLINE vf vf_min(vf a, vf b) { return vminq_f32(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return vfmaq_f32(c, a, b); }
INLINE vf vf_fnma(vf a, vf b, vf c) { return vfmsq_f32(c, a, b); }
INLINE vf vf_round(vf x) { return vrndnq_f32(x); }
INLINE vf vf_scale(vf x, vf n) { /* n is whole and from -126 to 0 */
    return vmulq_f32(x, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(vcvtq_s32_f32(n), vdupq_n_s32(127)), 23)));
}
INLINE vf vf_where_negative(vf x, vf then, vf otherwise) { return vbslq_f32(vcltzq_f32(x), then, otherwise); }
INLINE vf vf_load(const float *p) { return vld1q_f32(p); }
INLINE void vf_store(float *p, vf x) { vst1q_f32(p, x); }
INLINE vf vf_first(vf x, size_t left) {
    static const uint32_t numbers[4] = {0, 1, 2, 3};
    uint32x4_t is_in = vcltq_u32(vld1q_u32(numbers), vdupq_n_u32((uint32_t)left));
    return vreinterpretq_f32_u32(vandq_u32(vreinterpretq_u32_f32(x), is_in));
}
INLINE vf vf_load_upto(const float *p, size_t left) {
    if (left >= 4) return vf_load(p);
    float part[4] = {0};
    memcpy(part, p, left * sizeof *p);
    return vf_load(part);
}
INLINE void vf_store_upto(float *p, vf x, size_t left) {
    float all[4];
    vf_store(all, x);
    memcpy(p, all, (left < 4 ? left : 4) * sizeof *p);
}
INLINE vf vf_half_upto(const uint16_t *p, size_t left) {
    uint16_t part[4] = {0};
    memcpy(part, p, (left < 4 ? left : 4) * sizeof *p);
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(part)));
}
INLINE vf vf_bytes_upto(const int8_t *p, size_t left) {
    int8_t part[8] = {0};
    memcpy(part, p, left < 4 ? left : 4);
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vld1_s8(part)))));
}
INLINE vf vf_nibbles(const uint8_t *p, int is_high) {
    uint8_t part[8] = {0};
    memcpy(part, p, 4);
    int8x8_t bytes = vreinterpret_s8_u8(is_high ? vld1_u8(part) : vshl_n_u8(vld1_u8(part), 4));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(vmovl_s8(vshr_n_s8(bytes, 4)))));
}
INLINE void vf_to_half_upto(uint16_t *p, vf x, size_t left) {
    uint16_t all[4];
    vst1_u16(all, vreinterpret_u16_f16(vcvt_f16_f32(x)));
    memcpy(p, all, (left < 4 ? left : 4) * sizeof *p);
}
INLINE float vf_sum(vf x) { return vaddvq_f32(x); }
INLINE float vf_largest_upto(vf x, size_t left) {
    float all[4], largest = -INFINITY;
    if (left >= 4) return vmaxvq_f32(x);
    vf_store(all, x);
    for (size_t i = 0; i < left; i++) largest = all[i] > largest ? all[i] : largest;
    return largest;
}
INLINE vf vf_sum_each(const vf *v) { return vpaddq_f32(vpaddq_f32(v[0], v[1]), vpaddq_f32(v[2], v[3])); }

#include "floats.h"

#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 0)
INLINE vb vb_load(const void *p) { return vld1q_s8(p); }
INLINE vb vb_load_upto(const void *p, size_t left) {
    int8_t part[16] = {0};
    memcpy(part, p, left);
    return vld1q_s8(part);
}
/* Products are signed: weights of 8 bits lose their zero point here. */
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    uint8x16_t bytes = vreinterpretq_u8_s8(weights);
    *low = vreinterpretq_s8_u8(bits == 4 ? vandq_u8(bytes, vdupq_n_u8(15)) : veorq_u8(bytes, vdupq_n_u8(128)));
    *high = vreinterpretq_s8_u8(vshrq_n_u8(bytes, 4));
}
INLINE vf chunk_scales(const float *scales, int count) { return (void)count, vdupq_n_f32(*scales); }

#include "product.h"

/* The bytes of 4 numbers in the low half, less than 128 in size. */
INLINE int16x4_t quantise_four(vf x, float inverse) { return vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(x, inverse))); }

INLINE float scale_of(float largest, float *inverse) {
    *inverse = largest == 0 ? 0 : 127.0f / largest;
    return largest * (1.0f / 127.0f);
}

INLINE void quantise_chunks(const float *x, int bits, int is_shared, Chunk *out) {
    (void)is_shared;
    for (int i = 0; i < 4; i++) {
        float inverse;
        int8_t bytes[8];
        if (bits == 4) {
            vf first = vf_load(x + 8 * i), last = vf_load(x + 8 * i + 4);
            out->scale[i] = scale_of(vmaxvq_f32(vmaxq_f32(vabsq_f32(first), vabsq_f32(last))), &inverse);
            int16x8_t both = vcombine_s16(quantise_four(first, inverse), quantise_four(last, inverse));
            int8x8_t narrow = vqmovn_s16(both);
            int8x8x2_t parted = {{vuzp1_s8(narrow, narrow), vuzp2_s8(narrow, narrow)}};
            vst1_s8(bytes, parted.val[0]);
            memcpy(out->values[0] + 4 * i, bytes, 4);
            vst1_s8(bytes, parted.val[1]);
            memcpy(out->values[1] + 4 * i, bytes, 4);
        } else {
            vf four = vf_load(x + 4 * i);
            out->scale[i] = scale_of(vmaxvq_f32(vabsq_f32(four)), &inverse);
            int16x4_t shorts = quantise_four(four, inverse);
            vst1_s8(bytes, vqmovn_s16(vcombine_s16(shorts, shorts)));
            memcpy(out->values[0] + 4 * i, bytes, 4);
        }
    }
}

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps) {
    (void)steps;
    vi sum = vdotq_s32(vdupq_n_s32(0), *low, vb_load(x->values[0]));
    return vcvtq_f32_s32(bits == 4 ? vdotq_s32(sum, *high, vb_load(x->values[1])) : sum);
}

INLINE vf lane_sums(const Chunk *x, int bits) {
    const vb ones[] = {vdupq_n_s8(1)};
    return vf_mul(sums_of_four(ones, ones, x, bits, 1), vf_load(x->scale));
}

KERNELS(neon)
