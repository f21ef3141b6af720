/* Products with quantised weights; included by each family, after `floats.h`, when it has also defined
 *   ROW_TILE, TOKEN_TILE (rows of weights and of activations that are multiplied at once; their product is a
 *   multiple of VF)
 *   SHARED (1 or 2: neighbouring chunks of activations that may share their scales, and are then multiplied together)
 *   vb (4 * VF bytes), and vb_load, vb_load_upto
 *   unpack(weights, bits, &low, &high): bytes to multiply with the even and the odd activations; 8 bits: what it likes
 *   sums_of_four(low, high, chunks, bits, steps): per lane the products of `steps` chunks, as vf
 *   chunk_scales(scales, count): the `count` (1, 2 or 4) scales of a chunk's blocks, one per lane
 *   quantise_chunks(x, bits, is_shared, out): SHARED chunks; lane_sums(chunk, bits): what each lane's activations
 *   add up to, as vf
 *   ZERO_POINT(bits): what is still to be taken from weights as they are multiplied
 *
 * A zero point, or a minimum, is not taken from each weight but added at the end: it is the same for all of a block, so
 * that it needs only the sum of the block's activations.
 */
enum { CHUNK = 4 * VF, NEAR_TOKENS = 32 /* whose activations stay in a core's own memory */ };

/* Activations that match CHUNK bytes of packed weights (twice as many weights of 4 bits, or as many of 8). */
typedef struct {
    int8_t values[2][CHUNK]; /* 4 bits: even and odd activations; 8 bits: only [0] */
    float scale[VF];
} Chunk;

INLINE vf sums_of_four(const vb *low, const vb *high, const Chunk *x, int bits, int steps);
INLINE vf lane_sums(const Chunk *x, int bits);
INLINE void quantise_chunks(const float *x, int bits, int is_shared, Chunk *out);

INLINE size_t per_chunk(int bits) { return bits == 4 ? 2 * CHUNK : CHUNK; }

/* Whether chunks share scales: only where they lie in one block, and in 8 bits it would save too little. */
INLINE int shares(size_t block, int bits) { return SHARED == 2 && bits == 4 && block >= 2 * per_chunk(4); }

static size_t num_chunks(size_t num_in, int bits) {
    size_t at_once = SHARED * per_chunk(bits);
    return (num_in + at_once - 1) / at_once * SHARED;
}

/* A row of activations: its chunks, then the sum of each block's, as they are quantised, padded with zeros to
 * vectors. */
static size_t row_bytes(size_t num_in, size_t block, int bits) {
    size_t sums = (num_in + block - 1) / block;
    return num_chunks(num_in, bits) * sizeof(Chunk) + (sums + VF - 1) / VF * VF * sizeof(float);
}

INLINE const float *block_sums(const void *row, size_t num_in, int bits) {
    return (const float *)((const Chunk *)row + num_chunks(num_in, bits));
}

static void quantise_row(const float *x, size_t num_in, size_t block, int bits, void *out) {
    Chunk *chunks = out;
    size_t at_once = SHARED * per_chunk(bits), start = 0, number = 0;
    int is_shared = shares(block, bits);
#define QUANTISE(from) \
    bits == 4 ? quantise_chunks(from, 4, is_shared, chunks + number) : quantise_chunks(from, 8, 0, chunks + number)
    for (; start + at_once <= num_in; start += at_once, number += SHARED) QUANTISE(x + start);
    if (start < num_in) {
        float rest[SHARED * 2 * CHUNK] = {0};
        memcpy(rest, x + start, (num_in - start) * sizeof(float));
        QUANTISE(rest);
    }
#undef QUANTISE
    float *sums = (float *)(chunks + num_chunks(num_in, bits));
    memset(sums, 0, row_bytes(num_in, block, bits) - num_chunks(num_in, bits) * sizeof(Chunk));
    size_t per_lane = bits == 4 ? 8 : 4, lanes_per_block = block / per_lane, lanes = (num_in + per_lane - 1) / per_lane;
    for (size_t chunk = 0; chunk * VF < lanes; chunk++) {
        float of_lanes[VF];
        vf_store(of_lanes, lane_sums(chunks + chunk, bits));
        for (size_t lane = 0; lane < VF && chunk * VF + lane < lanes; lane++)
            sums[(chunk * VF + lane) / lanes_per_block] += of_lanes[lane];
    }
}

/* What a tile computes with; constants once inlined, so that its sums stay in registers.
 * `steps`: chunks at a time, with one scale; `is_first`: the weights come from memory, so they are fetched ahead. */
typedef struct {
    int rows, tokens, bits, steps, scales_per_chunk, is_first;
} Tile;

