#include "call.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

enum { BATCHES = 16 };

void fail(Call *call, const char *message) {
    if (!call->status) call->status = CreateStatus(call->api)(ORT_INVALID_ARGUMENT, message);
}

void require(Call *call, int holds, const char *message) {
    if (!holds) fail(call, message);
}

Tensor input(Call *call, size_t index) {
    Tensor tensor = {0};
    const OrtValue *value = NULL;
    OrtTensorTypeAndShapeInfo *shape = NULL;
    if (call->status || (call->status = KernelContext_GetInput(call->api)(call->context, index, &value)) || !value)
        return tensor;
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

float *output_like(Call *call, const Tensor *like, int64_t last) {
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

void parallel(Call *call, void (*task)(void *, size_t), size_t count, void *work) {
    if (call->status || count == 0) return;
    size_t batches = count < BATCHES ? count : BATCHES;
    call->status = KernelContext_ParallelFor(call->api)(call->context, task, count, batches, work);
}

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

void *thread_memory(int which, size_t bytes) {
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

void *scratch(Call *call, int which, size_t bytes) {
    void *data = thread_memory(which, bytes);
    if (!data && bytes) fail(call, "there is not enough memory");
    return data;
}

int64_t attribute(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t otherwise) {
    int64_t value = otherwise;
    OrtStatus *status = KernelInfoGetAttribute_int64(api)(info, name, &value);
    if (status) {
        ReleaseStatus(api)(status);
        return otherwise;
    }
    return value >= -1 && value <= INT32_MAX ? value : 0;
}

OrtStatus *refuse(const OrtApi *api, const char *message) { return CreateStatus(api)(ORT_INVALID_ARGUMENT, message); }
