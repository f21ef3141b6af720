/* Arithmetic on rows of numbers, without threads and without ONNX Runtime. Needs AVX-512 (F, BW, DQ, VL, VNNI). */
#pragma once
#include <stddef.h>
#include <stdint.h>

/* A row of 8-bit activations, in chunks that match 64 bytes of packed weights (128 weights of 4 bits, or 64 of 8).
 * A 32-bit lane of a product sums 8 (or 4) neighbours: they share a scale, so that a large one spoils few others. */
typedef struct {
    int8_t values[2][64]; /* 4 bits: even and odd activations; 8 bits: only [0] */
    int32_t zero[16];     /* what the weights' zero point adds to each lane, negated: where the sum begins */
    float scale[16];      /* the activations' scale of each lane */
} Chunk;

/* A matrix quantised in blocks along its inputs: MatMulNBits' own layout, (num_out, blocks, block bytes). */
typedef struct {
    const uint8_t *packed;
    const float *scales; /* (num_out, blocks) */
    size_t num_in, num_out, block;
    int bits; /* 4 or 8 */
} QuantisedMatrix;

/* Numbers of an adapter: float32, or float16 if `is_half`. */
typedef struct {
    const void *data;
    int is_half;
} AdapterRows;

size_t num_chunks(size_t num_in, int bits);

/* Quantise a row of `num_in` numbers into `num_chunks` chunks. */
void quantise_row(const float *x, size_t num_in, int bits, Chunk *out);

/* out[t * stride + n] = row n of the matrix · activations t, for n in first..last and all t. */
void quantised_product(
    const QuantisedMatrix *matrix, const Chunk *activations, size_t num_tokens, size_t first, size_t last,
    float *out, size_t stride);

/* out[t * out_stride + r] = x[t] · a[r] for r in first..last; a is (rank, num_in). */
void rows_product(
    const float *x, size_t num_tokens, size_t num_in, AdapterRows a, size_t first, size_t last, float *out, size_t out_stride);

/* y[t * y_stride + n] += sum over r of coefficients[t * c_stride + r] * b[r, n], for n in first..last; b is (rank, num_out). */
void add_rows(
    float *y, size_t y_stride, size_t num_tokens, const float *coefficients, size_t c_stride, AdapterRows b, size_t rank,
    size_t num_out, size_t first, size_t last);

/* Normalise a head to unit root mean square (if `weight`), rotate its halves by position, in place. */
void prepare_head(float *head, size_t dim, const float *weight, float epsilon, const float *cos, const float *sin);

void store_half(uint16_t *out, const float *x, size_t count);

enum { MAX_QUERIES = 8 };

/* Attention of up to MAX_QUERIES query rows over one head's cache.
 * queries[i] looks at the first lengths[i] rows of keys and values, both (longest, dim) in float16; scores holds
 * MAX_QUERIES * longest floats. */
void attend(
    const float *const *queries, float *const *outputs, const size_t *lengths, size_t num_queries, const uint16_t *keys,
    const uint16_t *values, size_t dim, float scale, float *scores, size_t longest);

/* out[i] = silu(gate[i]) * up[i] */
void swiglu(const float *gate, const float *up, float *out, size_t count);
