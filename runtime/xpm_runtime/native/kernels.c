#include "kernels.h"

#include <immintrin.h>
#include <math.h>
#include <string.h>

enum { LANES = 16, ROW_TILE = 4, TOKEN_TILE = 4, AHEAD = 4096 /* bytes: one page ahead reads fastest */ };

static __mmask16 first_lanes(size_t count) { return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1); }
static __mmask64 first_bytes(size_t count) { return count >= 64 ? ~0ull : (1ull << count) - 1; }
static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* The sums of sixteen vectors, one per lane: their additions are shared, a third of what sixteen single ones take. */
static inline __attribute__((always_inline)) __m512 sum_each(const __m512 *v) {
    __m512 pairs[8], fours[4];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i++)
        pairs[i] = _mm512_add_ps(_mm512_unpacklo_ps(v[2 * i], v[2 * i + 1]), _mm512_unpackhi_ps(v[2 * i], v[2 * i + 1]));
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) {
        __m512d a = _mm512_castps_pd(pairs[2 * i]), b = _mm512_castps_pd(pairs[2 * i + 1]);
        fours[i] = _mm512_add_ps(_mm512_castpd_ps(_mm512_unpacklo_pd(a, b)), _mm512_castpd_ps(_mm512_unpackhi_pd(a, b)));
    }
#define FOLD(a, b) _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88), _mm512_shuffle_f32x4(a, b, 0xdd))
    return FOLD(FOLD(fours[0], fours[1]), FOLD(fours[2], fours[3]));
#undef FOLD
}

/* Quantised product */

size_t num_chunks(size_t num_in, int bits) {
    size_t per_chunk = bits == 4 ? 128 : 64;
    return (num_in + per_chunk - 1) / per_chunk;
}

/* 16 activations as bytes, with a scale for each group of `group` (8 or 4) neighbours, written to `scales` once per group. */
static inline __m128i quantise_groups(__m512 x, int group, float *scales) {
    __m512 largest = _mm512_abs_ps(x);
    largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0xb1));
    largest = _mm512_max_ps(largest, _mm512_permute_ps(largest, 0x4e));
    if (group == 8) largest = _mm512_max_ps(largest, _mm512_shuffle_f32x4(largest, largest, 0xb1));
    __mmask16 is_zero = _mm512_cmp_ps_mask(largest, _mm512_setzero_ps(), _CMP_EQ_OQ);
    __m512 inverse = _mm512_mask_div_ps(_mm512_setzero_ps(), ~is_zero, _mm512_set1_ps(127.0f), largest);
    __m512 scale = _mm512_mul_ps(largest, _mm512_set1_ps(1.0f / 127.0f));
    __mmask16 first_of_group = group == 8 ? 0x0101 : 0x1111;
    _mm512_mask_compressstoreu_ps(scales, first_of_group, scale);
    return _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32(_mm512_mul_ps(x, inverse)));
}

static inline __attribute__((always_inline)) void quantise_chunk(const float *x, int bits, Chunk *out) {
    const __m512i ones = _mm512_set1_epi8(1);
    int8_t plain[128];
    int group = bits == 4 ? 8 : 4;
    for (int i = 0; i < (bits == 4 ? 128 : 64); i += LANES)
        _mm_storeu_si128((__m128i *)(plain + i), quantise_groups(_mm512_loadu_ps(x + i), group, out->scale + i / group));
    __m512i first = _mm512_loadu_si512(plain);
    if (bits == 4) {
        __m512i last = _mm512_loadu_si512(plain + 64);
        __m512i even = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(first)), _mm512_cvtepi16_epi8(last), 1);
        first = _mm512_srli_epi16(first, 8), last = _mm512_srli_epi16(last, 8);
        __m512i odd = _mm512_inserti64x4(_mm512_castsi256_si512(_mm512_cvtepi16_epi8(first)), _mm512_cvtepi16_epi8(last), 1);
        _mm512_storeu_si512(out->values[0], even);
        _mm512_storeu_si512(out->values[1], odd);
        __m512i sums = _mm512_dpbusd_epi32(_mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, even), ones, odd);
        _mm512_storeu_si512(out->zero, _mm512_mullo_epi32(sums, _mm512_set1_epi32(-8)));
    } else {
        _mm512_storeu_si512(out->values[0], first);
        __m512i sums = _mm512_dpbusd_epi32(_mm512_setzero_si512(), ones, first);
        _mm512_storeu_si512(out->zero, _mm512_mullo_epi32(sums, _mm512_set1_epi32(-128)));
    }
}

