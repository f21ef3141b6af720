#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "kernels/table.h"
#include "operators.h"
#include "registry.h"

/* SlotAttention: normalise and rotate q and k, write k and v to the cache in place, attend.
 *
 * qkv [tokens, (heads + 2 kv_heads) * dim]; caches [rows, kv_heads, capacity, dim] float16; seqlens_k [rows]: the last
 * position that is filled after this run. Tokens are rows of equal length, one after the other.
 *
 * A row may be kept in fewer bits (`RowLayout`): then what a head takes holds its numbers first, then its scales, and
 * ends with memory that is never touched. Where tokens have a window, the first ones are looked at as if they lay right
 * before it (StreamingLLM, arXiv 2309.17453): the query is rotated once more, for the position that it has then.
 */
typedef struct {
    const OrtApi *api;
    size_t heads, kv_heads, dim;
    float epsilon, scale;
} SlotAttention;

typedef struct {
    const SlotAttention *op;
    const Kernels *kernels;
    const float *given; /* qkv as it came */
    float *qkv, *for_sinks, *out;
    char *keys, *values;
    const int32_t *seqlens;
    const RowLayout *layouts; /* of the rows; NULL if all are in float16, without a window */
    const float *cos, *sin, *q_norm, *k_norm;
    size_t num_tokens, per_row, capacity, width, queries_per_task, tasks_per_head;
    atomic_int lacks_memory;
} AttentionWork;

static const RowLayout plain = {16, 16, 0, 0};

static const RowLayout *layout_at(const AttentionWork *work, size_t row) {
    return work->layouts ? work->layouts + row : &plain;
}

static size_t position_of(const AttentionWork *work, size_t token) {
    size_t row = token / work->per_row;
    return (size_t)work->seqlens[row] + 1 - work->per_row + token % work->per_row;
}

/* Where a head's part of a cache begins, and where its scales do. */
static size_t place_of_head(const AttentionWork *work, size_t row, size_t head) {
    return (row * work->op->kv_heads + head) * work->capacity * work->op->dim * sizeof(uint16_t);
}
static size_t bytes_of_numbers(const AttentionWork *work, int bits) {
    return work->capacity * cached_bytes(work->op->dim, bits);
}

static void store(const AttentionWork *work, char *head, size_t position, const float *x, int bits) {
    size_t dim = work->op->dim;
    char *place = head + position * cached_bytes(dim, bits);
    if (bits == 16)
        work->kernels->store_half((uint16_t *)place, x, dim);
    else
        work->kernels->store_whole(place, (uint16_t *)(head + bytes_of_numbers(work, bits)) + position, x, dim, bits);
}

static void prepare_task(void *data, size_t token) {
    AttentionWork *work = data;
    const SlotAttention *op = work->op;
    const Kernels *k = work->kernels;
    size_t position = position_of(work, token), row = token / work->per_row, half = op->dim / 2;
    const RowLayout *layout = layout_at(work, row);
    const float *cos = work->cos + position * half, *sin = work->sin + position * half;
    float *heads = work->qkv + token * work->width;
    if (layout->window && layout->sinks && position >= (size_t)layout->window) {
        size_t beside = (size_t)(layout->window + layout->sinks - 1),
               seen = (position < beside ? position : beside) * half;
        float *queries = work->for_sinks + token * op->heads * op->dim;
        memcpy(queries, work->given + token * work->width, op->heads * op->dim * sizeof(float));
        for (size_t h = 0; h < op->heads; h++)
            k->prepare_head(
                queries + h * op->dim, op->dim, work->q_norm, op->epsilon, work->cos + seen, work->sin + seen);
    }
    for (size_t h = 0; h < op->heads; h++)
        k->prepare_head(heads + h * op->dim, op->dim, work->q_norm, op->epsilon, cos, sin);
    for (size_t h = 0; h < op->kv_heads; h++) {
        float *key = heads + (op->heads + h) * op->dim, *value = heads + (op->heads + op->kv_heads + h) * op->dim;
        size_t place = place_of_head(work, row, h);
        k->prepare_head(key, op->dim, work->k_norm, op->epsilon, cos, sin);
        store(work, work->keys + place, position, key, layout->key_bits);
        store(work, work->values + place, position, value, layout->value_bits);
    }
}

