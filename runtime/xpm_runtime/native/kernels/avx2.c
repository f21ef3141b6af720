/* Processors with AVX2, FMA and F16C: Intel from Haswell, AMD from Zen on. */
#include "vector256.h"

#include "floats.h"

/* Products of bytes are added in pairs of 16 bits, which must not overflow: weights of 8 bits are made signed, and their sign
 * is given to the activations. */
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
INLINE vf sums_of_four(vi zero, vb low, vb high, vb even, vb odd, int bits) {
    const vi ones = _mm256_set1_epi16(1);
    if (bits == 8)
        return _mm256_cvtepi32_ps(_mm256_madd_epi16(_mm256_maddubs_epi16(low, _mm256_sign_epi8(even, high)), ones));
    vi pairs = _mm256_add_epi16(_mm256_maddubs_epi16(low, even), _mm256_maddubs_epi16(high, odd));
    return _mm256_cvtepi32_ps(_mm256_add_epi32(zero, _mm256_madd_epi16(pairs, ones)));
}

#include "product.h"
#include "quantise256.h"

KERNELS(avx2)
