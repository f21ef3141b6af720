/* The custom operators of a native graph, in the domain `xpm`: SlotLinear, SlotAttention and SwiGLU.
 *
 * Work is split over the session's own threads (KernelContext_ParallelFor). Shapes and addresses are checked before anything
 * is computed: a graph comes from a package and is not trusted.
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "kernels.h"
#include "ort_abi.h"
#include "registry.h"

enum { MAX_DIMS = 8, MAX_PARTS = 3, MAX_RANK = 256, BATCHES = 16, KEPT = 5 };

typedef struct {
    void *data; /* NULL if the input is absent */
    size_t num_dims, size;
    int64_t dims[MAX_DIMS];
} Tensor;

typedef struct {
    const OrtApi *api;
    OrtKernelContext *context;
    OrtStatus *status; /* the first failure; later calls do nothing */
} Call;

static void fail(Call *call, const char *message) {
    if (!call->status) call->status = CreateStatus(call->api)(ORT_INVALID_ARGUMENT, message);
}

static void require(Call *call, int holds, const char *message) {
    if (!holds) fail(call, message);
}

static Tensor input(Call *call, size_t index) {
    Tensor tensor = {0};
    const OrtValue *value = NULL;
    OrtTensorTypeAndShapeInfo *shape = NULL;
    if (call->status || (call->status = KernelContext_GetInput(call->api)(call->context, index, &value)) || !value) return tensor;
    if ((call->status = GetTensorTypeAndShape(call->api)(value, &shape))) return tensor;
    call->status = GetDimensionsCount(call->api)(shape, &tensor.num_dims);
    if (!call->status && tensor.num_dims > MAX_DIMS) fail(call, "a tensor has too many dimensions");
    if (!call->status) call->status = GetDimensions(call->api)(shape, tensor.dims, tensor.num_dims);
    ReleaseTensorTypeAndShapeInfo(call->api)(shape);
    if (!call->status) call->status = GetTensorMutableData(call->api)((OrtValue *)value, &tensor.data);
    tensor.size = 1;
    for (size_t i = 0; i < tensor.num_dims; i++) tensor.size *= (size_t)tensor.dims[i];
    return tensor;
}

/* An output with the dimensions of `like`, but `last` in the end. */
static float *output_like(Call *call, const Tensor *like, int64_t last) {
    int64_t dims[MAX_DIMS];
    OrtValue *value = NULL;
    void *data = NULL;
    if (call->status) return NULL;
    memcpy(dims, like->dims, sizeof dims);
    dims[like->num_dims - 1] = last;
    call->status = KernelContext_GetOutput(call->api)(call->context, 0, dims, like->num_dims, &value);
    if (!call->status) call->status = GetTensorMutableData(call->api)(value, &data);
    return data;
}

static void parallel(Call *call, void (*task)(void *, size_t), size_t count, void *work) {
    if (call->status || count == 0) return;
    size_t batches = count < BATCHES ? count : BATCHES;
    call->status = KernelContext_ParallelFor(call->api)(call->context, task, count, batches, work);
}

/* Memory that a thread keeps from run to run, and that is freed when the thread ends. */
typedef struct { void *data[KEPT]; size_t sizes[KEPT]; } Kept;

static pthread_key_t kept_key;
static pthread_once_t kept_once = PTHREAD_ONCE_INIT;
static int kept_status;

static void free_kept(void *of_thread) {
    Kept *kept = of_thread;
    for (int which = 0; which < KEPT; which++) free(kept->data[which]);
    free(kept);
}

static void make_kept_key(void) { kept_status = pthread_key_create(&kept_key, free_kept); }

/* `bytes` of this thread's memory number `which`; NULL if there are none. */
static void *thread_memory(int which, size_t bytes) {
    pthread_once(&kept_once, make_kept_key);
    if (kept_status) return NULL;
    Kept *kept = pthread_getspecific(kept_key);
    if (!kept) {
        kept = calloc(1, sizeof *kept);
        if (!kept) return NULL;
        if (pthread_setspecific(kept_key, kept)) {
            free(kept);
            return NULL;
        }
    }
    if (kept->sizes[which] < bytes) {
        free(kept->data[which]);
        size_t rounded = (bytes + 4095) / 4096 * 4096;
        kept->data[which] = aligned_alloc(64, rounded);
        kept->sizes[which] = kept->data[which] ? rounded : 0;
    }
    return kept->data[which];
}