void quantise_row(const float *x, size_t num_in, int bits, Chunk *out) {
    size_t per_chunk = bits == 4 ? 128 : 64, start = 0;
    for (; start + per_chunk <= num_in; start += per_chunk) bits == 4 ? quantise_chunk(x + start, 4, out++) : quantise_chunk(x + start, 8, out++);
    if (start == num_in) return;
    float rest[128] = {0};
    memcpy(rest, x + start, (num_in - start) * sizeof(float));
    bits == 4 ? quantise_chunk(rest, 4, out) : quantise_chunk(rest, 8, out);
}

/* The weights' scales of one chunk, one per lane. A chunk has `count` (1, 2 or 4) scales, or several chunks share one. */
static inline __attribute__((always_inline)) __m512 chunk_scales(const float *scales, int count) {
    const __m512i quarters = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1, 0, 0, 0, 0);
    const __m512i halves = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
    if (count == 1) return _mm512_set1_ps(*scales);
    if (count == 4) return _mm512_permutexvar_ps(quarters, _mm512_castps128_ps512(_mm_loadu_ps(scales)));
    return _mm512_permutexvar_ps(halves, _mm512_castps128_ps512(_mm_castpd_ps(_mm_load_sd((const double *)scales))));
}

/* Add one chunk of `rows` rows of weights times the same chunk of `tokens` rows of activations. */
static inline __attribute__((always_inline)) void add_chunk(
    const __m512i *packed, const __m512 *scales, const Chunk *x, size_t x_stride, __m512 sums[][ROW_TILE], int rows, int tokens,
    int bits) {
    const __m512i low_bits = _mm512_set1_epi8(15);
    __m512i low[ROW_TILE], high[ROW_TILE];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++) {
        low[r] = bits == 4 ? _mm512_and_si512(packed[r], low_bits) : packed[r];
        high[r] = _mm512_and_si512(_mm512_srli_epi16(packed[r], 4), low_bits);
    }
#pragma GCC unroll 4
    for (int t = 0; t < tokens; t++, x += x_stride) {
        __m512i zero = _mm512_loadu_si512(x->zero), even = _mm512_loadu_si512(x->values[0]), odd = _mm512_loadu_si512(x->values[1]);
        __m512 activation_scale = _mm512_loadu_ps(x->scale);
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            __m512i sum = _mm512_dpbusd_epi32(zero, low[r], even);
            if (bits == 4) sum = _mm512_dpbusd_epi32(sum, high[r], odd);
            __m512 scaled = _mm512_mul_ps(_mm512_cvtepi32_ps(sum), activation_scale);
            sums[t][r] = _mm512_fmadd_ps(scaled, scales[r], sums[t][r]);
        }
    }
}

/* `rows` rows of weights times `tokens` rows of activations; both constants once inlined, so that the sums stay in registers.
 * `is_first`: the weights come from memory, so they are fetched ahead. */
