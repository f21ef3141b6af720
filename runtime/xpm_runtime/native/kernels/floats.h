/* Adapters, attention and SwiGLU over float vectors; included by each family after it has defined
 *   VF (lanes), SUMS (accumulators of a tile of scores: 8 or 16), WIDE and NARROW (vectors of values at a time, for
 *   a query or two and for MAX_QUERIES), RANKS (ranks of an adapter at a time), INLINE, PREFETCH
 *   vf (VF floats), and vf_zero, vf_set, vf_add, vf_sub, vf_mul, vf_div, vf_max, vf_min, vf_fma (a b + c),
 *   vf_fnma (c - a b)
 *   vf_load, vf_store; vf_load_upto, vf_store_upto (only `left` lanes, if fewer than VF; the rest is 0)
 *   vf_half_upto, vf_to_half_upto (the same from and to float16), vf_bytes_upto (from int8), vf_nibbles (from VF bytes
 *   of two numbers of 4 bits each, the low ones or the high ones), vf_first (as it is, but 0 from lane `left` on)
 *   vf_where_negative (x, then, otherwise)
 *   vf_round (to whole numbers), vf_scale (x 2^n, n from -126 to 0), vf_sum, vf_largest_upto (of `left` lanes)
 *   vf_sum_each (the sums of VF vectors, one per lane)
 */
#include <math.h>
#include <string.h>

enum { AHEAD = 4096 /* bytes: one page ahead reads fastest */ };

static size_t smaller(size_t a, size_t b) { return a < b ? a : b; }

/* Adapters */

INLINE vf load_adapter(const void *data, size_t index, size_t left, int is_half) {
    return is_half ? vf_half_upto((const uint16_t *)data + index, left)
                   : vf_load_upto((const float *)data + index, left);
}

INLINE void rows_tile(const float *x, size_t num_in, const void *a, size_t rank, float *out, size_t out_stride,
    int ranks, int tokens, int is_half) {
    vf sums[4][4];
#pragma GCC unroll 8
    for (int r = 0; r < ranks; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) sums[t][r] = vf_zero();
    for (size_t k = 0; k < num_in; k += VF) {
        size_t left = num_in - k;
        vf inputs[4];
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) inputs[t] = vf_load_upto(x + t * num_in + k, left);
#pragma GCC unroll 8
        for (int r = 0; r < ranks; r++) {
            if (tokens == 1) PREFETCH((const char *)a + ((rank + r) * num_in + k) * (is_half ? 2 : 4) + AHEAD);
            vf row = load_adapter(a, (rank + r) * num_in + k, left, is_half);
#pragma GCC unroll 8
            for (int t = 0; t < tokens; t++) sums[t][r] = vf_fma(row, inputs[t], sums[t][r]);
        }
    }
#pragma GCC unroll 8
    for (int r = 0; r < ranks; r++)
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) out[t * out_stride + rank + r] = vf_sum(sums[t][r]);
}

INLINE void rows_of_type(const float *x, size_t num_tokens, size_t num_in, const void *a, size_t first, size_t last,
    float *out, size_t out_stride, int is_half) {
    size_t t = 0;
    for (; t + 4 <= num_tokens; t += 4) {
        size_t r = first;
        for (; r + RANKS <= last; r += RANKS)
            rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, RANKS, 4, is_half);
        for (; r < last; r++) rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, 1, 4, is_half);
    }
    for (; t < num_tokens; t++)
        for (size_t r = first; r < last; r++)
            rows_tile(x + t * num_in, num_in, a, r, out + t * out_stride, out_stride, 1, 1, is_half);
}

static void rows_product(const float *x, size_t num_tokens, size_t num_in, AdapterRows a, size_t first, size_t last,
    float *out, size_t out_stride) {
    if (a.is_half)
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 1);
    else
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 0);
}