/* The same for a call, which fails if there is not enough. */
static void *scratch(Call *call, int which, size_t bytes) {
    void *data = thread_memory(which, bytes);
    if (!data && bytes) fail(call, "there is not enough memory");
    return data;
}

/* A number of a node, `otherwise` if it is absent; 0, which no operator takes for a size, if it is out of all bounds. */
static int64_t attribute(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t otherwise) {
    int64_t value = otherwise;
    OrtStatus *status = KernelInfoGetAttribute_int64(api)(info, name, &value);
    if (status) {
        ReleaseStatus(api)(status);
        return otherwise;
    }
    return value >= -1 && value <= INT32_MAX ? value : 0;
}

/* SlotLinear: y = (W x) ⊙ (1 + scales) + bias + offsets + Σ over the row's adapters of (x·Aᵀ)·B
 *
 * W may be several linears over one input, one below the other (`parts`); each has its own slot.
 *   slot_table [adapters, linears, 2]: addresses of A and B of each linear of the graph; 0 where an adapter has none
 *   slot_types [adapters, 2]: rank, and 1 if the numbers are float16
 *   row_slots  [rows, n]: the adapters of each row of the batch, -1 for none
 *   row_scales [rows, 2]: addresses of the row's scales and offsets, (total_out) float32 each, or 0
 */
typedef struct {
    const OrtApi *api;
    size_t num_in, num_out, block, column;
    int64_t first_linear; /* -1: no slot here */
    size_t parts[MAX_PARTS];
    int num_parts, bits;
} SlotLinear;

typedef struct {
    size_t row, rank, first; /* `first`: of its coefficients in a token's, which are (parts, rank) */
    AdapterRows a[MAX_PARTS], b[MAX_PARTS];
} Acting;

typedef struct {
    const SlotLinear *op;
    QuantisedMatrix matrix;
    const float *x, *bias;
    const int64_t *row_scales;
    Chunk *activations;
    float *out, *coefficients;
    size_t num_tokens, per_row, chunks, coefficient_stride;
    Acting *acting;
    size_t num_acting, rank_tiles, num_rank_tasks, columns_per_task, column_tasks, num_rows;
} LinearWork;

enum { RANKS_PER_TASK = 8, ROWS_PER_TASK = 64, COLUMNS_PER_TASK = 512 };

static void quantise_task(void *data, size_t token) {
    LinearWork *work = data;
    quantise_row(work->x + token * work->op->num_in, work->op->num_in, work->op->bits, work->activations + token * work->chunks);
}

static void finish_rows(const LinearWork *work, size_t first, size_t last) {
    const SlotLinear *op = work->op;
    for (size_t t = 0; t < work->num_tokens; t++) {
        const int64_t *addresses = work->row_scales ? work->row_scales + 2 * (t / work->per_row) : NULL;
        const float *scales = addresses ? (const float *)addresses[0] : NULL;
        const float *offsets = addresses ? (const float *)addresses[1] : NULL;
        float *y = work->out + t * op->num_out;
        for (size_t n = first; scales && n < last; n++) y[n] *= 1.0f + scales[op->column + n];
        for (size_t n = first; work->bias && n < last; n++) y[n] += work->bias[n];
        for (size_t n = first; offsets && n < last; n++) y[n] += offsets[op->column + n];
    }
}

/* First the coefficients x·Aᵀ, a few ranks per task, then the base's rows. */
static void product_task(void *data, size_t index) {
    LinearWork *work = data;
    const SlotLinear *op = work->op;
    if (index < work->num_rank_tasks) {
        size_t tile = index % work->rank_tiles, part = index / work->rank_tiles % op->num_parts;
        const Acting *acting = work->acting + index / work->rank_tiles / op->num_parts;
        size_t first = tile * RANKS_PER_TASK, last = first + RANKS_PER_TASK;
        if (last > acting->rank) last = acting->rank;
        if (first >= last || !acting->a[part].data) return;
        size_t token = acting->row * work->per_row;
        rows_product(
            work->x + token * op->num_in, work->per_row, op->num_in, acting->a[part], first, last,
            work->coefficients + token * work->coefficient_stride + acting->first + part * acting->rank, work->coefficient_stride);
        return;
    }
    size_t first = (index - work->num_rank_tasks) * ROWS_PER_TASK, last = first + ROWS_PER_TASK;
    if (last > op->num_out) last = op->num_out;
    quantised_product(&work->matrix, work->activations, work->num_tokens, first, last, work->out, op->num_out);
    finish_rows(work, first, last);
}

