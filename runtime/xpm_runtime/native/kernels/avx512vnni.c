/* Sixteen lanes: AVX-512 (F, BW, DQ, VL) with VNNI. Parts of vectors are masked, which costs nothing. */
#include "table.h"

#include <immintrin.h>

enum { VF = 16, SUMS = 16, WIDE = 8, NARROW = 2, RANKS = 4, ROW_TILE = 4, TOKEN_TILE = 4, SHARED = 1 };
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(place) _mm_prefetch((const char *)(place), _MM_HINT_NTA)
#define ROUND (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

typedef __m512 vf;
typedef __m512i vi;
typedef __m512i vb;

INLINE __mmask16 lanes(size_t left) { return left >= 16 ? 0xffff : (__mmask16)((1u << left) - 1); }

INLINE vf vf_zero(void) { return _mm512_setzero_ps(); }
INLINE vf vf_set(float x) { return _mm512_set1_ps(x); }
INLINE vf vf_add(vf a, vf b) { return _mm512_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm512_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm512_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm512_div_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm512_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm512_min_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm512_fmadd_ps(a, b, c); }
INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm512_fnmadd_ps(a, b, c); }
INLINE vf vf_round(vf x) { return _mm512_roundscale_ps(x, ROUND); }
INLINE vf vf_scale(vf x, vf n) { return _mm512_scalef_ps(x, n); }
INLINE vf vf_where_negative(vf x, vf then, vf otherwise) {
    return _mm512_mask_mov_ps(otherwise, _mm512_cmp_ps_mask(x, _mm512_setzero_ps(), _CMP_LT_OQ), then);
}
INLINE vf vf_load(const float *p) { return _mm512_loadu_ps(p); }
INLINE void vf_store(float *p, vf x) { _mm512_storeu_ps(p, x); }
INLINE vf vf_first(vf x, size_t left) { return _mm512_maskz_mov_ps(lanes(left), x); }
INLINE vf vf_load_upto(const float *p, size_t left) { return _mm512_maskz_loadu_ps(lanes(left), p); }
INLINE void vf_store_upto(float *p, vf x, size_t left) { _mm512_mask_storeu_ps(p, lanes(left), x); }
INLINE vf vf_half_upto(const uint16_t *p, size_t left) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(lanes(left), p));
}
INLINE vf vf_bytes_upto(const int8_t *p, size_t left) {
    return _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_maskz_loadu_epi8(lanes(left), p)));
}
INLINE vf vf_nibbles(const uint8_t *p, int is_high) {
    vi bytes = _mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i *)p));
    return _mm512_cvtepi32_ps(_mm512_srai_epi32(_mm512_slli_epi32(bytes, is_high ? 24 : 28), 28));
}
INLINE void vf_to_half_upto(uint16_t *p, vf x, size_t left) {
    _mm256_mask_storeu_epi16(p, lanes(left), _mm512_cvtps_ph(x, ROUND));
}
/* In the order in which vf_sum_each adds, so that a token comes to the same bits whatever runs beside it. */
INLINE float vf_sum(vf x) {
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0x4e));
    x = _mm512_add_ps(x, _mm512_permute_ps(x, 0xb1));
    x = _mm512_add_ps(x, _mm512_shuffle_f32x4(x, x, 0xb1));
    return _mm_cvtss_f32(_mm_add_ss(_mm512_castps512_ps128(x), _mm512_extractf32x4_ps(x, 2)));
}
INLINE float vf_largest_upto(vf x, size_t left) { return _mm512_mask_reduce_max_ps(lanes(left), x); }

/* Their additions are shared: a third of what sixteen single sums take. */
INLINE vf vf_sum_each(const vf *v) {
    vf pairs[8], fours[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        pairs[i] =
            _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
        fours[i] =
            _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#define FOLD(a, b) _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd))
    return FOLD(FOLD(fours[0], fours[1]), FOLD(fours[2], fours[3]));
#undef FOLD
}

#include "floats.h"

#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 128)
INLINE vb vb_load(const void *p) { return _mm512_loadu_si512(p); }
INLINE vb vb_load_upto(const void *p, size_t left) {
    return _mm512_maskz_loadu_epi8(left >= 64 ? ~0ull : (1ull << left) - 1, p);
}
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    const vb low_bits = _mm512_set1_epi8(15);
    *low = bits == 4 ? _mm512_and_si512(weights, low_bits) : weights;
    *high = _mm512_and_si512(_mm512_srli_epi16(weights, 4), low_bits);
}
INLINE vf chunk_scales(const float *scales, int count) {
    const __m512i quarters = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    if (count == 1) return _mm512_set1_ps(*scales);
    if (count == 4) return _mm512_permutexvar_ps(quarters, _mm512_castps128_ps512(_mm_loadu_ps(scales)));
    return _mm512_permutexvar_ps(
        halves, _mm512_castps128_ps512(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)scales))));
}

#include "product.h"

/* 16 activations as bytes, with a scale for each group of `group` (8 or 4) neighbours, written to `scales` once per
 * group. */
INLINE __m128i quantise_groups(vf x, int group, float *scales) {
    vf largest = _mm512_abs_ps(x);
    largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0xb1));
    largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0x4e));
    if (group == 8) largest = _mm512_max_ps(largest, _mm512_shuffle_f32x4(largest, largest, 0xb1));
    __mmask16 is_zero = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_EQ_OQ);
    vf inverse = _mm512_mask_div_ps(_mm512_setzero_ps(), ~is_zero, _mm512_set1_ps(127.0f), largest);
    _mm512_mask_compressstoreu_ps(
        scales, group == 8 ? 0x0101 : 0x1111, _mm512_mul_ps(largest, _mm512_set1_ps(1.0f / 127.0f)));
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)));
}

INLINE void quantise_chunks(const float *x, int bits, int is_shared, Chunk *out) {
    (void)is_shared;
    int8_t plain[128];
    int group = bits == 4 ? 8 : 4;
    for (int i = 0; i < (bits == 4 ? 128 : 64); i += VF)
        _mm_storeu_si128(
            (__m128i *)(plain + i), quantise_groups(_mm512_loadu_ps(x + i), group, out->scale + i / group));
    vi first = _mm512_loadu_si512(plain);
    if (bits == 4) {
        vi last = _mm512_loadu_si512(plain + 64);
        vi even =
            _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(first)), _mm512_cvtepi16_epi8(last), 1);
        first = _mm512_srli_epi16(first, 8), last = _mm512_srli_epi16(last, 8);
        vi odd = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(first)), _mm512_cvtepi16_epi8(last), 1);
        _mm512_storeu_si512(out->values[0], even);
        _mm512_storeu_si512(out->values[1], odd);
    } else
        _mm512_storeu_si512(out->values[0], first);
}

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps) {
    (void)steps;
    vi sum = _mm512_dpbusd_epi32(_mm512_setzero_si512(), *low, vb_load(x->values[0]));
    return _mm512_cvtepi32_ps(bits == 4 ? _mm512_dpbusd_epi32(sum, *high, vb_load(x->values[1])) : sum);
}

INLINE vf lane_sums(const Chunk *x, int bits) {
    const vb ones[] = {_mm512_set1_epi8(1)};
    return vf_mul(sums_of_four(ones, ones, x, bits, 1), vf_load(x->scale));
}

KERNELS(avx512vnni)
