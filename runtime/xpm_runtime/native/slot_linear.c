/* Shapes and addresses are checked before anything is computed: a graph comes from a package and is not trusted. */
#include <stdlib.h>
#include <string.h>

#include "call.h"
#include "kernels/table.h"
#include "operators.h"
#include "registry.h"

enum { MAX_PARTS = 3, MAX_RANK = 256 };

/* SlotLinear: y = (W x) ⊙ (1 + scales) + bias + offsets + Σ over the row's adapters of scale·(x·Aᵀ)·B
 *
 * W may be several linears over one input, one below the other (`parts`); each has its own slot.
 * W is (num_out, blocks, block bytes) with scales, and perhaps minima, (num_out, blocks), in float32 or both in
 * float16.
 *   slot_table [adapters, linears, 2]: addresses of A and B of each linear of the graph; 0 where an adapter has none
 *   slot_types [adapters, 2]: rank, and 1 if the numbers are float16
 *   row_slots  [rows, n]: the adapters of each row of the batch, -1 for none: the adapter's number in the lower 32
 *     bits, in the upper ones those of its scale as float32, exclusive-or those of 1.0f, so that a plain number acts
 *     as it was trained
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
    float scale;
    AdapterRows a[MAX_PARTS], b[MAX_PARTS];
} Acting;

typedef struct {
    const SlotLinear *op;
    const Kernels *kernels;
    QuantisedMatrix matrix;
    const float *x, *bias;
    const int64_t *row_scales;
    uint8_t *activations;
    float *out, *coefficients;
    size_t num_tokens, per_row, activation_bytes, coefficient_stride;
    Acting *acting;
    size_t num_acting, rank_tiles, num_rank_tasks, columns_per_task, column_tasks, num_rows;
} LinearWork;

enum { RANKS_PER_TASK = 8, ROWS_PER_TASK = 64, COLUMNS_PER_TASK = 512 };

static void quantise_task(void *data, size_t token) {
    LinearWork *work = data;
    const SlotLinear *op = work->op;
    work->kernels->quantise_row(work->x + token * op->num_in, op->num_in, op->block, op->bits,
        work->activations + token * work->activation_bytes);
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
        float *made = work->coefficients + token * work->coefficient_stride + acting->first + part * acting->rank;
        work->kernels->rows_product(work->x + token * op->num_in, work->per_row, op->num_in, acting->a[part], first,
            last, made, work->coefficient_stride);
        for (size_t t = 0; acting->scale != 1.0f && t < work->per_row; t++)
            for (size_t r = first; r < last; r++) made[t * work->coefficient_stride + r] *= acting->scale;
        return;
    }
    size_t first = (index - work->num_rank_tasks) * ROWS_PER_TASK, last = first + ROWS_PER_TASK;
    if (last > op->num_out) last = op->num_out;
    work->kernels->quantised_product(
        &work->matrix, work->activations, work->num_tokens, first, last, work->out, op->num_out);
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
            work->kernels->add_rows(
                work->out + token * op->num_out + start, op->num_out, work->per_row,
                work->coefficients + token * work->coefficient_stride + acting->first + part * acting->rank,
                work->coefficient_stride, acting->b[part], acting->rank, op->parts[part], from - start, end - start);
        }
    }
}

/* The number of an adapter, and its scale. */
static size_t unpack_slot(int64_t slot, float *scale) {
    static const float one = 1.0f;
    uint32_t bits, of_one;
    memcpy(&of_one, &one, sizeof of_one);
    bits = (uint32_t)((uint64_t)slot >> 32) ^ of_one;
    memcpy(scale, &bits, sizeof bits);
    return (size_t)((uint64_t)slot & UINT32_MAX);
}