static void add_task(void *data, size_t index) {
    LinearWork *work = data;
    const SlotLinear *op = work->op;
    size_t row = index / work->column_tasks, first = index % work->column_tasks * COLUMNS_PER_TASK;
    size_t last = first + COLUMNS_PER_TASK, token = row * work->per_row;
    if (last > op->num_out) last = op->num_out;
    for (size_t i = 0; i < work->num_acting; i++) {
        const Acting *acting = work->acting + i;
        if (acting->row != row) continue;
        size_t start = 0;
        for (int part = 0; part < op->num_parts; start += op->parts[part++]) {
            size_t from = first > start ? first : start, end = start + op->parts[part];
            if (end > last) end = last;
            if (from >= end || !acting->b[part].data) continue;
            add_rows(
                work->out + token * op->num_out + start, op->num_out, work->per_row,
                work->coefficients + token * work->coefficient_stride + acting->first + part * acting->rank,
                work->coefficient_stride, acting->b[part], acting->rank, op->parts[part], from - start, end - start);
        }
    }
}

static void find_acting(Call *call, LinearWork *work, const Tensor *table, const Tensor *types, const Tensor *row_slots) {
    const SlotLinear *op = work->op;
    size_t per_row = row_slots->num_dims == 2 ? (size_t)row_slots->dims[1] : 0, num_adapters = (size_t)table->dims[0];
    require(call, table->num_dims == 3 && table->dims[2] == 2, "slot_table must be (adapters, linears, 2)");
    require(call, types->size == 2 * num_adapters, "slot_types must be (adapters, 2)");
    require(call, op->first_linear + op->num_parts <= table->dims[1], "slot_table has too few linears");
    if (call->status || row_slots->size == 0) return;
    work->acting = scratch(call, 2, row_slots->size * sizeof(Acting));
    if (call->status) return;
    size_t largest = 0;
    for (size_t row = 0; row < work->num_rows; row++) {
        size_t first = 0;
        for (size_t i = 0; i < per_row; i++) {
            int64_t adapter = ((int64_t *)row_slots->data)[row * per_row + i];
            if (adapter < 0) continue;
            require(call, (size_t)adapter < num_adapters, "row_slots names an adapter that is not in slot_table");
            if (call->status) return;
            const int64_t *type = (int64_t *)types->data + 2 * adapter;
            const int64_t *places = (int64_t *)table->data + 2 * (adapter * table->dims[1] + op->first_linear);
            require(call, type[0] >= 0 && type[0] <= MAX_RANK, "an adapter's rank is out of bounds");
            if (call->status) return;
            Acting acting = {.row = row, .rank = (size_t)type[0], .first = first};
            size_t width = acting.rank * (type[1] ? sizeof(uint16_t) : sizeof(float));
            int any = 0;
            for (int part = 0; part < op->num_parts; part++) {
                const void *a = (const void *)places[2 * part], *b = (const void *)places[2 * part + 1];
                if (!a || !b) continue;
                int holds = is_allowed(a, width * op->num_in, 0) && is_allowed(b, width * op->parts[part], 0);
                require(call, holds, "slot_table leads to memory that is no adapter's");
                if (call->status) return;
                acting.a[part] = (AdapterRows){a, (int)type[1]};
                acting.b[part] = (AdapterRows){b, (int)type[1]};
                any = 1;
            }
            if (!any || acting.rank == 0) continue;
            first += acting.rank * op->num_parts;
            if (acting.rank > largest) largest = acting.rank;
            work->acting[work->num_acting++] = acting;
        }
        if (first > work->coefficient_stride) work->coefficient_stride = first;
    }
    work->rank_tiles = (largest + RANKS_PER_TASK - 1) / RANKS_PER_TASK;
    work->num_rank_tasks = work->num_acting * op->num_parts * work->rank_tiles;
    if (work->num_acting) work->coefficients = scratch(call, 1, work->num_tokens * work->coefficient_stride * sizeof(float));
}