static inline __attribute__((always_inline)) void product_tile(
    const QuantisedMatrix *m, size_t row, const Chunk *activations, float *out, size_t stride, int rows, int tokens, int bits,
    int scales_per_chunk, int is_first) {
    size_t chunks = num_chunks(m->num_in, bits), row_bytes = m->num_in * bits / 8, full = row_bytes / 64;
    size_t num_blocks = (m->num_in + m->block - 1) / m->block;
    int shift = scales_per_chunk == 1 ? __builtin_ctzll(m->block) - (bits == 4 ? 7 : 6) : 0;
    const uint8_t *packed = m->packed + row * row_bytes;
    const float *scales = m->scales + row * num_blocks;
    __m512 sums[TOKEN_TILE][ROW_TILE], chunk_scale[ROW_TILE];
    __m512i weights[ROW_TILE];
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int t = 0; t < tokens; t++) sums[t][r] = _mm512_setzero_ps();
    for (size_t chunk = 0; chunk < full; chunk++) {
        size_t first_scale = (chunk >> shift) * scales_per_chunk;
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            const uint8_t *place = packed + r * row_bytes + 64 * chunk;
            if (is_first) _mm_prefetch((const char *)place + AHEAD, _MM_HINT_NTA);
            weights[r] = _mm512_loadu_si512(place);
            chunk_scale[r] = chunk_scales(scales + r * num_blocks + first_scale, scales_per_chunk);
        }
        add_chunk(weights, chunk_scale, activations + chunk, chunks, sums, rows, tokens, bits);
    }
    if (full < chunks) { /* the rows end within a chunk */
        __mmask64 mask = first_bytes(row_bytes - 64 * full);
        size_t first_scale = (full >> shift) * scales_per_chunk;
#pragma GCC unroll 4
        for (int r = 0; r < rows; r++) {
            float last[4] = {0};
            size_t left = smaller(scales_per_chunk, num_blocks - first_scale);
            memcpy(last, scales + r * num_blocks + first_scale, sizeof(float) * left);
            weights[r] = _mm512_maskz_loadu_epi8(mask, packed + r * row_bytes + 64 * full);
            chunk_scale[r] = chunk_scales(last, scales_per_chunk);
        }
        add_chunk(weights, chunk_scale, activations + full, chunks, sums, rows, tokens, bits);
    }
    if (rows == ROW_TILE && tokens == TOKEN_TILE) {
        float totals[TOKEN_TILE][ROW_TILE];
        _mm512_storeu_ps(totals, sum_each(sums[0]));
        for (int t = 0; t < TOKEN_TILE; t++) memcpy(out + t * stride + row, totals[t], sizeof totals[t]);
        return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < rows; r++)
#pragma GCC unroll 4
        for (int t = 0; t < tokens; t++) out[t * stride + row + r] = _mm512_reduce_add_ps(sums[t][r]);
}

/* Rows of weights are read in order: alone for one token, which is bound by memory, else a few at a time. */
static inline __attribute__((always_inline)) void product_of_bits(
    const QuantisedMatrix *m, const Chunk *activations, size_t num_tokens, size_t first, size_t last, float *out, size_t stride,
    int bits, int per_chunk) {
    size_t chunks = num_chunks(m->num_in, bits), t = 0;
#define TILE(rows, tokens, is_first) \
    product_tile(m, n, activations + t * chunks, out + t * stride, stride, rows, tokens, bits, per_chunk, is_first)
    for (; t + TOKEN_TILE <= num_tokens; t += TOKEN_TILE) {
        size_t n = first;
        for (; n + ROW_TILE <= last; n += ROW_TILE) t == 0 ? TILE(ROW_TILE, TOKEN_TILE, 1) : TILE(ROW_TILE, TOKEN_TILE, 0);
        for (; n < last; n++) TILE(1, TOKEN_TILE, 0);
    }
    for (; t < num_tokens; t++)
        for (size_t n = first; n < last; n++) TILE(1, 1, 1);
#undef TILE
}

void quantised_product(
    const QuantisedMatrix *matrix, const Chunk *activations, size_t num_tokens, size_t first, size_t last, float *out,
    size_t stride) {
    size_t in_chunk = matrix->bits == 4 ? 128 : 64, per_chunk = matrix->block >= in_chunk ? 1 : in_chunk / matrix->block;
#define PRODUCT(bits, per) product_of_bits(matrix, activations, num_tokens, first, last, out, stride, bits, per)
    if (matrix->bits == 4)
        per_chunk == 1 ? PRODUCT(4, 1) : per_chunk == 2 ? PRODUCT(4, 2) : PRODUCT(4, 4);
    else
        per_chunk == 1 ? PRODUCT(8, 1) : PRODUCT(8, 2);
#undef PRODUCT
}

/* Adapters */

