/* The operators: each is made from a node's attributes, then computes any number of times. */
#pragma once
#include "ort_abi.h"

OrtStatus *slot_linear_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
OrtStatus *slot_linear_compute(void *kernel, OrtKernelContext *context);
OrtStatus *slot_attention_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
OrtStatus *slot_attention_compute(void *kernel, OrtKernelContext *context);
OrtStatus *swiglu_create(const OrtCustomOp *op, const OrtApi *api, const OrtKernelInfo *info, void **kernel);
OrtStatus *swiglu_compute(void *kernel, OrtKernelContext *context);