static OrtStatus *slot_linear_compute(void *kernel, OrtKernelContext *context) {
    const SlotLinear *op = kernel;
    Call call = {op->api, context, NULL};
    Tensor x = input(&call, 0), packed = input(&call, 1), scales = input(&call, 2), table = input(&call, 3);
    Tensor types = input(&call, 4), row_slots = input(&call, 5), row_scales = input(&call, 6), bias = input(&call, 7);
    if (call.status) return call.status;
    size_t blocks = (op->num_in + op->block - 1) / op->block;
    require(&call, x.num_dims >= 1 && (size_t)x.dims[x.num_dims - 1] == op->num_in, "x must end in num_in");
    require(&call, packed.size == op->num_out * op->num_in * op->bits / 8, "the weights' size is not num_out x num_in");
    require(&call, scales.size == op->num_out * blocks, "the scales' size is not num_out x blocks");
    require(&call, !bias.data || bias.size == op->num_out, "bias must have num_out numbers");
    if (call.status) return call.status;
    LinearWork work = {
        .op = op, .matrix = {packed.data, scales.data, op->num_in, op->num_out, op->block, op->bits}, .x = x.data,
        .bias = bias.data, .num_tokens = x.size / op->num_in, .chunks = num_chunks(op->num_in, op->bits)};
    work.out = output_like(&call, &x, (int64_t)op->num_out);
    work.activations = scratch(&call, 0, work.num_tokens * work.chunks * sizeof(Chunk));
    work.num_rows = op->first_linear >= 0 && row_slots.num_dims == 2 ? (size_t)row_slots.dims[0] : 0;
    if (!call.status && work.num_rows && work.num_tokens) {
        require(&call, work.num_tokens % work.num_rows == 0, "row_slots does not divide the tokens");
        require(&call, row_scales.size == 2 * work.num_rows, "row_scales must be (rows, 2)");
        work.per_row = work.num_tokens / work.num_rows;
        work.row_scales = row_scales.data;
        for (size_t i = 0; !call.status && i < 2 * work.num_rows; i++) {
            const float *vector = (const float *)work.row_scales[i];
            int holds = !vector || is_allowed(vector + op->column, op->num_out * sizeof(float), 0);
            require(&call, holds, "row_scales leads to memory that is no adapter's");
        }
        if (!call.status) find_acting(&call, &work, &table, &types, &row_slots);
    }
    if (call.status || work.num_tokens == 0) return call.status;
    if (work.num_tokens == 1)
        quantise_task(&work, 0);
    else
        parallel(&call, quantise_task, work.num_tokens, &work);
    parallel(&call, product_task, work.num_rank_tasks + (op->num_out + ROWS_PER_TASK - 1) / ROWS_PER_TASK, &work);
    work.column_tasks = (op->num_out + COLUMNS_PER_TASK - 1) / COLUMNS_PER_TASK;
    if (work.num_acting) parallel(&call, add_task, work.num_rows * work.column_tasks, &work);
    return call.status;
}