static inline __m512 load_half(const uint16_t *place, __mmask16 mask) {
    return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(mask, place));
}

static inline __attribute__((always_inline)) __m512 load_adapter(const void *data, size_t index, __mmask16 mask, int is_half) {
    return is_half ? load_half((const uint16_t *)data + index, mask) : _mm512_maskz_loadu_ps(mask, (const float *)data + index);
}

static inline __attribute__((always_inline)) void rows_tile(
    const float *x, size_t num_in, const void *a, size_t rank, float *out, size_t out_stride, int ranks, int tokens, int is_half) {
    __m512 sums[4][4];
#pragma GCC unroll 8
    for (int r = 0; r < ranks; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) sums[t][r] = _mm512_setzero_ps();
    for (size_t k = 0; k < num_in; k += LANES) {
        __mmask16 mask = first_lanes(num_in - k);
        __m512 inputs[4];
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) inputs[t] = _mm512_maskz_loadu_ps(mask, x + t * num_in + k);
#pragma GCC unroll 8
        for (int r = 0; r < ranks; r++) {
            if (tokens == 1) _mm_prefetch((const char *)a + ((rank + r) * num_in + k) * (is_half ? 2 : 4) + AHEAD, _MM_HINT_NTA);
            __m512 row = load_adapter(a, (rank + r) * num_in + k, mask, is_half);
#pragma GCC unroll 8
            for (int t = 0; t < tokens; t++) sums[t][r] = _mm512_fmadd_ps(row, inputs[t], sums[t][r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ranks; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) out[t * out_stride + rank + r] = _mm512_reduce_add_ps(sums[t][r]);
}

static inline __attribute__((always_inline)) void rows_of_type(
    const float *x, size_t num_tokens, size_t num_in, const void *a, size_t first, size_t last, float *out, size_t out_stride,
    int is_half) {
    size_t t = 0;
    for (; t + 4 <= num_tokens; t += 4) {
        size_t r = first;
        for (; r + 4 <= last; r += 4) rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, 4, 4, is_half);
        for (; r < last; r++) rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, 1, 4, is_half);
    }
    for (; t < num_tokens; t++) {
        size_t r = first;
        for (; r < last; r++) rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, 1, 1, is_half);
    }
}

void rows_product(
    const float *x, size_t num_tokens, size_t num_in, AdapterRows a, size_t first, size_t last, float *out, size_t out_stride) {
    if (a.is_half)
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 1);
    else
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 0);
}

static inline __attribute__((always_inline)) void add_tile(
    float *y, size_t y_stride, const float *coefficients, size_t c_stride, const void *b, size_t num_out, size_t n, size_t last,
    size_t rank, int ranks, int tokens, int is_half) {
    for (; n < last; n += LANES) {
        __mmask16 mask = first_lanes(last - n);
        __m512 rows[4];
#pragma GCC unroll 8
        for (int r = 0; r < ranks; r++) {
            size_t place = (rank + r) * num_out + n;
            if (tokens == 1) _mm_prefetch((const char *)b + (place + ranks * num_out) * (is_half ? 2 : 4), _MM_HINT_NTA);
            rows[r] = load_adapter(b, place, mask, is_half);
        }
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) {
            float *place = y + t * y_stride + n;
            __m512 sum = _mm512_maskz_loadu_ps(mask, place);
#pragma GCC unroll 8
            for (int r = 0; r < ranks; r++)
                sum = _mm512_fmadd_ps(rows[r], _mm512_set1_ps(coefficients[t * c_stride + rank + r]), sum);
            _mm512_mask_storeu_ps(place, mask, sum);
        }
    }
}

static inline __attribute__((always_inline)) void add_of_type(
    float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride, const void *b, size_t rank,
    size_t num_out, size_t first, size_t last, int is_half) {
    size_t t = 0;
    for (; t + 4 <= num_tokens; t += 4) {
        const float *c = coefficients + t * c_stride;
        size_t r = 0;
        for (; r + 4 <= rank; r += 4) add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, 4, 4, is_half);
        for (; r < rank; r++) add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, 1, 4, is_half);
    }
    for (; t < num_tokens; t++) {
        const float *c = coefficients + t * c_stride;
        size_t r = 0;
        for (; r + 4 <= rank; r += 4) add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, 4, 1, is_half);
        for (; r < rank; r++) add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, 1, 1, is_half);
    }
}

