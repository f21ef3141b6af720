/* The custom operators of a native graph, in the domain `xpm`: what ONNX Runtime is told of them. */
#include "operators.h"

#include <stdlib.h>

#include "export.h"
#include "kernels/table.h"
#include "ort_abi.h"

/* Raised whenever a graph or the runtime would notice a change: the runtime refuses a library of another version. */
EXPORT int xpm_version(void) { return 3; }

/* The family of kernels in use, and a choice of another by its name (0 if this processor or this library has it
 * not). */
EXPORT const char *xpm_kernels(void) { return kernels()->name; }
EXPORT int xpm_use_kernels(const char *name) { return use_kernels(name); }

/* What ONNX Runtime asks of an operator. Inputs whose bit is in `optional` may be absent. */
typedef struct {
    OrtCustomOp base;
    const char *name;
    size_t num_inputs;
    unsigned optional;
    int types[11];
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
    return of->optional >> i & 1 ? INPUT_OPTIONAL : INPUT_REQUIRED;
}

#define OPERATOR(label, inputs, optional, create, compute, ...)                                                     \
    {{ORT_API_VERSION, NULL, get_name, get_provider, input_type, count_inputs, output_type, count_outputs, NULL, free, \
      input_kind, zero_of, zero_of, one, one, one, one, create, compute},                                             \
     label, inputs, optional, {__VA_ARGS__}}

static const Operator operators[] = {
    OPERATOR("SlotLinear", 11, 0x784, slot_linear_create, slot_linear_compute, TYPE_FLOAT, TYPE_UINT8, TYPE_FLOAT,
        TYPE_INT64, TYPE_INT64, TYPE_INT64, TYPE_INT64, TYPE_FLOAT, TYPE_FLOAT, TYPE_FLOAT16, TYPE_FLOAT16),
    OPERATOR("SlotAttention", 8, 0xc0, slot_attention_create, slot_attention_compute, TYPE_FLOAT, TYPE_FLOAT16,
        TYPE_FLOAT16, TYPE_INT32, TYPE_FLOAT, TYPE_FLOAT, TYPE_FLOAT, TYPE_FLOAT),
    OPERATOR("SwiGLU", 1, 0, swiglu_create, swiglu_compute, TYPE_FLOAT),
};

EXPORT OrtStatus *RegisterCustomOps(OrtSessionOptions *options, const OrtApiBase *base) {
    const OrtApi *api = base->GetApi(ORT_API_VERSION);
    OrtCustomOpDomain *domain = NULL; /* lives as long as the process, as the operators do */
    OrtStatus *status = CreateCustomOpDomain(api)("xpm", &domain);
    for (size_t i = 0; i < sizeof operators / sizeof *operators && !status; i++)
        status = CustomOpDomain_Add(api)(domain, &operators[i].base);
    return status ? status : AddCustomOpDomain(api)(options, domain);
}
