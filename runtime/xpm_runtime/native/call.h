/* A call of an operator: its tensors, its threads, its memory, and the first thing that went wrong. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "ort_abi.h"

enum { MAX_DIMS = 8 };

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

void fail(Call *call, const char *message);
void require(Call *call, int holds, const char *message);

/* An operator's input, `data` NULL if it is absent or the call has failed. */
Tensor input(Call *call, size_t index);

/* The output, with the dimensions of `like`, but `last` in the end. */
float *output_like(Call *call, const Tensor *like, int64_t last);

/* Do a task `count` times on the session's own threads. */
void parallel(Call *call, void (*task)(void *, size_t), size_t count, void *work);

/* Memory that a thread keeps from run to run, and that is freed when the thread ends. What each is for: */
enum { ACTIVATIONS, COEFFICIENTS, ACTING, HEADS, FOR_SINKS, SCORES, KEPT };

/* `bytes` of this thread's memory number `which`; NULL if there are none. */
void *thread_memory(int which, size_t bytes);

/* The same for a call, which fails if there is not enough. */
void *scratch(Call *call, int which, size_t bytes);

/* A number of a node, `otherwise` if it is absent; 0, which no operator takes for a size, if it is out of all
 * bounds. */
int64_t attribute(const OrtApi *api, const OrtKernelInfo *info, const char *name, int64_t otherwise);

/* A failure to make an operator. */
OrtStatus *refuse(const OrtApi *api, const char *message);
