/* Adapters, attention and SwiGLU over float vectors; included by each family after it has defined
 *   VF (lanes), SUMS (accumulators of a tile of scores: 8 or 16), WIDE and NARROW (vectors of values at a time, for a query or
 *   two and for MAX_QUERIES), RANKS (ranks of an adapter at a time), INLINE, PREFETCH
 *   vf (VF floats), and vf_zero, vf_set, vf_add, vf_sub, vf_mul, vf_div, vf_max, vf_min, vf_fma (a b + c), vf_fnma (c - a b)
 *   vf_load, vf_store; vf_load_upto, vf_store_upto (only `left` lanes, if fewer than VF; the rest is 0)
 *   vf_half_upto, vf_to_half_upto (the same from and to float16), vf_first (as it is, but 0 from lane `left` on)
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
    return is_half ? vf_half_upto((const uint16_t *)data + index, left) : vf_load_upto((const float *)data + index, left);
}

INLINE void rows_tile(
    const float *x, size_t num_in, const void *a, size_t rank, float *out, size_t out_stride, int ranks, int tokens, int is_half) {
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

INLINE void rows_of_type(
    const float *x, size_t num_tokens, size_t num_in, const void *a, size_t first, size_t last, float *out, size_t out_stride,
    int is_half) {
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

static void rows_product(
    const float *x, size_t num_tokens, size_t num_in, AdapterRows a, size_t first, size_t last, float *out, size_t out_stride) {
    if (a.is_half)
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 1);
    else
        rows_of_type(x, num_tokens, num_in, a.data, first, last, out, out_stride, 0);
}

INLINE void add_tile(
    float *y, size_t y_stride, const float *coefficients, size_t c_stride, const void *b, size_t num_out, size_t n, size_t last,
    size_t rank, int ranks, int tokens, int is_half) {
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

INLINE void add_of_type(
    float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride, const void *b, size_t rank,
    size_t num_out, size_t first, size_t last, int is_half) {
#define TILE(ranks, tokens) add_tile(y + t * y_stride, y_stride, c, c_stride, b, num_out, first, last, r, ranks, tokens, is_half)
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

static void add_rows(
    float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride, AdapterRows b, size_t rank,
    size_t num_out, size_t first, size_t last) {
    if (b.is_half)
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 1);
    else
        add_of_type(y, y_stride, num_tokens, coefficients, c_stride, b.data, rank, num_out, first, last, 0);
}

/* Attention */

static void prepare_head(float *head, size_t dim, const float *weight, float epsilon, const float *cos, const float *sin) {
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
    for (size_t i = 0; i < count; i += VF) vf_store_upto(row + i, vf_mul(inverse, vf_load_upto(row + i, count - i)), count - i);
}

INLINE void attend_tile(
    const float *const *queries, float *const *outputs, const size_t *lengths, int count, const uint16_t *keys,
    const uint16_t *values, size_t dim, float scale, float *scores, size_t longest, int width) {
    const int positions = SUMS / count;
    for (size_t p = 0; p < longest; p += positions) {
        vf sums[SUMS];
        float totals[SUMS];
        size_t left = longest - p;
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i++) sums[i] = vf_zero();
        for (size_t d = 0; d < dim; d += VF) {
            vf query[MAX_QUERIES];
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) query[q] = vf_load_upto(queries[q] + d, dim - d);
#pragma GCC unroll 16
            for (int i = 0; i < positions; i++) {
                const uint16_t *place = keys + (p + smaller(i, left - 1)) * dim + d; /* behind the end, the last again */
                if (d % 32 == 0) PREFETCH((const char *)place + AHEAD);
                vf key = vf_half_upto(place, dim - d);
#pragma GCC unroll 8
                for (int q = 0; q < count; q++) sums[i * count + q] = vf_fma(key, query[q], sums[i * count + q]);
            }
        }
#pragma GCC unroll 16
        for (int i = 0; i < SUMS; i += VF) vf_store(totals + i, vf_sum_each(sums + i));
        for (size_t i = 0; i < smaller(positions, left); i++)
            for (int q = 0; q < count; q++) scores[q * longest + p + i] = scale * totals[i * count + q];
    }
    for (int q = 0; q < count; q++) {
        softmax(scores + q * longest, lengths[q]);
        memset(scores + q * longest + lengths[q], 0, (longest - lengths[q]) * sizeof(float));
    }
    for (size_t d = 0; d < dim; d += (size_t)width * VF) {
        vf sums[MAX_QUERIES][WIDE];
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) sums[q][w] = vf_zero();
        for (size_t p = 0; p < longest; p++) {
            vf value[WIDE];
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) {
                size_t from = d + (size_t)w * VF;
                if (width == WIDE && w * VF % 32 == 0) PREFETCH((const char *)(values + p * dim + from) + AHEAD);
                value[w] = from < dim ? vf_half_upto(values + p * dim + from, dim - from) : vf_zero();
            }
#pragma GCC unroll 8
            for (int q = 0; q < count; q++) {
                vf weight = vf_set(scores[q * longest + p]);
#pragma GCC unroll 8
                for (int w = 0; w < width; w++) sums[q][w] = vf_fma(value[w], weight, sums[q][w]);
            }
        }
#pragma GCC unroll 8
        for (int q = 0; q < count; q++)
#pragma GCC unroll 8
            for (int w = 0; w < width; w++) {
                size_t from = d + (size_t)w * VF;
                if (from < dim) vf_store_upto(outputs[q] + from, sums[q][w], dim - from);
            }
    }
}

static void attend(
    const float *const *queries, float *const *outputs, const size_t *lengths, size_t num_queries, const uint16_t *keys,
    const uint16_t *values, size_t dim, float scale, float *scores, size_t longest) {
    size_t q = 0;
#define TILE(count, width) \
    attend_tile(queries + q, outputs + q, lengths + q, count, keys, values, dim, scale, scores, longest, width)
    for (; q + 8 <= num_queries; q += 8) TILE(8, NARROW);
    for (; q + 2 <= num_queries; q += 2) TILE(2, WIDE);
    for (; q < num_queries; q++) TILE(1, WIDE);
#undef TILE
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
