/* Eight lanes: AVX2 with FMA and F16C. Included by the families that have them, which differ in how bytes are
 * multiplied. */
#include "table.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { VF = 8, SUMS = 8, WIDE = 4, NARROW = 1, RANKS = 2, ROW_TILE = 1, TOKEN_TILE = 8, SHARED = 2 };
#define INLINE static inline __attribute__((always_inline))
#define PREFETCH(place) _mm_prefetch((const char *)(place), _MM_HINT_NTA)
#define ROUND (_MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)

typedef __m256 vf;
typedef __m256i vi;
typedef __m256i vb;

INLINE vf vf_zero(void) { return _mm256_setzero_ps(); }
INLINE vf vf_set(float x) { return _mm256_set1_ps(x); }
INLINE vf vf_add(vf a, vf b) { return _mm256_add_ps(a, b); }
INLINE vf vf_sub(vf a, vf b) { return _mm256_sub_ps(a, b); }
INLINE vf vf_mul(vf a, vf b) { return _mm256_mul_ps(a, b); }
INLINE vf vf_div(vf a, vf b) { return _mm256_div_ps(a, b); }
INLINE vf vf_max(vf a, vf b) { return _mm256_max_ps(a, b); }
INLINE vf vf_min(vf a, vf b) { return _mm256_min_ps(a, b); }
INLINE vf vf_fma(vf a, vf b, vf c) { return _mm256_fmadd_ps(a, b, c); }
INLINE vf vf_fnma(vf a, vf b, vf c) { return _mm256_fnmadd_ps(a, b, c); }
INLINE vf vf_round(vf x) { return _mm256_round_ps(x, ROUND); }
INLINE vf vf_scale(vf x, vf n) { /* n is whole and from -126 to 0 */
    return _mm256_mul_ps(
        x, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(_mm256_cvtps_epi32(n), _mm256_set1_epi32(127)), 23)));
}
INLINE vf vf_where_negative(vf x, vf then, vf otherwise) {
    return _mm256_blendv_ps(otherwise, then, _mm256_cmp_ps(x, _mm256_setzero_ps(), _CMP_LT_OQ));
}
INLINE vf vf_load(const float *p) { return _mm256_loadu_ps(p); }
INLINE void vf_store(float *p, vf x) { _mm256_storeu_ps(p, x); }
INLINE vi lanes(size_t left) {
    return _mm256_cmpgt_epi32(_mm256_set1_epi32((int)left), _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}
INLINE vf vf_first(vf x, size_t left) { return _mm256_and_ps(x, _mm256_castsi256_ps(lanes(left))); }
INLINE vf vf_load_upto(const float *p, size_t left) {
    return left >= 8 ? vf_load(p) : _mm256_maskload_ps(p, lanes(left));
}
INLINE void vf_store_upto(float *p, vf x, size_t left) {
    if (left >= 8)
        vf_store(p, x);
    else
        _mm256_maskstore_ps(p, lanes(left), x);
}
INLINE vf vf_half_upto(const uint16_t *p, size_t left) {
    if (left >= 8) return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)p));
    uint16_t part[8] = {0};
    memcpy(part, p, left * sizeof *p);
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)part));
}
INLINE vf vf_bytes_upto(const int8_t *p, size_t left) {
    int8_t part[8] = {0};
    if (left < 8) p = memcpy(part, p, left);
    return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p)));
}
INLINE vf vf_nibbles(const uint8_t *p, int is_high) {
    vi bytes = _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)p));
    return _mm256_cvtepi32_ps(_mm256_srai_epi32(_mm256_slli_epi32(bytes, is_high ? 24 : 28), 28));
}
INLINE void vf_to_half_upto(uint16_t *p, vf x, size_t left) {
    uint16_t all[8];
    _mm_storeu_si128((__m128i *)all, _mm256_cvtps_ph(x, ROUND));
    memcpy(p, all, (left < 8 ? left : 8) * sizeof *p);
}
/* In the order in which vf_sum_each adds, so that a token comes to the same bits whatever runs beside it. */
INLINE float vf_sum(vf x) {
    x = _mm256_add_ps(x, _mm256_permute_ps(x, 0xb1));
    x = _mm256_add_ps(x, _mm256_permute_ps(x, 0x4e));
    return _mm_cvtss_f32(_mm_add_ss(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1)));
}
INLINE float vf_largest_upto(vf x, size_t left) {
    if (left < 8) x = _mm256_blendv_ps(_mm256_set1_ps(-INFINITY), x, _mm256_castsi256_ps(lanes(left)));
    __m128 four = _mm_max_ps(_mm256_castps256_ps128(x), _mm256_extractf128_ps(x, 1));
    four = _mm_max_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_max_ss(four, _mm_movehdup_ps(four)));
}
INLINE vf vf_sum_each(const vf *v) {
    vf fours[2];
#pragma GCC unroll 2
    for (int i = 0; i < 2; i++)
        fours[i] = _mm256_hadd_ps(_mm256_hadd_ps(v[4 * i], v[4 * i + 1]), _mm256_hadd_ps(v[4 * i + 2], v[4 * i + 3]));
    return _mm256_add_ps(
        _mm256_permute2f128_ps(fours[0], fours[1], 0x20), _mm256_permute2f128_ps(fours[0], fours[1], 0x31));
}

INLINE vb vb_load(const void *p) { return _mm256_loadu_si256((const __m256i *)p); }
INLINE vb vb_load_upto(const void *p, size_t left) {
    uint8_t part[32] = {0};
    memcpy(part, p, left);
    return vb_load(part);
}
INLINE vf chunk_scales(const float *scales, int count) {
    if (count == 1) return _mm256_set1_ps(*scales);
    return _mm256_set_m128(_mm_set1_ps(scales[1]), _mm_set1_ps(scales[0]));
}