INLINE void add_tile(float *y, size_t y_stride, const float *coefficients, size_t c_stride, const void *b,
    size_t num_out, size_t n, size_t last, size_t rank, int ranks, int tokens, int is_half) {
    for (; n < last; n += VF) {
        size_t left = last - n;
        vf rows[4];
#pragma GCC unroll 8
        for (int r = 0; r < ranks; r++) {
            size_t place = (rank + r) * num_out + n;
            if (tokens == 1) PREFETCH((const char *)b + (place + ranks * num_out) * (is_half ? 2 : 4));
            rows[r] = load_adapter(b, place, left, is_half);
        }
#pragma GCC unroll 8
        for (int t = 0; t < tokens; t++) {
            float *place = y + t * y_stride + n;
            vf sum = vf_load_upto(place, left);
#pragma GCC unroll 8
            for (int r = 0; r < ranks; r++) sum = vf_fma(rows[r], vf_set(coefficients[t * c_stride + rank + r]), sum);
            vf_store_upto(place, sum, left);
        }
    }
}

INLINE void add_of_type(float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride,
    const void *b, size_t rank, size_t num_out, size_t first, size_t last, int is_half) {
#define TILE(ranks, tokens) \
    add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, ranks, tokens, is_half)
    size_t t = 0;
    for (; t + 4 <= num_tokens; t += 4) {
        const float *c = coefficients + t * c_stride;
        size_t r = 0;
        for (; r + 4 <= rank; r += 4) TILE(4, 4);
        for (; r < rank; r++) TILE(1, 4);
    }
    for (; t < num_tokens; t++) {
        const float *c = coefficients + t * c_stride;
        size_t r = 0;
        for (; r + 4 <= rank; r += 4) TILE(4, 1);
        for (; r < rank; r++) TILE(1, 1);
    }
#undef TILE
}

static void add_rows(float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride,
    AdapterRows b, size_t rank, size_t num_out, size_t first, size_t last) {
    if (b.is_half)
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 1);
    else
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 0);
}

/* Attention */

static void prepare_head(
    float *head, size_t dim, const float *weight, float epsilon, const float *cos, const float *sin) {
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

static void store_half(uint16_t *out, const float *x, size_t count) {
    for (size_t i = 0; i < count; i += VF) vf_to_half_upto(out + i, vf_load_upto(x + i, count - i), count - i);
}

/* e^x for x <= 0: 2^n times a polynomial of the rest, relative error below 3e-7. */
static inline vf exponential(vf x) {
    x = vf_max(x, vf_set(-87.0f));
    vf n = vf_round(vf_mul(x, vf_set(1.44269504f)));
    vf r = vf_fnma(n, vf_set(0.693359375f), x);
    r = vf_fnma(n, vf_set(-2.12194440e-4f), r);
    vf p = vf_set(1.9875691500e-4f);
    p = vf_fma(p, r, vf_set(1.3981999507e-3f));
    p = vf_fma(p, r, vf_set(8.3334519073e-3f));
    p = vf_fma(p, r, vf_set(4.1665795894e-2f));
    p = vf_fma(p, r, vf_set(1.6666665459e-1f));
    p = vf_fma(p, r, vf_set(5.0000001201e-1f));
    p = vf_add(vf_fma(vf_mul(p, r), r, r), vf_set(1.0f));
    return vf_scale(p, n);
}

static void softmax(float *row, size_t count) {
    float largest = -INFINITY;
    for (size_t i = 0; i < count; i += VF) {
        float of_part = vf_largest_upto(vf_load_upto(row + i, count - i), count - i);
        if (!(of_part <= largest)) largest = of_part;
    }
    vf shift = vf_set(largest), sum = vf_zero();
    for (size_t i = 0; i < count; i += VF) {
        vf powers = exponential(vf_sub(vf_load_upto(row + i, count - i), shift));
        vf_store_upto(row + i, powers, count - i);
        sum = vf_add(sum, vf_load_upto(row + i, count - i));
    }
    vf inverse = vf_set(1.0f / vf_sum(sum));
    for (size_t i = 0; i < count; i += VF)
        vf_store_upto(row + i, vf_mul(inverse, vf_load_upto(row + i, count - i)), count - i);
}

/* Numbers of a row of a cache from place `d` on, a multiple of VF; in 4 bits a byte holds two that are 16 places
 * apart. */
INLINE vf load_cached(const char *row, size_t d, size_t left, int bits) {
    if (bits == 16) return vf_half_upto((const uint16_t *)row + d, left);
    if (bits == 8) return vf_bytes_upto((const int8_t *)row + d, left);
    return vf_nibbles((const uint8_t *)row + d / 32 * 16 + d % 16, d % 32 / 16);
}

/* scores[i, p] = scale * query i · row p, for `num` rows. */
INLINE void score_rows(const float *const *queries, int count, const char *rows, size_t num, size_t dim, float scale,
    float *scores, size_t longest, int bits) {
    const int positions = SUMS / count;
    const size_t row_bytes = cached_bytes(dim, bits);
    for (size_t p = 0; p < num; p += positions) {
        vf sums[SUMS];
        float totals[SUMS];
        size_t left = num - p;
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) sums[i] = vf_zero();
        for (size_t d = 0; d < dim; d += VF) {
            vf query[MAX_QUERIES];
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) query[q] = vf_load_upto(queries[q] + d, dim - d);
#pragma GCC unroll 16
            for (int i = 0; i < positions; i++) {
                const char *row = rows + (p + smaller(i, left - 1)) * row_bytes; /* behind the end, the last again */
                if (d % (512 / bits) == 0) PREFETCH(row + d * bits / 8 + AHEAD);
                vf key = load_cached(row, d, dim - d, bits);
#pragma GCC unroll 8
                for (int q = 0; q < count; q++) sums[i * count + q] = vf_fma(key, query[q], sums[i * count + q]);
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i += VF) vf_store(totals + i, vf_sum_each(sums + i));
        for (size_t i = 0; i < smaller(positions, left); i++)
            for (int q = 0; q < count; q++) scores[q * longest + p + i] = scale * totals[i * count + q];
    }
}

