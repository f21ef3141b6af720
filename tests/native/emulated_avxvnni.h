/* Included first (-include): the one instruction that AVX-VNNI adds to AVX2, written out. */
#pragma once
#include <immintrin.h>
#include <stdint.h>
#include <string.h>

static inline __attribute__((unused)) __m256i products_of_bytes(__m256i sums, __m256i weights, __m256i values) {
    int32_t sum[8];
    uint8_t w[32];
    int8_t v[32];
    memcpy(sum, &sums, 32), memcpy(w, &weights, 32), memcpy(v, &values, 32);
    for (int n = 0; n < 32; n++) sum[n / 4] += w[n] * v[n];
    memcpy(&sums, sum, 32);
    return sums;
}
#define _mm256_dpbusd_avx_epi32 products_of_bytes