/* Add `steps` chunks of rows of weights times the same chunks of rows of activations. */
INLINE void add_chunks(
    Tile tile, vb packed[][SHARED], const vf *scales, const Chunk *x, size_t x_stride, vf sums[][ROW_TILE]) {
    vb low[ROW_TILE][SHARED], high[ROW_TILE][SHARED];
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++)
#pragma GCC unroll 2
        for (int s = 0; s < tile.steps; s++) unpack(packed[r][s], tile.bits, &low[r][s], &high[r][s]);
#pragma GCC unroll 8
    for (int t = 0; t < tile.tokens; t++, x = (const Chunk *)((const char *)x + x_stride)) {
        vf scale = vf_load(x->scale);
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            vf sum = sums_of_four(low[r], high[r], x, tile.bits, tile.steps);
            sums[t][r] = vf_fma(vf_mul(sum, scale), scales[r], sums[t][r]);
        }
    }
}

/* Scales or minima of a row, from block `b` on, and 0 behind its last. Where the matrix goes on a whole vector is
 * loaded, for a part of one takes longer than the rest of a short row. */
INLINE vf of_blocks(const QuantisedMatrix *m, const void *all, size_t row, size_t num_blocks, size_t b) {
    size_t first = row * num_blocks + b, left = num_blocks - b;
    if (!m->is_half) return vf_load_upto((const float *)all + first, left);
    const uint16_t *halves = (const uint16_t *)all + first;
    return m->num_out * num_blocks - first >= VF ? vf_first(vf_half_upto(halves, VF), left)
                                                 : vf_half_upto(halves, left);
}

/* The scales of a row as float32; `room` is for those that are not. */
INLINE const float *row_scales(const QuantisedMatrix *m, size_t row, size_t num_blocks, float *room) {
    if (!m->is_half) return (const float *)m->scales + row * num_blocks;
    for (size_t b = 0; b < num_blocks; b += VF) vf_store(room + b, of_blocks(m, m->scales, row, num_blocks, b));
    return room;
}

/* Begin the sums of a row, one for each token, with what each weight was not given: the sum over the blocks of
 * (minimum - zero point * scale) * the block's activations. */
INLINE void begin_sums(
    Tile tile, const QuantisedMatrix *m, size_t row, const float *scales, size_t num_blocks, const char *activations,
    size_t x_stride, vf *sums, size_t sums_stride) {
    vf zero_point = vf_set((float)ZERO_POINT(tile.bits));
#pragma GCC unroll 8
    for (int t = 0; t < tile.tokens; t++) sums[t * sums_stride] = vf_zero();
    if (!m->minima && ZERO_POINT(tile.bits) == 0) return;
    for (size_t b = 0; b < num_blocks; b += VF) {
        vf least = m->minima ? of_blocks(m, m->minima, row, num_blocks, b) : vf_zero();
        vf missing = vf_fnma(zero_point, vf_load_upto(scales + b, num_blocks - b), least);
#pragma GCC unroll 8
        for (int t = 0; t < tile.tokens; t++) {
            vf *sum = sums + t * sums_stride;
            *sum = vf_fma(missing, vf_load(block_sums(activations + t * x_stride, m->num_in, tile.bits) + b), *sum);
        }
    }
}

INLINE void product_tile(
    Tile tile, const QuantisedMatrix *m, size_t row, const char *activations, float *out, size_t stride) {
    size_t bytes = m->num_in * tile.bits / 8, full = bytes / CHUNK / tile.steps * tile.steps, chunk = 0;
    size_t num_blocks = (m->num_in + m->block - 1) / m->block, x_stride = row_bytes(m->num_in, m->block, tile.bits);
    int shift = tile.scales_per_chunk == 1 ? __builtin_ctzll(m->block) - __builtin_ctzll(per_chunk(tile.bits)) : 0;
    const uint8_t *packed = m->packed + row * bytes;
    float room[ROW_TILE][MAX_HALF_BLOCKS];
    const float *scales[ROW_TILE];
    vf sums[TOKEN_TILE][ROW_TILE], chunk_scale[ROW_TILE];
    vb weights[ROW_TILE][SHARED];
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++) scales[r] = row_scales(m, row + r, num_blocks, room[r]);
#pragma GCC unroll 4
    for (int r = 0; r < tile.rows; r++)
        begin_sums(tile, m, row + r, scales[r], num_blocks, activations, x_stride, sums[0] + r, ROW_TILE);
    for (; chunk < full; chunk += tile.steps) {
        size_t first_scale = (chunk >> shift) * tile.scales_per_chunk;
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            const uint8_t *place = packed + r * bytes + CHUNK * chunk;
            if (tile.is_first) PREFETCH((const char *)place + AHEAD);
#pragma GCC unroll 2
            for (int s = 0; s < tile.steps; s++) weights[r][s] = vb_load(place + CHUNK * s);
            chunk_scale[r] = chunk_scales(scales[r] + first_scale, tile.scales_per_chunk);
        }
        add_chunks(tile, weights, chunk_scale, (const Chunk *)activations + chunk, x_stride, sums);
    }
    Tile single = tile;
    single.steps = 1;
    for (; CHUNK * chunk < bytes; chunk++) { /* the rows end before, or within, a chunk */
        size_t first_scale = (chunk >> shift) * tile.scales_per_chunk, left = bytes - CHUNK * chunk;
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) {
            const uint8_t *place = packed + r * bytes + CHUNK * chunk;
            const float *of_chunk = scales[r] + first_scale;
            float last[4] = {0};
            if (left < CHUNK) {
                memcpy(
                    last, of_chunk, sizeof(float) * smaller((size_t)tile.scales_per_chunk, num_blocks - first_scale));
                of_chunk = last;
            }
            weights[r][0] = left < CHUNK ? vb_load_upto(place, left) : vb_load(place);
            chunk_scale[r] = chunk_scales(of_chunk, tile.scales_per_chunk);
        }
        add_chunks(single, weights, chunk_scale, (const Chunk *)activations + chunk, x_stride, sums);
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
#pragma GCC unroll 8
    for (int t = 0; t < tile.tokens; t++)
