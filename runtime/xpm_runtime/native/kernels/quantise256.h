/* A chunk of activations for eight lanes; included after `product.h`. */
INLINE void quantise_chunk(const float *x, int bits, Chunk *out) {
    const __m128i evens_first = _mm_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 7, 5, 3, 1, 6, 4, 2, 0);
    if (bits == 4)
        for (int i = 0; i < 8; i++) {
            __m128i bytes = _mm_shuffle_epi8(quantise_eight(vf_load(x + 8 * i), 8, out->scale + i), evens_first);
            int even = _mm_cvtsi128_si32(bytes), odd = _mm_extract_epi32(bytes, 1);
            memcpy(out->values[0] + 4 * i, &even, 4);
            memcpy(out->values[1] + 4 * i, &odd, 4);
        }
    else
        for (int i = 0; i < 4; i++)
            _mm_storel_epi64((__m128i *)(out->values[0] + 8 * i), quantise_eight(vf_load(x + 8 * i), 4, out->scale + 2 * i));
    const vi ones = _mm256_set1_epi8(1), short_ones = _mm256_set1_epi16(1);
    vi pairs = _mm256_maddubs_epi16(ones, vb_load(out->values[0]));
    if (bits == 4) pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(ones, vb_load(out->values[1])));
    vi sums = _mm256_madd_epi16(pairs, short_ones);
    _mm256_storeu_si256((__m256i *)out->zero, _mm256_mullo_epi32(sums, _mm256_set1_epi32(-ZERO_POINT(bits))));
    vf_store(out->sum, vf_mul(_mm256_cvtepi32_ps(sums), vf_load(out->scale)));
}
