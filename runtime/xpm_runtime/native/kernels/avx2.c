/* Processors with AVX2, FMA and F16C: Intel from Haswell, AMD from Zen on. */
#include "vector256.h"

#include "floats.h"

/* Products of bytes are added in pairs of 16 bits, which must not overflow: weights of 8 bits are made signed, and
 * their sign is given to the activations. */
#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 0)
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    const vb low_bits = _mm256_set1_epi8(15);
    if (bits == 4) {
        *low = _mm256_and_si256(weights, low_bits);
        *high = _mm256_and_si256(_mm256_srli_epi16(weights, 4), low_bits);
    } else {
        *high = _mm256_xor_si256(weights, _mm256_set1_epi8(-128));
        *low = _mm256_abs_epi8(*high);
    }
}

#include "product.h"
#include "quantise256.h"

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps) {
    const vi ones = _mm256_set1_epi16(1);
    vi pairs = _mm256_setzero_si256(), sum = pairs;
#pragma GCC unroll 2
    for (int s = 0; s < steps; s++) {
        vb even = vb_load(x[s].values[0]);
        if (bits == 4) { /* at most 8 * 15 * 127 */
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(low[s], even));
            pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(high[s], vb_load(x[s].values[1])));
        } else
            sum = _mm256_add_epi32(
                sum, _mm256_madd_epi16(_mm256_maddubs_epi16(low[s], _mm256_sign_epi8(even, high[s])), ones));
    }
    return _mm256_cvtepi32_ps(bits == 4 ? _mm256_madd_epi16(pairs, ones) : sum);
}

KERNELS(avx2)