#pragma GCC unroll 4
        for (int r = 0; r < tile.rows; r++) out[t * stride + row + r] = vf_sum(sums[t][r]);
}

/* The products of a few tokens, fewer than fill a tile: one row of weights at a time, unpacked once for all of them. */
INLINE void product_rest(Tile tile, const QuantisedMatrix *m, const char *activations, size_t num_tokens, size_t first,
    size_t last, float *out, size_t stride) {
    size_t x_stride = row_bytes(m->num_in, m->block, tile.bits);
    tile.rows = 1;
    if (TOKEN_TILE > 4 && num_tokens >= 4) {
        tile.tokens = 4;
        for (size_t n = first; n < last; n++) product_tile(tile, m, n, activations, out, stride);
        num_tokens -= 4, activations += 4 * x_stride, out += 4 * stride;
    }
#define REST(count)                                                                               \
    case count:                                                                                   \
        tile.tokens = count;                                                                      \
        for (size_t n = first; n < last; n++) product_tile(tile, m, n, activations, out, stride); \
        return;
    switch (num_tokens) { REST(1) REST(2) REST(3) }
#undef REST
}

/* Rows of weights are read in order: alone for a few tokens, which are bound by memory, else a few at a time, which are
 * multiplied with many tokens while they are near. */
INLINE void product_of(
    int bits, int steps, int scales_per_chunk, const QuantisedMatrix *m, const char *activations, size_t num_tokens,
    size_t first, size_t last, float *out, size_t stride) {
    size_t x_stride = row_bytes(m->num_in, m->block, bits), whole = num_tokens / TOKEN_TILE * TOKEN_TILE;
#define TILE(rows, tokens, is_first)                                                                              \
    product_tile((Tile){rows, tokens, bits, steps, scales_per_chunk, is_first}, m, n, activations + t * x_stride, \
        out + t * stride, stride)
#define REST(first, last, is_first)                                                                        \
    product_rest((Tile){1, 1, bits, steps, scales_per_chunk, is_first}, m, activations + whole * x_stride, \
        num_tokens - whole, first, last, out + whole * stride, stride)
    for (size_t from = 0; from < whole; from += NEAR_TOKENS) {
        size_t end = smaller(from + NEAR_TOKENS, whole), rows;
        for (size_t n = first; n < last; n += rows) {
            rows = n + ROW_TILE <= last ? ROW_TILE : 1;
            for (size_t t = from; t < end; t += TOKEN_TILE)
                rows < ROW_TILE ? TILE(1, TOKEN_TILE, 0)
                    : t == from ? TILE(ROW_TILE, TOKEN_TILE, 1)
                                : TILE(ROW_TILE, TOKEN_TILE, 0);
            if (end == whole) REST(n, n + rows, 0);
        }
    }
    if (whole == 0) REST(first, last, 1);
#undef TILE
#undef REST
}

static void quantised_product(const QuantisedMatrix *m, const void *activations, size_t num_tokens, size_t first,
    size_t last, float *out, size_t stride) {
    size_t per = m->block >= per_chunk(m->bits) ? 1 : per_chunk(m->bits) / m->block;
#define PRODUCT(bits, steps, per) product_of(bits, steps, per, m, activations, num_tokens, first, last, out, stride)
    if (m->bits == 8)
        per == 1 ? PRODUCT(8, 1, 1) : PRODUCT(8, 1, 2);
    else
        shares(m->block, 4) ? PRODUCT(4, SHARED, 1)
            : per == 1      ? PRODUCT(4, 1, 1)
            : per == 2      ? PRODUCT(4, 1, 2)
                            : PRODUCT(4, 1, 4);
#undef PRODUCT
}

#define KERNELS(family)                                                                                            \
    const Kernels family##_kernels = {#family, row_bytes, quantise_row, quantised_product, rows_product, add_rows, \
        prepare_head, store_half, store_whole, attend, swiglu};
