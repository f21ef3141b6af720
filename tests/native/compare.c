/* Compares a family of kernels with the generic one, over shapes that models have and that they don't.
 * Every array is as long as it must be and no longer, so that a sanitizer sees what is read or written beside it.
 * Prints what differs; exits with 1 if anything does. Compiled with -DFAMILY=<name>. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "table.h"

#define JOIN(a, b) a##b
#define KERNELS_OF(family) JOIN(family, _kernels)
extern const Kernels KERNELS_OF(FAMILY), generic_kernels;
static const Kernels *const ours = &KERNELS_OF(FAMILY), *const plain = &generic_kernels;
static int failures;
static uint64_t state = 1;

static double uniform(void) { /* in [-1, 1) */
    state = state * 6364136223846793005u + 1442695040888963407u;
    return (double)(state >> 11) / (double)(1ull << 52) - 1;
}

static float *floats(size_t count, double size) {
    float *made = malloc(count * sizeof(float) + !count);
    for (size_t i = 0; i < count; i++) made[i] = (float)(size * uniform());
    return made;
}

static uint16_t *halves(size_t count) {
    float *wide = floats(count, 1);
    uint16_t *made = malloc(count * sizeof(uint16_t) + !count);
    plain->store_half(made, wide, count);
    free(wide);
    return made;
}

static void same(
    const char *what, const float *got, const float *wanted, size_t count, double tolerance, size_t a, size_t b) {
    double largest = 0.1, difference = 0;
    for (size_t i = 0; i < count; i++) {
        largest = fmax(largest, fabs(wanted[i]));
        if (!(fabs((double)got[i] - wanted[i]) <= difference)) difference = fabs((double)got[i] - wanted[i]);
    }
    if (difference <= tolerance * largest) return;
    printf("%s: %s of %zu x %zu differs by %g of %g\n", ours->name, what, a, b, difference, largest);
    failures++;
}

/* Activations that 8 bits hold exactly give the same sums in every family; others differ by what 8 bits can't hold. */
static void products(
    int bits, size_t block, size_t num_in, size_t num_out, size_t tokens, int has_minima, int is_half) {
    size_t blocks = (num_in + block - 1) / block, bytes = num_out * num_in * (size_t)bits / 8;
    uint8_t *packed = malloc(bytes);
    for (size_t i = 0; i < bytes; i++) packed[i] = (uint8_t)(128 * (uniform() + 1));
    size_t count = num_out * blocks;
    void *scales = is_half ? (void *)halves(count) : floats(count, 0.1), *minima = NULL;
    if (has_minima) minima = is_half ? (void *)halves(count) : floats(count, 0.5);
    QuantisedMatrix matrix = {packed, scales, minima, num_in, num_out, block, bits, is_half};
    for (int is_exact = 0; is_exact < 2; is_exact++) {
        float *x = floats(tokens * num_in, 2), *results[2];
        for (size_t i = 0; is_exact && i < tokens * num_in; i++)
            x[i] = (i % num_in) % 4 ? rintf(x[i] * 63) / 64 : 127.0f / 64;
        for (int which = 0; which < 2; which++) {
            const Kernels *k = which ? plain : ours;
            size_t row = k->row_bytes(num_in, block, bits);
            char *activations = aligned_alloc(64, (tokens * row + 63) / 64 * 64);
            for (size_t t = 0; t < tokens; t++)
                k->quantise_row(x + t * num_in, num_in, block, bits, activations + t * row);
            results[which] = floats(tokens * num_out, 0);
            size_t middle = num_out / 3;
            k->quantised_product(&matrix, activations, tokens, 0, middle, results[which], num_out);
            k->quantised_product(&matrix, activations, tokens, middle, num_out, results[which], num_out);
            free(activations);
        }
        same(has_minima ? "product with minima" : "product", results[0], results[1], tokens * num_out,
            is_exact ? 2e-5 : 3e-2, num_out, num_in);
        free(x), free(results[0]), free(results[1]);
    }
    free(packed), free(scales), free(minima);
}

static void adapters(size_t num_in, size_t rank, size_t tokens, int is_half) {
    float *x = floats(tokens * num_in, 1), *c[2], *y[2];
    void *a = is_half ? (void *)halves(rank * num_in) : floats(rank * num_in, 1);
    for (int which = 0; which < 2; which++) {
        const Kernels *k = which ? plain : ours;
        c[which] = floats(tokens * rank, 0);
        k->rows_product(x, tokens, num_in, (AdapterRows){a, is_half}, 0, rank, c[which], rank);
        y[which] = malloc(tokens * num_in * sizeof(float));
        memcpy(y[which], x, tokens * num_in * sizeof(float));
        k->add_rows(
            y[which], num_in, tokens, c[which], rank, (AdapterRows){a, is_half}, rank, num_in, num_in / 5, num_in);
    }
    same("rows", c[0], c[1], tokens * rank, 2e-5, rank, num_in);
    same("added rows", y[0], y[1], tokens * num_in, 1e-4, rank, num_in);
    free(x), free(a), free(c[0]), free(c[1]), free(y[0]), free(y[1]);
}

/* Rows of a cache, in as many bits, and their scales. */
static void *rows_of(size_t count, size_t dim, int bits, uint16_t *scales) {
    char *made = malloc(count * cached_bytes(dim, bits));
    for (size_t i = 0; i < count; i++) {
        float *x = floats(dim, 1);
        char *place = made + i * cached_bytes(dim, bits);
        if (bits == 16)
            plain->store_half((uint16_t *)place, x, dim);
        else
            plain->store_whole(place, scales + i, x, dim, bits);
        free(x);
    }
    return made;
}

