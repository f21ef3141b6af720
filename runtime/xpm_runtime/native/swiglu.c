#include <stdlib.h>

#include "call.h"
#include "kernels/table.h"
#include "operators.h"

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
    kernels()->swiglu(gate, gate + work->width, work->out + token * work->width + first, count < PIECE ? count : PIECE);
}

OrtStatus *swiglu_compute(void *kernel, OrtKernelContext *context) {
    Call call = {((SwiGlu *)kernel)->api, context, NULL};
    Tensor x = input(&call, 0);
    if (call.status) return call.status;
    require(&call, x.num_dims >= 1 && x.dims[x.num_dims - 1] > 0 && x.dims[x.num_dims - 1] % 2 == 0,
        "x must have an even width");
    if (call.status) return call.status;
    size_t width = (size_t)x.dims[x.num_dims - 1] / 2, tokens = x.size / (2 * width);
    SwiGluWork work = {x.data, output_like(&call, &x, (int64_t)width), width, (width + PIECE - 1) / PIECE};
    if (tokens == 1 && !call.status)
        for (size_t piece = 0; piece < work.pieces; piece++) swiglu_task(&work, piece);
    else
        parallel(&call, swiglu_task, tokens * work.pieces, &work);
    return call.status;
}

OrtStatus *swiglu_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel) {
    (void)op, (void)info;
    SwiGlu *made = malloc(sizeof *made);
    if (!made) return refuse(api, "there is not enough memory");
    made->api = api;
    *kernel = made;
    return NULL;
}