/* The first position that a token looks at behind the sinks. */
static size_t first_seen(const RowLayout *layout, size_t position, size_t sinks) {
    size_t first = layout->window && position >= (size_t)layout->window ? position + 1 - (size_t)layout->window : 0;
    return first > sinks ? first : sinks;
}

/* One head of keys, and the queries of a few tokens that share it. */
static void attend_task(void *data, size_t index) {
    AttentionWork *work = data;
    const SlotAttention *op = work->op;
    size_t group = op->heads / op->kv_heads, tile = index % work->tasks_per_head;
    size_t head = index / work->tasks_per_head % op->kv_heads, row = index / work->tasks_per_head / op->kv_heads;
    size_t first = tile * work->queries_per_task, last = first + work->queries_per_task;
    if (last > work->per_row) last = work->per_row;
    const RowLayout *layout = layout_at(work, row);
    size_t start = position_of(work, row * work->per_row + first),
           end = position_of(work, row * work->per_row + last - 1) + 1;
    /* A window that hides something from the last of these tokens lies behind the sinks for all of them: see
     * RowLayout. */
    size_t sinks = layout->window && end > (size_t)layout->window ? (size_t)layout->sinks : 0;
    size_t place = place_of_head(work, row, head);
    char *keys = work->keys + place, *values = work->values + place;
    Attention attention = {
        .keys = keys, .values = values, .key_scales = (uint16_t *)(keys + bytes_of_numbers(work, layout->key_bits)),
        .value_scales = (uint16_t *)(values + bytes_of_numbers(work, layout->value_bits)), .dim = op->dim,
        .key_bits = layout->key_bits, .value_bits = layout->value_bits, .scale = op->scale, .sinks = sinks,
        .first = first_seen(layout, start, sinks)};
    attention.longest = sinks + end - attention.first;
    attention.scores = thread_memory(SCORES, MAX_QUERIES * (attention.longest + 1024) * sizeof(float));
    if (!attention.scores) {
        atomic_store(&work->lacks_memory, 1);
        return;
    }
    Query queries[MAX_QUERIES];
    size_t count = 0;
    for (size_t i = first; i < last; i++)
        for (size_t g = 0; g < group; g++) {
            size_t token = row * work->per_row + i, query = (head * group + g) * op->dim,
                   position = position_of(work, token);
            const float *rotated = work->qkv + token * work->width + query;
            int is_apart = sinks && position >= (size_t)layout->window;
            queries[count++] = (Query){
                rotated, is_apart ? work->for_sinks + token * op->heads * op->dim + query : rotated,
                work->out + token * op->heads * op->dim + query, first_seen(layout, position, sinks), position + 1};
            if (count < MAX_QUERIES && !(i + 1 == last && g + 1 == group)) continue;
            work->kernels->attend(&attention, queries, count);
            count = 0;
        }
}

/* Whether rows are kept in a way that the kernels know; how tokens without a description are kept, they do. */
static int is_known(const RowLayout *layout, size_t dim) {
    int keys = layout->key_bits, values = layout->value_bits;
    int has_bits = (keys == 16 && values == 16) ||
        (keys == 8 && (values == 8 || values == 4) && cached_bytes(dim, values) + 2 <= 2 * dim);
    return has_bits &&
        (layout->window == 0 || (layout->window >= 16 && layout->sinks >= 0 && layout->sinks <= layout->window / 2));
}