/* `longest` rows, of which queries see the first `sinks` and those from somewhere behind them on. */
static void attention(size_t dim, size_t longest, size_t count, size_t sinks, int key_bits, int value_bits) {
    uint16_t *scales[2] = {malloc(longest * sizeof(uint16_t)), malloc(longest * sizeof(uint16_t))};
    void *keys = rows_of(longest, dim, key_bits, scales[0]), *values = rows_of(longest, dim, value_bits, scales[1]);
    size_t first = sinks ? sinks + (longest - sinks) / 3 : 0, seen = sinks + longest - first;
    float *q = floats(count * dim, 2), *for_sinks = floats(count * dim, 2), *scores = floats(MAX_QUERIES * seen, 0),
          *out[2];
    for (int which = 0; which < 2; which++) {
        Query queries[MAX_QUERIES];
        out[which] = floats(count * dim, 0);
        for (size_t i = 0; i < count; i++) {
            size_t last = first + 1 + (longest - first - 1) * (i + 1) / count,
                   from = sinks ? first + (last - first - 1) * i / count : 0;
            queries[i] = (Query){q + i * dim, for_sinks + i * dim, out[which] + i * dim, from, last};
        }
        Attention of = {.keys = keys,
            .values = values,
            .key_scales = scales[0],
            .value_scales = scales[1],
            .dim = dim,
            .key_bits = key_bits,
            .value_bits = value_bits,
            .scale = 0.3f,
            .sinks = sinks,
            .first = first,
            .scores = scores,
            .longest = seen};
        (which ? plain : ours)->attend(&of, queries, count);
    }
    same("attention", out[0], out[1], count * dim, 2e-5, count, longest);
    free(keys), free(values), free(scales[0]), free(scales[1]), free(q), free(for_sinks), free(scores), free(out[0]),
        free(out[1]);
}

static void rest(size_t count) {
    float *gate = floats(count, 30), *up = floats(count, 3), *out[2], *head[2], *weight = floats(count, 1),
          *wide = floats(count, 70000);
    float *cos = floats(count / 2, 1), *sin = floats(count / 2, 1);
    uint16_t *half[2];
    wide[0] = 1e-6f, wide[count - 1] = 3e-8f;
    for (int which = 0; which < 2; which++) {
        const Kernels *k = which ? plain : ours;
        out[which] = floats(count, 0), half[which] = malloc(count * sizeof(uint16_t)),
        head[which] = malloc(count * sizeof(float));
        memcpy(head[which], up, count * sizeof(float));
        k->swiglu(gate, up, out[which], count);
        k->store_half(half[which], wide, count);
        if (count % 2 == 0) k->prepare_head(head[which], count, weight, 1e-6f, cos, sin);
    }
    same("swiglu", out[0], out[1], count, 1e-5, 1, count);
    same("head", head[0], head[1], count, 1e-5, 1, count);
    for (int bits = 4; bits <= 8; bits += 4) {
        uint8_t *whole[2];
        uint16_t scale[2];
        for (int which = 0; which < 2; which++) {
            whole[which] = malloc(cached_bytes(count, bits));
            (which ? plain : ours)->store_whole(whole[which], scale + which, gate, count, bits);
        }
        if (scale[0] != scale[1] || memcmp(whole[0], whole[1], cached_bytes(count, bits)))
            printf("%s: %d bits of %zu differ\n", ours->name, bits, count), failures++;
        free(whole[0]), free(whole[1]);
    }
    if (memcmp(half[0], half[1], count * sizeof(uint16_t)))
        printf("%s: float16 of %zu differs\n", ours->name, count), failures++;
    for (int i = 0; i < 2; i++) free(out[i]), free(half[i]), free(head[i]);
    free(gate), free(up), free(weight), free(wide), free(cos), free(sin);
}

int main(void) {
    static const size_t sizes[] = {32, 64, 96, 160, 192, 320, 384, 512, 576}, tokens[] = {1, 2, 4, 5, 8, 11};
    for (int bits = 4; bits <= 8; bits += 4)
        for (size_t block = 32; block <= 256; block *= 2)
            for (size_t s = 0; s < sizeof sizes / sizeof *sizes; s++)
                for (size_t t = 0; t < sizeof tokens / sizeof *tokens; t++)
                    for (int how = 0; how < 4; how++) products(bits, block, sizes[s], 13, tokens[t], how & 1, how >> 1);
    static const size_t widths[] = {1, 3, 8, 15, 16, 33, 100};
    for (size_t w = 0; w < sizeof widths / sizeof *widths; w++) {
        rest(widths[w]);
        for (size_t t = 0; t < 4; t++)
            for (size_t rank = 1; rank < 18; rank += 4)
                for (int is_half = 0; is_half < 2; is_half++) adapters(widths[w], rank, tokens[t], is_half);
    }
    static const size_t lengths[] = {1, 2, 7, 8, 17, 40};
    for (size_t dim = 16; dim <= 160; dim += 48)
        for (size_t l = 0; l < sizeof lengths / sizeof *lengths; l++)
            for (size_t count = 1; count <= MAX_QUERIES; count++)
                for (size_t sinks = 0; sinks < 4 && sinks < lengths[l]; sinks += 3) {
                    attention(dim, lengths[l], count, sinks, 16, 16);
                    attention(dim, lengths[l], count, sinks, 8, 8);
                    attention(dim, lengths[l], count, sinks, 8, 4);
                }
    if (!failures) printf("%s is like the generic kernels\n", ours->name);
    return failures != 0;
}
