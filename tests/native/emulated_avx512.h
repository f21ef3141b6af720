/* Included first (-include): the instructions of AVX-512, emulated by what the processor has. Needs SIMDe's headers;
 * what they lack is written out here, lane by lane. Masked lanes are not touched in memory, so that a sanitizer sees
 * what hardware would do.
 */
#pragma once
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <math.h>
#include <simde/x86/avx512.h>
#include <simde/x86/f16c.h>
#include <simde/x86/fma.h>
#include <string.h>

typedef union {
    simde__m512 f;
    simde__m512i i;
    simde__m256i half[2];
    float lane[16];
    int32_t whole[16];
    uint8_t byte[64];
} Lanes;
typedef union { simde__m256i i; uint16_t lane[16]; } Halves;

#define EMULATED static inline __attribute__((unused))
#define EACH for (int n = 0; n < 16; n++)

EMULATED simde__m512 load_floats(unsigned mask, const void *p) {
    Lanes r = {0};
    EACH if (mask >> n & 1) memcpy(&r.lane[n], (const char *)p + 4 * n, 4);
    return r.f;
}
EMULATED void store_floats(void *p, unsigned mask, simde__m512 v) {
    Lanes r = {v};
    EACH if (mask >> n & 1) memcpy((char *)p + 4 * n, &r.lane[n], 4);
}
EMULATED void compress_floats(void *p, unsigned mask, simde__m512 v) {
    Lanes r = {v};
    EACH if (mask >> n & 1) memcpy(p, &r.lane[n], 4), p = (char *)p + 4;
}
EMULATED simde__m512i load_bytes(uint64_t mask, const void *p) {
    Lanes r = {0};
    for (int n = 0; n < 64; n++)
        if (mask >> n & 1) r.byte[n] = ((const uint8_t *)p)[n];
    return r.i;
}
EMULATED simde__m256i load_shorts(unsigned mask, const void *p) {
    Halves r = {0};
    EACH if (mask >> n & 1) memcpy(&r.lane[n], (const char *)p + 2 * n, 2);
    return r.i;
}
EMULATED void store_shorts(void *p, unsigned mask, simde__m256i v) {
    Halves r = {v};
    EACH if (mask >> n & 1) memcpy((char *)p + 2 * n, &r.lane[n], 2);
}
EMULATED simde__m512 from_whole(simde__m512i v) {
    Lanes from = {.i = v}, r;
    EACH r.lane[n] = (float)from.whole[n];
    return r.f;
}
EMULATED simde__m512i to_whole(simde__m512 v) {
    Lanes from = {v}, r;
    EACH r.whole[n] = fabsf(from.lane[n]) < 2147483648.0f ? (int32_t)lrintf(from.lane[n]) : INT32_MIN;
    return r.i;
}
EMULATED simde__m512 from_half(simde__m256i v) {
    simde__m256 low = _mm256_cvtph_ps(_mm256_castsi256_si128(v)),
                high = _mm256_cvtph_ps(_mm256_extracti128_si256(v, 1));
    Lanes r;
    memcpy(r.lane, &low, 32), memcpy(r.lane + 8, &high, 32);
    return r.f;
}
EMULATED simde__m256i to_half(simde__m512 v) {
    simde__m256 parts[2];
    memcpy(parts, &v, 64);
    return _mm256_set_m128i(_mm256_cvtps_ph(parts[1], 0), _mm256_cvtps_ph(parts[0], 0));
}
EMULATED simde__m512 permuted(simde__m512 v, int how) {
    Lanes from = {v}, r;
    EACH r.lane[n] = from.lane[n / 4 * 4 + (how >> n % 4 * 2 & 3)];
    return r.f;
}
EMULATED simde__m512 shuffled(simde__m512 a, simde__m512 b, int how) {
    Lanes from[] = {{a}, {b}}, r;
    EACH r.lane[n] = from[n / 8].lane[(how >> n / 4 * 2 & 3) * 4 + n % 4];
    return r.f;
}
EMULATED float sum_of(simde__m512 v) {
    Lanes from = {v};
    float sum = 0;
    EACH sum += from.lane[n];
    return sum;
}
EMULATED float largest_of_lanes(unsigned mask, simde__m512 v) {
    Lanes from = {v};
    float largest = -INFINITY;
    EACH if (mask >> n & 1 && from.lane[n] > largest) largest = from.lane[n];
    return largest;
}
EMULATED simde__m512 scaled(simde__m512 v, simde__m512 by) {
    Lanes from = {v}, powers = {by}, r;
    EACH r.lane[n] = ldexpf(from.lane[n], (int)powers.lane[n]);
    return r.f;
}
EMULATED simde__m512 rounded(simde__m512 v) {
    Lanes from = {v}, r;
    EACH r.lane[n] = nearbyintf(from.lane[n]);
    return r.f;
}

#define _mm512_maskz_loadu_ps load_floats
#define _mm512_mask_storeu_ps store_floats
#define _mm512_mask_compressstoreu_ps compress_floats
#define _mm512_maskz_loadu_epi8 load_bytes
#define _mm256_maskz_loadu_epi16 load_shorts
#define _mm256_mask_storeu_epi16 store_shorts
#define _mm512_cvtepi32_ps from_whole
#define _mm512_cvtps_epi32 to_whole
#define _mm512_cvtph_ps from_half
#define _mm512_cvtps_ph(v, rounding) to_half(v)
#define _mm512_permute_ps permuted
#define _mm512_shuffle_f32x4 shuffled
#define _mm512_reduce_add_ps sum_of
#define _mm512_mask_reduce_max_ps largest_of_lanes
#define _mm512_scalef_ps scaled
#define _mm512_roundscale_ps(v, how) rounded(v)
