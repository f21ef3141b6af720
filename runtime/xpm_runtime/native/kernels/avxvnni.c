/* Processors without AVX-512 that have its products of bytes: Intel from Alder Lake, AMD from Zen 5 on. */
#include "vector256.h"

#include "floats.h"

#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 128)
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    const vb low_bits = _mm256_set1_epi8(15);
    *low = bits == 4 ? _mm256_and_si256(weights, low_bits) : weights;
    *high = _mm256_and_si256(_mm256_srli_epi16(weights, 4), low_bits);
}
INLINE vf sums_of_four(vi zero, vb low, vb high, vb even, vb odd, int bits) {
    vi sum = _mm256_dpbusd_avx_epi32(zero, low, even);
    return _mm256_cvtepi32_ps(bits == 4 ? _mm256_dpbusd_avx_epi32(sum, high, odd) : sum);
}

#include "product.h"
#include "quantise256.h"

KERNELS(avxvnni)