static void find_acting(
    Call *call, LinearWork *work, const Tensor *table, const Tensor *types, const Tensor *row_slots) {
    const SlotLinear *op = work->op;
    size_t per_row = row_slots->num_dims == 2 ? (size_t)row_slots->dims[1] : 0, num_adapters = (size_t)table->dims[0];
    require(call, table->num_dims == 3 && table->dims[2] == 2, "slot_table must be (adapters, linears, 2)");
    require(call, types->size == 2 * num_adapters, "slot_types must be (adapters, 2)");
    require(call, op->first_linear + op->num_parts <= table->dims[1], "slot_table has too few linears");
    if (call->status || row_slots->size == 0) return;
    work->acting = scratch(call, ACTING, row_slots->size * sizeof(Acting));
    if (call->status) return;
    size_t largest = 0;
    for (size_t row = 0; row < work->num_rows; row++) {
        size_t first = 0;
        for (size_t i = 0; i < per_row; i++) {
            int64_t slot = ((int64_t *)row_slots->data)[row * per_row + i];
            if (slot == -1) continue;
            float scale;
            size_t adapter = unpack_slot(slot, &scale);
            require(call, adapter < num_adapters, "row_slots names an adapter that is not in slot_table");
            if (call->status) return;
            const int64_t *type = (int64_t *)types->data + 2 * adapter;
            const int64_t *places =
                (int64_t *)table->data + 2 * (adapter * (size_t)table->dims[1] + (size_t)op->first_linear);
            require(call, type[0] >= 0 && type[0] <= MAX_RANK, "an adapter's rank is out of bounds");
            if (call->status) return;
            Acting acting = {.row = row, .rank = (size_t)type[0], .first = first, .scale = scale};
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
    if (work->num_acting)
        work->coefficients = scratch(call, COEFFICIENTS, work->num_tokens * work->coefficient_stride * sizeof(float));
}

OrtStatus *slot_linear_compute(void *kernel, OrtKernelContext *context) {
    const SlotLinear *op = kernel;
    Call call = {op->api, context, NULL};
    Tensor x = input(&call, 0), packed = input(&call, 1), scales = input(&call, 2), table = input(&call, 3);
    Tensor types = input(&call, 4), row_slots = input(&call, 5), row_scales = input(&call, 6), bias = input(&call, 7);
    Tensor minima = input(&call, 8), half_scales = input(&call, 9), half_minima = input(&call, 10);
    if (call.status) return call.status;
    size_t blocks = (op->num_in + op->block - 1) / op->block;
    require(&call, x.num_dims >= 1 && (size_t)x.dims[x.num_dims - 1] == op->num_in, "x must end in num_in");
    require(&call, packed.size == op->num_out * op->num_in * op->bits / 8, "the weights' size is not num_out x num_in");
    int is_half = half_scales.data != NULL;
    if (is_half) scales = half_scales, minima = half_minima;
    require(&call, !is_half || blocks <= MAX_HALF_BLOCKS, "a row has too many blocks for scales in float16");
    require(&call, scales.data && scales.size == op->num_out * blocks, "the scales' size is not num_out x blocks");
    require(&call, !minima.data || minima.size == scales.size, "there must be a minimum for each scale");
    require(&call, !bias.data || bias.size == op->num_out, "bias must have num_out numbers");
    if (call.status) return call.status;
    LinearWork work = {
        .op = op, .kernels = kernels(), .x = x.data, .bias = bias.data, .num_tokens = x.size / op->num_in,
        .matrix = {packed.data, scales.data, minima.data, op->num_in, op->num_out, op->block, op->bits, is_half}};
    work.activation_bytes = work.kernels->row_bytes(op->num_in, op->block, op->bits);
    work.out = output_like(&call, &x, (int64_t)op->num_out);
    work.activations = scratch(&call, ACTIVATIONS, work.num_tokens * work.activation_bytes);
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

OrtStatus *slot_linear_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op;
    SlotLinear *made = calloc(1, sizeof *made);
    if (!made) return refuse(api, "there is not enough memory");
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
    int holds = (int64_t)made->num_in > 0 && made->num_in % 2 == 0 && (int64_t)made->num_out > 0 &&
        (made->bits == 4 || made->bits == 8) && made->block >= 32 && (made->block & (made->block - 1)) == 0 &&
        (made->first_linear < 0 || total == made->num_out);
    if (!holds) {
        free(made);
        return refuse(api, "SlotLinear has attributes that it can't compute with");
    }
    *kernel = made;
    return NULL;
}
