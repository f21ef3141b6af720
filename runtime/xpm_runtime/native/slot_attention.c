#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "kernels/table.h"
#include "operators.h"
#include "registry.h"

/* SlotAttention: normalise and rotate q and k, write k and v to the cache in place, attend.
 *
 * qkv [tokens, (heads + 2 kv_heads) * dim]; caches [rows, kv_heads, capacity, dim] float16; seqlens_k [rows]: the last position
 * that is filled after this run. Tokens are rows of equal length, one after the other.
 */
typedef struct {
    const OrtApi *api;
    size_t heads, kv_heads, dim;
    float epsilon, scale;
} SlotAttention;

typedef struct {
    const SlotAttention *op;
    const Kernels *kernels;
    float *qkv, *out;
    uint16_t *keys, *values;
    const int32_t *seqlens;
    const float *cos, *sin, *q_norm, *k_norm;
    size_t num_tokens, per_row, capacity, width, queries_per_task, tasks_per_head;
    atomic_int lacks_memory;
} AttentionWork;

static size_t position_of(const AttentionWork *work, size_t token) {
    size_t row = token / work->per_row;
    return (size_t)work->seqlens[row] + 1 - work->per_row + token % work->per_row;
}

static void prepare_task(void *data, size_t token) {
    AttentionWork *work = data;
    const SlotAttention *op = work->op;
    size_t position = position_of(work, token), row = token / work->per_row, half = op->dim / 2;
    const float *cos = work->cos + position * half, *sin = work->sin + position * half;
    float *heads = work->qkv + token * work->width;
    for (size_t h = 0; h < op->heads; h++) work->kernels->prepare_head(heads + h * op->dim, op->dim, work->q_norm, op->epsilon, cos, sin);
    for (size_t h = 0; h < op->kv_heads; h++) {
        float *key = heads + (op->heads + h) * op->dim, *value = heads + (op->heads + op->kv_heads + h) * op->dim;
        size_t place = ((row * op->kv_heads + h) * work->capacity + position) * op->dim;
        work->kernels->prepare_head(key, op->dim, work->k_norm, op->epsilon, cos, sin);
        work->kernels->store_half(work->keys + place, key, op->dim);
        work->kernels->store_half(work->values + place, value, op->dim);
    }
}

/* One head of keys, and the queries of a few tokens that share it. */
static void attend_task(void *data, size_t index) {
    AttentionWork *work = data;
    const SlotAttention *op = work->op;
    size_t group = op->heads / op->kv_heads, tile = index % work->tasks_per_head;
    size_t head = index / work->tasks_per_head % op->kv_heads, row = index / work->tasks_per_head / op->kv_heads;
    size_t first = tile * work->queries_per_task, last = first + work->queries_per_task;
    if (last > work->per_row) last = work->per_row;
    size_t longest = position_of(work, row * work->per_row + last - 1) + 1;
    float *scores = thread_memory(SCORES, MAX_QUERIES * (longest + 1024) * sizeof(float));
    if (!scores) {
        atomic_store(&work->lacks_memory, 1);
        return;
    }
    const float *queries[MAX_QUERIES];
    float *outputs[MAX_QUERIES];
    size_t lengths[MAX_QUERIES], count = 0;
    size_t place = (row * op->kv_heads + head) * work->capacity * op->dim;
    for (size_t i = first; i < last; i++)
        for (size_t g = 0; g < group; g++) {
            size_t token = row * work->per_row + i, query = head * group + g;
            queries[count] = work->qkv + token * work->width + query * op->dim;
            outputs[count] = work->out + token * op->heads * op->dim + query * op->dim;
            lengths[count++] = position_of(work, token) + 1;
            if (count < MAX_QUERIES && !(i + 1 == last && g + 1 == group)) continue;
            work->kernels->attend(
                queries, outputs, lengths, count, work->keys + place, work->values + place, op->dim, op->scale, scores, longest);
            count = 0;
        }
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
    AttentionWork work = {
        .op = op, .kernels = kernels(), .keys = keys.data, .values = values.data, .seqlens = seqlens.data, .cos = cos.data, .sin = sin.data,
        .q_norm = q_norm.data, .k_norm = k_norm.data, .num_tokens = qkv.size / width, .width = width,
        .capacity = (size_t)keys.dims[2]};
    work.per_row = work.num_tokens / rows;
    size_t positions = cos.size / (op->dim / 2);
    for (size_t row = 0; row < rows; row++) {
        int64_t last = work.seqlens[row];
        int holds = last + 1 >= (int64_t)work.per_row && last < (int64_t)work.capacity && last < (int64_t)positions;
        require(&call, holds, "seqlens_k is outside the cache");
    }
    work.out = output_like(&call, &qkv, (int64_t)(op->heads * op->dim));
    work.qkv = scratch(&call, HEADS, qkv.size * sizeof(float));
    if (call.status || work.num_tokens == 0) return call.status;
    memcpy(work.qkv, qkv.data, qkv.size * sizeof(float));
    if (work.num_tokens == 1)
        prepare_task(&work, 0);
    else
        parallel(&call, prepare_task, work.num_tokens, &work);
    size_t group = op->heads / op->kv_heads;
    /* As few tokens as fill whole tiles of queries: of three heads to a key eight. */
    work.queries_per_task = 1;
    while (work.queries_per_task < MAX_QUERIES && work.queries_per_task * group % MAX_QUERIES) work.queries_per_task *= 2;
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
    int holds = (int64_t)made->kv_heads > 0 && (int64_t)made->heads > 0 && made->heads % made->kv_heads == 0 && made->heads <= 1024 &&
        (int64_t)made->dim > 0 && made->dim % 2 == 0 && made->dim <= 4096;
    if (!status && !holds)
        status = refuse(api, "SlotAttention has attributes that it can't compute with");
    if (status)
        free(made);
    else
        *kernel = made;
    return status;
}