static OrtStatus *slot_linear_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op;
    SlotLinear *made = calloc(1, sizeof *made);
    if (!made) return CreateStatus(api)(ORT_INVALID_ARGUMENT, "there is not enough memory");
    made->api = api;
    made->num_in = (size_t)attribute(api, info, "num_in", 0);
    made->num_out = (size_t)attribute(api, info, "num_out", 0);
    made->block = (size_t)attribute(api, info, "block", 0);
    made->bits = (int)attribute(api, info, "bits", 0);
    made->first_linear = attribute(api, info, "first_linear", -1);
    made->column = (size_t)attribute(api, info, "column", 0);
    static const char *const names[MAX_PARTS] = {"part0", "part1", "part2"};
    size_t total = 0;
    for (int i = 0; i < MAX_PARTS && (made->parts[i] = (size_t)attribute(api, info, names[i], 0)) > 0; i++) {
        made->num_parts++;
        total += made->parts[i];
    }
    int holds = (int64_t)made->num_in > 0 && made->num_in % 2 == 0 && (int64_t)made->num_out > 0 && (made->bits == 4 || made->bits == 8)
        && made->block >= 32 && (made->block & (made->block - 1)) == 0
        && (made->first_linear < 0 || total == made->num_out);
    if (!holds) {
        free(made);
        return CreateStatus(api)(ORT_INVALID_ARGUMENT, "SlotLinear has attributes that it can't compute with");
    }
    *kernel = made;
    return NULL;
}

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
    for (size_t h = 0; h < op->heads; h++) prepare_head(heads + h * op->dim, op->dim, work->q_norm, op->epsilon, cos, sin);
    for (size_t h = 0; h < op->kv_heads; h++) {
        float *key = heads + (op->heads + h) * op->dim, *value = heads + (op->heads + op->kv_heads + h) * op->dim;
        size_t place = ((row * op->kv_heads + h) * work->capacity + position) * op->dim;
        prepare_head(key, op->dim, work->k_norm, op->epsilon, cos, sin);
        store_half(work->keys + place, key, op->dim);
        store_half(work->values + place, value, op->dim);
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
    float *scores = thread_memory(4, MAX_QUERIES * (longest + 1024) * sizeof(float));
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
            attend(queries, outputs, lengths, count, work->keys + place, work->values + place, op->dim, op->scale, scores, longest);
            count = 0;
        }
}

static OrtStatus *slot_attention_compute(void *kernel, OrtKernelContext *context) {
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
        .op = op, .keys = keys.data, .values = values.data, .seqlens = seqlens.data, .cos = cos.data, .sin = sin.data,
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
    work.qkv = scratch(&call, 3, qkv.size * sizeof(float));
    if (call.status || work.num_tokens == 0) return call.status;
    memcpy(work.qkv, qkv.data, qkv.size * sizeof(float));
    if (work.num_tokens == 1)
        prepare_task(&work, 0);
    else
        parallel(&call, prepare_task, work.num_tokens, &work);
    size_t group = op->heads / op->kv_heads;
    work.queries_per_task = group >= MAX_QUERIES ? 1 : MAX_QUERIES / group;
    work.tasks_per_head = (work.per_row + work.queries_per_task - 1) / work.queries_per_task;
    parallel(&call, attend_task, rows * op->kv_heads * work.tasks_per_head, &work);
    require(&call, !atomic_load(&work.lacks_memory), "there is not enough memory");
    return call.status;
}

static OrtStatus *slot_attention_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op;
    SlotAttention *made = calloc(1, sizeof *made);
    if (!made) return CreateStatus(api)(ORT_INVALID_ARGUMENT, "there is not enough memory");
    made->api = api;
    made->heads = (size_t)attribute(api, info, "num_heads", 0);
    made->kv_heads = (size_t)attribute(api, info, "kv_num_heads", 0);
    made->dim = (size_t)attribute(api, info, "head_dim", 0);
    OrtStatus *status = KernelInfoGetAttribute_float(api)(info, "epsilon", &made->epsilon);
    if (!status) status = KernelInfoGetAttribute_float(api)(info, "scale", &made->scale);
    int holds = (int64_t)made->kv_heads > 0 && (int64_t)made->heads > 0 && made->heads % made->kv_heads == 0 && made->heads <= 1024 &&
        (int64_t)made->dim > 0 && made->dim % 2 == 0 && made->dim <= 4096;
    if (!status && !holds)
        status = CreateStatus(api)(ORT_INVALID_ARGUMENT, "SlotAttention has attributes that it can't compute with");
    if (status)
        free(made);
    else
        *kernel = made;
    return status;
}

/* SwiGLU: [.., 2 n], gate beside up -> [.., n] */
typedef struct {
    const OrtApi *api;
} SwiGlu;

typedef struct {
    const float *x;
    float *out;
    size_t width, pieces;
} SwiGluWork;

enum { PIECE = 1024 };

static void swiglu_task(void *data, size_t index) {
    SwiGluWork *work = data;
    size_t token = index / work->pieces, first = index % work->pieces * PIECE, count = work->width - first;
    const float *gate = work->x + token * 2 * work->width + first;
    swiglu(gate, gate + work->width, work->out + token * work->width + first, count < PIECE ? count : PIECE);
}

