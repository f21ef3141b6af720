/* Activations for eight lanes; included after `product.h`. */

/* The largest of 8 numbers, in all lanes; or of each half, in its lanes. */
INLINE vf largest_of(vf x, int group) {
    vf largest = _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x);
    largest = _mm256_max_ps(largest, _mm256_permute_ps(largest, 0xb1));
    largest = _mm256_max_ps(largest, _mm256_permute_ps(largest, 0x4e));
    return group == 8 ? _mm256_max_ps(largest, _mm256_permute2f128_ps(largest, largest, 1)) : largest;
}

/* 8 numbers as bytes, in the low half. */
INLINE __m128i bytes_of(vf x, vf inverse) {
    __m256i whole = _mm256_cvtps_epi32(_mm256_mul_ps(x, inverse));
    __m128i shorts = _mm_packs_epi32(_mm256_castsi256_si128(whole), _mm256_extracti128_si256(whole, 1));
    return _mm_packs_epi16(shorts, shorts);
}

INLINE void quantise_chunks(const float *x, int bits, int is_shared, Chunk *out) {
    const __m128i evens_first = _mm_set_epi8(-1, -1, -1, -1, -1, -1, -1, -1, 7, 5, 3, 1, 6, 4, 2, 0);
    const int group = bits == 4 ? 8 : 4, step = 8 / group;
    for (int lane = 0; lane < 8; lane += step) {
        vf first = vf_load(x + lane * group), second = vf_load(x + lane * group + 8 * group);
        vf of_first = largest_of(first, group), of_second = largest_of(second, group),
           of_both = vf_max(of_first, of_second);
        for (int half = 0; half < 2; half++) {
            Chunk *chunk = out + half;
            vf largest = is_shared ? of_both : half ? of_second : of_first;
            vf is_zero = _mm256_cmp_ps(largest, _mm256_setzero_ps(), _CMP_EQ_OQ);
            vf inverse = _mm256_andnot_ps(is_zero, _mm256_div_ps(_mm256_set1_ps(127.0f), largest));
            vf scale = _mm256_mul_ps(largest, _mm256_set1_ps(1.0f / 127.0f));
            __m128i bytes = bytes_of(half ? second : first, inverse);
            chunk->scale[lane] = _mm256_cvtss_f32(scale);
            if (bits == 4) {
                bytes = _mm_shuffle_epi8(bytes, evens_first);
                int even = _mm_cvtsi128_si32(bytes), odd = _mm_extract_epi32(bytes, 1);
                memcpy(chunk->values[0] + 4 * lane, &even, 4);
                memcpy(chunk->values[1] + 4 * lane, &odd, 4);
            } else {
                chunk->scale[lane + 1] = _mm_cvtss_f32(_mm256_extractf128_ps(scale, 1));
                _mm_storel_epi64((__m128i *)(chunk->values[0] + 4 * lane), bytes);
            }
        }
    }
}

INLINE vf lane_sums(const Chunk *x, int bits) {
    const vi ones = _mm256_set1_epi8(1), short_ones = _mm256_set1_epi16(1);
    vi pairs = _mm256_maddubs_epi16(ones, vb_load(x->values[0]));
    if (bits == 4) pairs = _mm256_add_epi16(pairs, _mm256_maddubs_epi16(ones, vb_load(x->values[1])));
    return vf_mul(_mm256_cvtepi32_ps(_mm256_madd_epi16(pairs, short_ones)), vf_load(x->scale));
}
