/* Processors without AVX-512 that have its products of bytes: Intel from Alder Lake, AMD from Zen 5 on. */
#include "vector256.h"

#include "floats.h"

#define ZERO_POINT(bits) ((bits) == 4 ? 8 : 128)
INLINE void unpack(vb weights, int bits, vb *low, vb *high) {
    const vb low_bits = _mm256_set1_epi8(15);
    *low = bits == 4 ? _mm256_and_si256(weights, low_bits) : weights;
    *high = _mm256_and_si256(_mm256_srli_epi16(weights, 4), low_bits);
}

#include "product.h"
#include "quantise256.h"

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps) {
    vi sum = _mm256_setzero_si256();
#pragma GCC unroll 2
    for (int s = 0; s < steps; s++) {
        sum = _mm256_dpbusd_avx_epi32(sum, low[s], vb_load(x[s].values[0]));
        if (bits == 4) sum = _mm256_dpbusd_avx_epi32(sum, high[s], vb_load(x[s].values[1]));
    }
    return _mm256_cvtepi32_ps(sum);
}

KERNELS(avxvnni)