OrtStatus *slot_attention_compute(void *kernel, OrtKernelContext *context) {
    const SlotAttention *op = kernel;
    Call call = {op->api, context, NULL};
    Tensor qkv = input(&call, 0), keys = input(&call, 1), values = input(&call, 2), seqlens = input(&call, 3);
    Tensor cos = input(&call, 4), sin = input(&call, 5), q_norm = input(&call, 6), k_norm = input(&call, 7);
    if (call.status) return call.status;
    size_t width = (op->heads + 2 * op->kv_heads) * op->dim, rows = seqlens.size;
    require(&call, qkv.num_dims >= 1 && (size_t)qkv.dims[qkv.num_dims - 1] == width, "qkv has the wrong width");
    require(&call, keys.num_dims == 4 && (size_t)keys.dims[0] == rows && (size_t)keys.dims[1] == op->kv_heads &&
            (size_t)keys.dims[3] == op->dim && values.size == keys.size, "the cache has the wrong shape");
    size_t bytes = keys.size * sizeof(uint16_t);
    int is_ours = is_allowed(keys.data, bytes, 1) && is_allowed(values.data, bytes, 1);
    require(&call, is_ours || !bytes, "the cache is not memory that may be written");
    require(&call, rows && qkv.size / width % rows == 0, "seqlens_k does not divide the tokens");
    require(&call, cos.size == sin.size && cos.size % (op->dim / 2) == 0, "the rotary tables have the wrong width");
    require(&call, (!q_norm.data || q_norm.size == op->dim) && (!k_norm.data || k_norm.size == op->dim),
        "the norms' weights have the wrong size");
    if (call.status) return call.status;
    AttentionWork work = {.op = op,
        .kernels = kernels(),
        .given = qkv.data,
        .keys = keys.data,
        .values = values.data,
        .seqlens = seqlens.data,
        .cos = cos.data,
        .sin = sin.data,
        .layouts = layout_of(keys.data, keys.size / rows * sizeof(uint16_t)),
        .q_norm = q_norm.data,
        .k_norm = k_norm.data,
        .num_tokens = qkv.size / width,
        .width = width,
        .capacity = (size_t)keys.dims[2]};
    work.per_row = work.num_tokens / rows;
    size_t positions = cos.size / (op->dim / 2);
    int has_sinks = 0;
    for (size_t row = 0; row < rows; row++) {
        int64_t last = work.seqlens[row];
        int holds = last + 1 >= (int64_t)work.per_row && last < (int64_t)work.capacity && last < (int64_t)positions;
        require(&call, holds, "seqlens_k is outside the cache");
        require(&call, is_known(layout_at(&work, row), op->dim), "the cache is kept in a way that is unknown");
        has_sinks |= layout_at(&work, row)->window && layout_at(&work, row)->sinks;
    }
    work.out = output_like(&call, &qkv, (int64_t)(op->heads * op->dim));
    work.qkv = scratch(&call, HEADS, qkv.size * sizeof(float));
    if (has_sinks) work.for_sinks = scratch(&call, FOR_SINKS, work.num_tokens * op->heads * op->dim * sizeof(float));
    if (call.status || work.num_tokens == 0) return call.status;
    memcpy(work.qkv, qkv.data, qkv.size * sizeof(float));
    if (work.num_tokens == 1)
        prepare_task(&work, 0);
    else
        parallel(&call, prepare_task, work.num_tokens, &work);
    size_t group = op->heads / op->kv_heads;
    /* As few tokens as fill whole tiles of queries: of three heads to a key eight. */
    work.queries_per_task = 1;
    while (work.queries_per_task < MAX_QUERIES && work.queries_per_task * group % MAX_QUERIES)
        work.queries_per_task *= 2;
    work.tasks_per_head = (work.per_row + work.queries_per_task - 1) / work.queries_per_task;
    parallel(&call, attend_task, rows * op->kv_heads * work.tasks_per_head, &work);
    require(&call, !atomic_load(&work.lacks_memory), "there is not enough memory");
    return call.status;
}

OrtStatus *slot_attention_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op;
    SlotAttention *made = calloc(1, sizeof *made);
    if (!made) return refuse(api, "there is not enough memory");
    made->api = api;
    made->heads = (size_t)attribute(api, info, "num_heads", 0);
    made->kv_heads = (size_t)attribute(api, info, "kv_num_heads", 0);
    made->dim = (size_t)attribute(api, info, "head_dim", 0);
    OrtStatus *status = KernelInfoGetAttribute_float(api)(info, "epsilon", &made->epsilon);
    if (!status) status = KernelInfoGetAttribute_float(api)(info, "scale", &made->scale);
    int holds = (int64_t)made->kv_heads > 0 && (int64_t)made->heads > 0 && made->heads % made->kv_heads == 0 &&
        made->heads <= 1024 && (int64_t)made->dim > 0 && made->dim % 2 == 0 && made->dim <= 4096;
    if (!status && !holds)
        status = refuse(api, "SlotAttention has attributes that it can't compute with");
    if (status)
        free(made);
    else
        *kernel = made;
    return status;
}
