/* What the library offers to ONNX Runtime and to Python; everything else is hidden. */
#pragma once
#define EXPORT __attribute__((visibility("default")))
