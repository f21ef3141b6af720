/* Products with quantised weights; included by each family, after `floats.h`, when it has also defined
 *   ROW_TILE (rows of weights that are multiplied at once where there are several tokens)
 *   vb (4 * VF bytes), vb_load and vb_load_upto; vi (VF 32-bit integers), vi_load, vi_zero
 *   unpack(weights, bits, &low, &high): bytes to multiply with the even and the odd activations; 8 bits: only `low`
 *   sums_of_four(zero, low, high, even, odd, bits): zero + the products, per lane, as vf
 *   chunk_scales(scales, count): the `count` (1, 2 or 4) scales of a chunk's blocks, one per lane
 *   quantise_chunk(x, bits, out)
 *   ZERO_POINT(bits): what a stored weight is less before it is multiplied
 */
enum { CHUNK = 4 * VF, TOKEN_TILE = 4 };

/* Activations that match CHUNK bytes of packed weights (twice as many weights of 4 bits, or as many of 8). */
typedef struct {
    int8_t values[2][CHUNK]; /* 4 bits: even and odd activations; 8 bits: only [0] */
    int32_t zero[VF];        /* what the weights' zero point adds to each lane, negated: where the sum begins */
    float scale[VF];         /* the activations' scale of each lane */
    float sum[VF];           /* the sum of each lane's activations */
} Chunk;

INLINE void quantise_chunk(const float *x, int bits, Chunk *out);

INLINE size_t per_chunk(int bits) { return bits == 4 ? 2 * CHUNK : CHUNK; }

static size_t num_chunks(size_t num_in, int bits) { return (num_in + per_chunk(bits) - 1) / per_chunk(bits); }

static size_t row_bytes(size_t num_in, int bits) { return num_chunks(num_in, bits) * sizeof(Chunk); }


static void quantise_row(const float *x, size_t num_in, int bits, void *into) {
    size_t start = 0;
    Chunk *out = into;
    for (; start + per_chunk(bits) <= num_in; start += per_chunk(bits))
        bits == 4 ? quantise_chunk(x + start, 4, out++) : quantise_chunk(x + start, 8, out++);
    if (start == num_in) return;
    float rest[2 * CHUNK] = {0};
    memcpy(rest, x + start, (num_in - start) * sizeof(float));
    bits == 4 ? quantise_chunk(rest, 4, out) : quantise_chunk(rest, 8, out);
}

/* What a tile computes with; constants once inlined, so that its sums stay in registers.
 * `is_first`: the weights come from memory, so they are fetched ahead. */
typedef struct {
    int rows, tokens, bits, scales_per_chunk, has_minima, is_first;
} Tile;

/* Add one chunk of rows of weights times the same chunk of rows of activations. */
INLINE void add_chunk(
    Tile tile, const vb *packed, const vf *scales, const vf *minima, const Chunk *x, size_t x_stride, vf sums[][ROW_TILE]) {
    vb low[ROW_TILE], high[ROW_TILE];
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++) unpack(packed[r], tile.bits, &low[r], &high[r]);
#pragma GCC unroll 4
    for (int t = 0; t < tile.tokens; t++, x += x_stride) {
        vi zero = tile.has_minima ? vi_zero() : vi_load(x->zero);
        vb even = vb_load(x->values[0]), odd = vb_load(x->values[1]);
        vf scale = vf_load(x->scale);
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            vf sum = sums_of_four(zero, low[r], high[r], even, odd, tile.bits);
            sums[t][r] = vf_fma(vf_mul(sum, scale), scales[r], sums[t][r]);
            if (tile.has_minima) sums[t][r] = vf_fma(vf_load(x->sum), minima[r], sums[t][r]);
        }
    }
}

INLINE vf last_scales(const float *scales, size_t left, int count) {
    float last[4] = {0};
    memcpy(last, scales, sizeof(float) * smaller((size_t)count, left));
    return chunk_scales(last, count);
}