/* Sums of rows, each by its weight, added to. */
INLINE void add_values(vf (*sums)[WIDE], int count, int width, const char *rows, size_t num, size_t d, size_t dim,
    const float *weights, size_t longest, int bits) {
    const size_t row_bytes = cached_bytes(dim, bits);
    for (size_t p = 0; p < num; p++) {
        const char *row = rows + p * row_bytes;
        vf value[WIDE];
#pragma GCC unroll 8
        for (int w = 0; w < width; w++) {
            size_t from = d + (size_t)w * VF;
            if (width == WIDE && w * VF % (512 / bits) == 0) PREFETCH(row + from * bits / 8 + AHEAD);
            value[w] = from < dim ? load_cached(row, from, dim - from, bits) : vf_zero();
        }
#pragma GCC unroll 8
        for (int q = 0; q < count; q++) {
            vf weight = vf_set(weights[q * longest + p]);
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) sums[q][w] = vf_fma(value[w], weight, sums[q][w]);
        }
    }
}

static void multiply_halves(float *x, const uint16_t *by, size_t count) {
    for (size_t i = 0; i < count; i += VF)
        vf_store_upto(x + i, vf_mul(vf_load_upto(x + i, count - i), vf_half_upto(by + i, count - i)), count - i);
}

/* Two runs of rows: the sinks, and those from `first` on; in `scores` they follow one another. */
INLINE void attend_tile(const Attention *a, const Query *queries, int count, int width, int key_bits, int value_bits) {
    const size_t sinks = a->sinks, rest = a->longest - sinks;
    const char *keys = a->keys, *values = a->values;
    const char *near_keys = keys + a->first * cached_bytes(a->dim, key_bits);
    const char *near_values = values + a->first * cached_bytes(a->dim, value_bits);
    float *scores = a->scores;
    const float *rotated[MAX_QUERIES], *for_sinks[MAX_QUERIES];
    for (int q = 0; q < count; q++) rotated[q] = queries[q].query, for_sinks[q] = queries[q].for_sinks;
    if (sinks) score_rows(for_sinks, count, keys, sinks, a->dim, a->scale, scores, a->longest, key_bits);
    score_rows(rotated, count, near_keys, rest, a->dim, a->scale, scores + sinks, a->longest, key_bits);
    for (int q = 0; q < count; q++) {
        float *row = scores + q * a->longest;
        size_t hidden = queries[q].first - a->first, length = sinks + queries[q].last - a->first;
        if (key_bits != 16)
            multiply_halves(row, a->key_scales, sinks), multiply_halves(row + sinks, a->key_scales + a->first, rest);
        for (size_t i = 0; i < hidden; i++) row[sinks + i] = -INFINITY;
        softmax(row, length);
        memset(row + sinks, 0, hidden * sizeof(float));
        memset(row + length, 0, (a->longest - length) * sizeof(float));
        if (value_bits != 16)
            multiply_halves(row, a->value_scales, sinks),
                multiply_halves(row + sinks, a->value_scales + a->first, rest);
    }
    for (size_t d = 0; d < a->dim; d += (size_t)width * VF) {
        vf sums[MAX_QUERIES][WIDE];
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) sums[q][w] = vf_zero();
        if (sinks) add_values(sums, count, width, values, sinks, d, a->dim, scores, a->longest, value_bits);
        add_values(sums, count, width, near_values, rest, d, a->dim, scores + sinks, a->longest, value_bits);
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) {
                size_t from = d + (size_t)w * VF;
                if (from < a->dim) vf_store_upto(queries[q].output + from, sums[q][w], a->dim - from);
            }
    }
}

