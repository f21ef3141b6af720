/* Arithmetic on rows of numbers, without threads and without ONNX Runtime: one table of functions for each family of
 * processors.
 *
 * A family is a translation unit with flags of its own (`kernels/<family>.c`). It defines what a vector is and includes
 * `floats.h` and `product.h`, which are written once over such vectors.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* A matrix quantised in blocks along its inputs: MatMulNBits' own layout, (num_out, blocks, block bytes).
 * A weight is scale * (q - 8), or scale * (q - 128) in 8 bits, and its block's minimum more, where there are minima. */
typedef struct {
    const uint8_t *packed;
    const void *scales, *minima; /* (num_out, blocks) float32, or float16 if `is_half`; minima may be NULL */
    size_t num_in, num_out, block;
    int bits; /* 4 or 8 */
    int is_half;
} QuantisedMatrix;

enum { MAX_HALF_BLOCKS = 1024 /* of a row whose scales are float16 */ };

/* Numbers of an adapter: float32, or float16 if `is_half`. */
typedef struct {
    const void *data;
    int is_half;
} AdapterRows;

enum { MAX_QUERIES = 8 };

/* A query as rotated, and as it is rotated for the sinks; it looks at the sinks and at rows first .. last. */
typedef struct {
    const float *query, *for_sinks;
    float *output;
    size_t first, last;
} Query;

/* One head's cache. A row is in float16, or whole numbers in 8 bits, of values also in 4, with a scale for each row in
 * float16. */
typedef struct {
    const void *keys, *values;
    const uint16_t *key_scales, *value_scales; /* not read if rows are in float16 */
    size_t dim;
    int key_bits, value_bits; /* 16 and 16, 8 and 8, or 8 and 4 */
    float scale;
    /* Rows 0 .. sinks, and none before `first` otherwise; no query's first is before it, which is >= sinks. */
    size_t sinks, first;
    float *scores;  /* MAX_QUERIES * longest */
    size_t longest; /* sinks, and the largest of the queries' last, less first */
} Attention;

/* Bytes of a row of a cache. In 4 bits, bytes of 16 hold 32 numbers. */
static inline size_t cached_bytes(size_t dim, int bits) {
    return bits == 4 ? (dim + 31) / 32 * 16 : dim * (size_t)bits / 8;
}

typedef struct {
    const char *name;

    /* Bytes of a row of activations as `quantise_row` writes it for a matrix of such blocks: 8 bits each, with a scale
     * for those that share a lane of a product, 4 to 16 of them, so that a large one spoils few others. */
    size_t (*row_bytes)(size_t num_in, size_t block, int bits);
    void (*quantise_row)(const float *x, size_t num_in, size_t block, int bits, void *out);

    /* out[t * stride + n] = row n of the matrix · activations t, for n in first..last and all t. */
    void (*quantised_product)(const QuantisedMatrix *matrix, const void *activations, size_t num_tokens, size_t first,
        size_t last, float *out, size_t stride);

    /* out[t * out_stride + r] = x[t] · a[r] for r in first..last; a is (rank, num_in). */
    void (*rows_product)(
        const float *x, size_t num_tokens, size_t num_in, AdapterRows a, size_t first, size_t last, float *out,
        size_t out_stride);

    /* y[t * y_stride + n] += sum over r of coefficients[t * c_stride + r] * b[r, n], for n in first..last; b is (rank,
     * num_out). */
    void (*add_rows)(float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride,
        AdapterRows b, size_t rank, size_t num_out, size_t first, size_t last);

    /* Normalise a head to unit root mean square (if `weight`), rotate its halves by position, in place. */
    void (*prepare_head)(
        float *head, size_t dim, const float *weight, float epsilon, const float *cos, const float *sin);

    void (*store_half)(uint16_t *out, const float *x, size_t count);

    /* The same in 8 or 4 bits, with a scale; what is not finite makes the scale NaN. */
    void (*store_whole)(void *out, uint16_t *scale, const float *x, size_t count, int bits);

    /* Attention of up to MAX_QUERIES query rows over one head's cache. */
    void (*attend)(const Attention *attention, const Query *queries, size_t num_queries);

    /* out[i] = silu(gate[i]) * up[i] */
    void (*swiglu)(const float *gate, const float *up, float *out, size_t count);
} Kernels;

/* The family in use: the best that this processor has, unless `use_kernels` chose another. */
const Kernels *kernels(void);

/* Use the family of this name; 0 if it was not compiled or the processor lacks what it needs. */
int use_kernels(const char *name);