void add_rows(
    float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride, AdapterRows b, size_t rank,
    size_t num_out, size_t first, size_t last) {
    if (b.is_half)
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 1);
    else
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 0);
}

/* Attention */

void prepare_head(float *head, size_t dim, const float *weight, float epsilon, const float *cos, const float *sin) {
    if (weight) {
        float sum = 0;
#pragma omp simd reduction(+ : sum)
        for (size_t i = 0; i < dim; i++) sum += head[i] * head[i];
        float factor = 1.0f / sqrtf(sum / (float)dim + epsilon);
        for (size_t i = 0; i < dim; i++) head[i] *= factor * weight[i];
    }
    size_t half = dim / 2;
    for (size_t i = 0; i < half; i++) {
        float a = head[i], b = head[half + i];
        head[i] = a * cos[i] - b * sin[i];
        head[half + i] = b * cos[i] + a * sin[i];
    }
}

void store_half(uint16_t *out, const float *x, size_t count) {
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(count - i);
        __m256i halves = _mm512_cvtps_ph(_mm512_maskz_loadu_ps(mask, x + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
        _mm256_mask_storeu_epi16(out + i, mask, halves);
    }
}

/* e^x for x <= 0: 2^n times a polynomial of the rest, relative error below 3e-7. */
static inline __m512 exponential(__m512 x) {
    x = _mm512_max_ps(x, _mm512_set1_ps(-87.0f));
    __m512 n = _mm512_roundscale_ps(_mm512_mul_ps(x, _mm512_set1_ps(1.44269504f)), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
    __m512 r = _mm512_fnmadd_ps(n, _mm512_set1_ps(0.693359375f), x);
    r = _mm512_fnmadd_ps(n, _mm512_set1_ps(-2.12194440e-4f), r);
    __m512 p = _mm512_set1_ps(1.9875691500e-4f);
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.3981999507e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(8.3334519073e-3f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(4.1665795894e-2f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.6666665459e-1f));
    p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(5.0000001201e-1f));
    p = _mm512_add_ps(_mm512_fmadd_ps(_mm512_mul_ps(p, r), r, r), _mm512_set1_ps(1.0f));
    return _mm512_scalef_ps(p, n);
}

static void softmax(float *row, size_t count) {
    __m512 largest = _mm512_set1_ps(-INFINITY);
    for (size_t i = 0; i < count; i += LANES)
        largest = _mm512_mask_max_ps(largest, first_lanes(count - i), largest, _mm512_maskz_loadu_ps(first_lanes(count - i), row + i));
    __m512 shift = _mm512_set1_ps(_mm512_reduce_max_ps(largest)), sum = _mm512_setzero_ps();
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(count - i);
        __m512 powers = exponential(_mm512_sub_ps(_mm512_maskz_loadu_ps(mask, row + i), shift));
        _mm512_mask_storeu_ps(row + i, mask, powers);
        sum = _mm512_mask_add_ps(sum, mask, sum, powers);
    }
    __m512 inverse = _mm512_set1_ps(1.0f / _mm512_reduce_add_ps(sum));
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(count - i);
        _mm512_mask_storeu_ps(row + i, mask, _mm512_mul_ps(inverse, _mm512_maskz_loadu_ps(mask, row + i)));
    }
}