INLINE void attend_in(const Attention *a, const Query *queries, size_t num_queries, int key_bits, int value_bits) {
    size_t q = 0;
    for (; q + 8 <= num_queries; q += 8) attend_tile(a, queries + q, 8, NARROW, key_bits, value_bits);
    for (; q + 2 <= num_queries; q += 2) attend_tile(a, queries + q, 2, WIDE, key_bits, value_bits);
    for (; q < num_queries; q++) attend_tile(a, queries + q, 1, WIDE, key_bits, value_bits);
}

static void attend(const Attention *a, const Query *queries, size_t num_queries) {
    if (a->key_bits == 16)
        attend_in(a, queries, num_queries, 16, 16);
    else if (a->value_bits == 8)
        attend_in(a, queries, num_queries, 8, 8);
    else
        attend_in(a, queries, num_queries, 8, 4);
}

/* Rounded to whole numbers of 8 or 4 bits under one scale; what is not finite makes the scale so. */
static void store_whole(void *out, uint16_t *scale, const float *x, size_t count, int bits) {
    const int most = bits == 8 ? 127 : 7;
    float largest = 0, spoilt = 0;
    for (size_t i = 0; i < count; i++) {
        float size = fabsf(x[i]);
        largest = size > largest ? size : largest;
        spoilt += 0 * x[i];
    }
    float exact[16] = {largest / (float)most + spoilt}, rounded[16];
    vf_to_half_upto(scale, vf_load_upto(exact, 1), 1);
    vf_store_upto(rounded, vf_half_upto(scale, 1), 1);
    float inverse = rounded[0] > 0 && rounded[0] < INFINITY ? 1 / rounded[0] : 0;
    int8_t *bytes = out;
    if (bits == 4) memset(out, 0, cached_bytes(count, 4));
    for (size_t i = 0; i < count; i++) {
        float whole = inverse > 0 ? rintf(x[i] * inverse) : 0;
        int8_t number = (int8_t)(whole > (float)most ? most : whole < (float)-most ? -most : (int)whole);
        if (bits == 8)
            bytes[i] = number;
        else
            bytes[i / 32 * 16 + i % 16] |= (int8_t)((number & 15) << (i % 32 / 16 * 4));
    }
}

static void swiglu(const float *gate, const float *up, float *out, size_t count) {
    const vf one = vf_set(1.0f);
    for (size_t i = 0; i < count; i += VF) {
        vf g = vf_load_upto(gate + i, count - i);
        /* 1 / (1 + e^-g), with e^ of a number that is never positive */
        vf power = exponential(vf_min(g, vf_sub(vf_zero(), g)));
        vf sigmoid = vf_div(vf_where_negative(g, power, one), vf_add(one, power));
        vf_store_upto(out + i, vf_mul(vf_mul(g, sigmoid), vf_load_upto(up + i, count - i)), count - i);
    }
}