static OrtStatus *swiglu_compute(void *kernel, OrtKernelContext *context) {
    Call call = {((SwiGlu *)kernel)->api, context, NULL};
    Tensor x = input(&call, 0);
    if (call.status) return call.status;
    require(&call, x.num_dims >= 1 && x.dims[x.num_dims - 1] > 0 && x.dims[x.num_dims - 1] % 2 == 0, "x must have an even width");
    if (call.status) return call.status;
    size_t width = (size_t)x.dims[x.num_dims - 1] / 2, tokens = x.size / (2 * width);
    SwiGluWork work = {x.data, output_like(&call, &x, (int64_t)width), width, (width + PIECE - 1) / PIECE};
    if (tokens == 1 && !call.status)
        for (size_t piece = 0; piece < work.pieces; piece++) swiglu_task(&work, piece);
    else
        parallel(&call, swiglu_task, tokens * work.pieces, &work);
    return call.status;
}

static OrtStatus *swiglu_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op, (void)info;
    SwiGlu *made = malloc(sizeof *made);
    if (!made) return CreateStatus(api)(ORT_INVALID_ARGUMENT, "there is not enough memory");
    made->api = api;
    *kernel = made;
    return NULL;
}

/* What ONNX Runtime asks of an operator. The last `num_optional` inputs may be absent. */
typedef struct {
    OrtCustomOp base;
    const char *name;
    size_t num_inputs, num_optional;
    int types[8];
} Operator;

static const char *get_name(const OrtCustomOp *op) { return ((const Operator *)op)->name; }
static const char *get_provider(const OrtCustomOp *op) { return (void)op, "CPUExecutionProvider"; }
static size_t count_inputs(const OrtCustomOp *op) { return ((const Operator *)op)->num_inputs; }
static size_t count_outputs(const OrtCustomOp *op) { return (void)op, 1; }
static int input_type(const OrtCustomOp *op, size_t i) { return ((const Operator *)op)->types[i]; }
static int output_type(const OrtCustomOp *op, size_t i) { return (void)op, (void)i, TYPE_FLOAT; }
static int zero_of(const OrtCustomOp *op, size_t i) { return (void)op, (void)i, 0; }
static int one(const OrtCustomOp *op) { return (void)op, 1; }
static int input_kind(const OrtCustomOp *op, size_t i) {
    const Operator *of = (const Operator *)op;
    return i + of->num_optional >= of->num_inputs ? INPUT_OPTIONAL : INPUT_REQUIRED;
}

#define OPERATOR(label, inputs, optional, create, compute, ...)                                                     \
    {{ORT_API_VERSION, NULL, get_name, get_provider, input_type, count_inputs, output_type, count_outputs, NULL, free, \
      input_kind, zero_of, zero_of, one, one, one, one, create, compute},                                             \
     label, inputs, optional, {__VA_ARGS__}}

static const Operator operators[] = {
    OPERATOR("SlotLinear", 8, 1, slot_linear_create, slot_linear_compute, TYPE_FLOAT, TYPE_UINT8, TYPE_FLOAT, TYPE_INT64,
             TYPE_INT64, TYPE_INT64, TYPE_INT64, TYPE_FLOAT),
    OPERATOR("SlotAttention", 8, 2, slot_attention_create, slot_attention_compute, TYPE_FLOAT, TYPE_FLOAT16, TYPE_FLOAT16,
             TYPE_INT32, TYPE_FLOAT, TYPE_FLOAT, TYPE_FLOAT, TYPE_FLOAT),
    OPERATOR("SwiGLU", 1, 0, swiglu_create, swiglu_compute, TYPE_FLOAT),
};

/* Does this processor have what the kernels were compiled for? Asked before the library is registered. */
int xpm_is_supported(void) {
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512vnni");
}

OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->GetApi(ORT_API_VERSION);
    OrtCustomOpDomain *domain = NULL; /* lives as long as the process, as the operators do */
    OrtStatus *status = CreateCustomOpDomain(api)("xpm", &domain);
    for (size_t i = 0; i < sizeof operators / sizeof *operators && !status; i++)
        status = CustomOpDomain_Add(api)(domain, &operators[i].base);
    return status ? status : AddCustomOpDomain(api)(options, domain);
}