static inline __attribute__((always_inline)) void attend_tile(
    const float *const *queries, float *const *outputs, const size_t *lengths, int count, const uint16_t *keys,
    const uint16_t *values, size_t dim, float scale, float *scores, size_t longest, int width) {
    const int positions = LANES / count;
    for (size_t p = 0; p < longest; p += positions) {
        __m512 sums[LANES];
        float totals[LANES];
        size_t left = longest - p;
#pragma GCC unroll 16
        for (int i = 0; i < LANES; i++) sums[i] = _mm512_setzero_ps();
        for (size_t d = 0; d < dim; d += LANES) {
            __mmask16 mask = first_lanes(dim - d);
            __m512 query[MAX_QUERIES];
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) query[q] = _mm512_maskz_loadu_ps(mask, queries[q] + d);
#pragma GCC unroll 16
            for (int i = 0; i < positions; i++) {
                const uint16_t *place = keys + (p + smaller(i, left - 1)) * dim + d; /* behind the end, the last again */
                if (d % (2 * LANES) == 0) _mm_prefetch((const char *)place + AHEAD, _MM_HINT_NTA);
                __m512 key = load_half(place, mask);
#pragma GCC unroll 8
                for (int q = 0; q < count; q++) sums[i * count + q] = _mm512_fmadd_ps(key, query[q], sums[i * count + q]);
            }
        }
        _mm512_storeu_ps(totals, sum_each(sums));
        for (size_t i = 0; i < smaller(positions, left); i++)
            for (int q = 0; q < count; q++) scores[q * longest + p + i] = scale * totals[i * count + q];
    }
    for (int q = 0; q < count; q++) {
        softmax(scores + q * longest, lengths[q]);
        memset(scores + q * longest + lengths[q], 0, (longest - lengths[q]) * sizeof(float));
    }
    for (size_t d = 0; d < dim; d += (size_t)width * LANES) {
        __m512 sums[MAX_QUERIES][8];
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) sums[q][w] = _mm512_setzero_ps();
        for (size_t p = 0; p < longest; p++) {
            __m512 value[8];
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) {
                size_t from = d + (size_t)w * LANES;
                if (width == 8 && w % 2 == 0) _mm_prefetch((const char *)(values + p * dim + from) + AHEAD, _MM_HINT_NTA);
                value[w] = load_half(values + p * dim + from, from < dim ? first_lanes(dim - from) : 0);
            }
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) {
                __m512 weight = _mm512_set1_ps(scores[q * longest + p]);
#pragma GCC unroll 8
                for (int w = 0; w < width; w++) sums[q][w] = _mm512_fmadd_ps(value[w], weight, sums[q][w]);
            }
        }
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) {
                size_t from = d + (size_t)w * LANES;
                if (from < dim) _mm512_mask_storeu_ps(outputs[q] + from, first_lanes(dim - from), sums[q][w]);
            }
    }
}

void attend(
    const float *const *queries, float *const *outputs, const size_t *lengths, size_t num_queries, const uint16_t *keys,
    const uint16_t *values, size_t dim, float scale, float *scores, size_t longest) {
    size_t q = 0;
    for (; q + 8 <= num_queries; q += 8)
        attend_tile(queries + q, outputs + q, lengths + q, 8, keys, values, dim, scale, scores, longest, 2);
    for (; q + 2 <= num_queries; q += 2)
        attend_tile(queries + q, outputs + q, lengths + q, 2, keys, values, dim, scale, scores, longest, 8);
    for (; q < num_queries; q++)
        attend_tile(queries + q, outputs + q, lengths + q, 1, keys, values, dim, scale, scores, longest, 8);
}

void swiglu(const float *gate, const float *up, float *out, size_t count) {
    const __m512 one = _mm512_set1_ps(1.0f);
    for (size_t i = 0; i < count; i += LANES) {
        __mmask16 mask = first_lanes(count - i);
        __m512 g = _mm512_maskz_loadu_ps(mask, gate + i);
        /* 1 / (1 + e^-g), with e^ of a number that is never positive */
        __m512 power = exponential(_mm512_sub_ps(_mm512_setzero_ps(), _mm512_abs_ps(g)));
        __mmask16 negative = _mm512_cmp_ps_mask(g, _mm512_setzero_ps(), _CMP_LT_OQ);
        __m512 sigmoid = _mm512_div_ps(_mm512_mask_mov_ps(one, negative, power), _mm512_add_ps(one, power));
        _mm512_mask_storeu_ps(out + i, mask, _mm512_mul_ps(_mm512_mul_ps(g, sigmoid), _mm512_maskz_loadu_ps(mask, up + i)));
    }
}