INLINE void product_tile(
    Tile tile, const QuantisedMatrix *m, size_t row, const Chunk *activations, float *out, size_t stride) {
    size_t chunks = num_chunks(m->num_in, tile.bits), bytes = m->num_in * tile.bits / 8, full = bytes / CHUNK;
    size_t num_blocks = (m->num_in + m->block - 1) / m->block;
    int shift = tile.scales_per_chunk == 1 ? __builtin_ctzll(m->block) - __builtin_ctzll(per_chunk(tile.bits)) : 0;
    const uint8_t *packed = m->packed + row * bytes;
    const float *scales = m->scales + row * num_blocks, *minima = tile.has_minima ? m->minima + row * num_blocks : NULL;
    vf sums[TOKEN_TILE][ROW_TILE], chunk_scale[ROW_TILE], chunk_minimum[ROW_TILE];
    vb weights[ROW_TILE];
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++)
#pragma GCC unroll 4
        for (int t = 0; t < tile.tokens; t++) sums[t][r] = vf_zero();
    for (size_t chunk = 0; chunk < full; chunk++) {
        size_t first_scale = (chunk >> shift) * tile.scales_per_chunk;
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            const uint8_t *place = packed + r * bytes + CHUNK * chunk;
            if (tile.is_first) PREFETCH((const char *)place + AHEAD);
            weights[r] = vb_load(place);
            chunk_scale[r] = chunk_scales(scales + r * num_blocks + first_scale, tile.scales_per_chunk);
            if (tile.has_minima)
                chunk_minimum[r] = chunk_scales(minima + r * num_blocks + first_scale, tile.scales_per_chunk);
        }
        add_chunk(tile, weights, chunk_scale, chunk_minimum, activations + chunk, chunks, sums);
    }
    if (full < chunks) { /* the rows end within a chunk */
        size_t first_scale = (full >> shift) * tile.scales_per_chunk, left = num_blocks - first_scale;
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            size_t place = r * num_blocks + first_scale;
            weights[r] = vb_load_upto(packed + r * bytes + CHUNK * full, bytes - CHUNK * full);
            chunk_scale[r] = last_scales(scales + place, left, tile.scales_per_chunk);
            if (tile.has_minima) chunk_minimum[r] = last_scales(minima + place, left, tile.scales_per_chunk);
        }
        add_chunk(tile, weights, chunk_scale, chunk_minimum, activations + full, chunks, sums);
    }
    if (tile.rows == ROW_TILE && tile.tokens == TOKEN_TILE) {
        float totals[TOKEN_TILE * ROW_TILE];
        const vf *each = sums[0];
#pragma GCC unroll 4
        for (int i = 0; i < TOKEN_TILE * ROW_TILE; i += VF) vf_store(totals + i, vf_sum_each(each + i));
        for (int t = 0; t < TOKEN_TILE; t++)
            memcpy(out + t * stride + row, totals + t * ROW_TILE, ROW_TILE * sizeof(float));
        return;
    }
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++)
#pragma GCC unroll 4
        for (int t = 0; t < tile.tokens; t++) out[t * stride + row + r] = vf_sum(sums[t][r]);
}

/* Rows of weights are read in order: alone for one token, which is bound by memory, else a few at a time. */
INLINE void product_of(
    int bits, int scales_per_chunk, int has_minima, const QuantisedMatrix *m, const Chunk *activations, size_t num_tokens,
    size_t first, size_t last, float *out, size_t stride) {
    size_t chunks = num_chunks(m->num_in, bits), t = 0;
#define TILE(rows, tokens, is_first)                                                                                  \
    product_tile((Tile){rows, tokens, bits, scales_per_chunk, has_minima, is_first}, m, n, activations + t * chunks, \
        out + t * stride, stride)
    for (; t + TOKEN_TILE <= num_tokens; t += TOKEN_TILE) {
        size_t n = first;
        for (; n + ROW_TILE <= last; n += ROW_TILE) t == 0 ? TILE(ROW_TILE, TOKEN_TILE, 1) : TILE(ROW_TILE, TOKEN_TILE, 0);
        for (; n < last; n++) TILE(1, TOKEN_TILE, 0);
    }
    for (; t < num_tokens; t++)
        for (size_t n = first; n < last; n++) TILE(1, 1, 1);
#undef TILE
}

static void quantised_product(
    const QuantisedMatrix *m, const void *activations, size_t num_tokens, size_t first, size_t last, float *out, size_t stride) {
    size_t per = m->block >= per_chunk(m->bits) ? 1 : per_chunk(m->bits) / m->block;
#define PRODUCT(bits, per, minima) product_of(bits, per, minima, m, activations, num_tokens, first, last, out, stride)
    if (m->bits == 8)
        per == 1 ? PRODUCT(8, 1, 0) : PRODUCT(8, 2, 0);
    else if (m->minima)
        per == 1 ? PRODUCT(4, 1, 1) : per == 2 ? PRODUCT(4, 2, 1) : PRODUCT(4, 4, 1);
    else
        per == 1 ? PRODUCT(4, 1, 0) : per == 2 ? PRODUCT(4, 2, 0) : PRODUCT(4, 4, 0);
#undef PRODUCT
}

#define KERNELS(family)                                                                                                  \
    const Kernels family##_kernels = {#family, row_bytes, quantise_row, quantised_product, rows_product, add_rows,     \
                                      prepare_head, store_half, attend, swiglu};
