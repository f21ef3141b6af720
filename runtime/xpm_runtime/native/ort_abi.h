/* The part of ONNX Runtime's C ABI that a custom operator needs.
 *
 * The table of functions is append-only by contract: a function keeps its place in every later release. Only the places
 * used here are named; everything is plain C, so no header of ONNX Runtime is needed to compile.
 */
#pragma once
#include <stddef.h>
#include <stdint.h>

typedef struct OrtStatus OrtStatus;
typedef struct OrtValue OrtValue;
typedef struct OrtKernelInfo OrtKernelInfo;
typedef struct OrtKernelContext OrtKernelContext;
typedef struct OrtSessionOptions OrtSessionOptions;
typedef struct OrtTensorTypeAndShapeInfo OrtTensorTypeAndShapeInfo;
typedef struct OrtCustomOpDomain OrtCustomOpDomain;
typedef struct OrtCustomOp OrtCustomOp;
typedef struct OrtApi { void *functions[275]; } OrtApi;
typedef struct OrtApiBase {
    const OrtApi *(*GetApi)(uint32_t version);
    const char *(*GetVersionString)(void);
} OrtApiBase;

enum { ORT_API_VERSION = 16 };
enum { ORT_INVALID_ARGUMENT = 2 };
enum { TYPE_FLOAT = 1, TYPE_UINT8 = 2, TYPE_INT32 = 6, TYPE_INT64 = 7, TYPE_FLOAT16 = 10 };
enum { INPUT_REQUIRED = 0, INPUT_OPTIONAL = 1 };

struct OrtCustomOp {
    uint32_t version;
    void *(*CreateKernel)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *);
    const char *(*GetName)(const OrtCustomOp *);
    const char *(*GetExecutionProviderType)(const OrtCustomOp *);
    int (*GetInputType)(const OrtCustomOp *, size_t);
    size_t (*GetInputTypeCount)(const OrtCustomOp *);
    int (*GetOutputType)(const OrtCustomOp *, size_t);
    size_t (*GetOutputTypeCount)(const OrtCustomOp *);
    void (*KernelCompute)(void *, OrtKernelContext *);
    void (*KernelDestroy)(void *);
    int (*GetInputCharacteristic)(const OrtCustomOp *, size_t);
    int (*GetOutputCharacteristic)(const OrtCustomOp *, size_t);
    int (*GetInputMemoryType)(const OrtCustomOp *, size_t);
    int (*GetVariadicInputMinArity)(const OrtCustomOp *);
    int (*GetVariadicInputHomogeneity)(const OrtCustomOp *);
    int (*GetVariadicOutputMinArity)(const OrtCustomOp *);
    int (*GetVariadicOutputHomogeneity)(const OrtCustomOp *);
    OrtStatus *(*CreateKernelV2)(const OrtCustomOp *, const OrtApi *, const OrtKernelInfo *, void **kernel);
    OrtStatus *(*KernelComputeV2)(void *, OrtKernelContext *);
};

/* Places in the table, with the signatures they are called by. */
#define ORT_CALL(api, place, result, ...) ((result(*)(__VA_ARGS__))(api)->functions[place])
#define CreateStatus(api) ORT_CALL(api, 0, OrtStatus *, int, const char *)
#define CreateCustomOpDomain(api) ORT_CALL(api, 26, OrtStatus *, const char *, OrtCustomOpDomain **)
#define CustomOpDomain_Add(api) ORT_CALL(api, 27, OrtStatus *, OrtCustomOpDomain *, const OrtCustomOp *)
#define AddCustomOpDomain(api) ORT_CALL(api, 28, OrtStatus *, OrtSessionOptions *, OrtCustomOpDomain *)
#define GetTensorMutableData(api) ORT_CALL(api, 51, OrtStatus *, OrtValue *, void **)
#define GetDimensionsCount(api) ORT_CALL(api, 61, OrtStatus *, const OrtTensorTypeAndShapeInfo *, size_t *)
#define GetDimensions(api) ORT_CALL(api, 62, OrtStatus *, const OrtTensorTypeAndShapeInfo *, int64_t *, size_t)
#define GetTensorTypeAndShape(api) ORT_CALL(api, 65, OrtStatus *, const OrtValue *, OrtTensorTypeAndShapeInfo **)
#define KernelInfoGetAttribute_float(api) ORT_CALL(api, 85, OrtStatus *, const OrtKernelInfo *, const char *, float *)
#define KernelInfoGetAttribute_int64(api) ORT_CALL(api, 86, OrtStatus *, const OrtKernelInfo *, const char *, int64_t *)
#define KernelContext_GetInput(api) ORT_CALL(api, 90, OrtStatus *, const OrtKernelContext *, size_t, const OrtValue **)
#define KernelContext_GetOutput(api) \
    ORT_CALL(api, 91, OrtStatus *, OrtKernelContext *, size_t, const int64_t *, size_t, OrtValue **)
#define ReleaseStatus(api) ORT_CALL(api, 93, void, OrtStatus *)
#define ReleaseTensorTypeAndShapeInfo(api) ORT_CALL(api, 99, void, OrtTensorTypeAndShapeInfo *)
#define KernelContext_ParallelFor(api) \
    ORT_CALL(api, 274, OrtStatus *, const OrtKernelContext *, void (*)(void *, size_t), size_t, size_t, void *)
