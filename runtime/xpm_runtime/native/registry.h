/* Memory that operators may follow addresses into. A graph comes from a package: an address in a tensor is believed
 * only if the runtime has said that it leads into memory of its own, long enough, and writable where it is written. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "export.h"

/* 1 if the whole of `address .. address + size` was allowed (and for writing, if `is_written`). */
int is_allowed(const void *address, size_t size, int is_written);

/* How a row of a cache is kept: keys and values in float16 (16), both in whole numbers of 8 bits, or values in 4. With
 * a `window` above 0 a token looks at so many of the last ones, itself among them, and at the `sinks` first: the window
 * is 16 at least, and the sinks are at most half of that. */
typedef struct { int32_t key_bits, value_bits, window, sinks; } RowLayout;

/* How the row at `address` and those behind it are kept; NULL if that was not said of rows of this size there. */
const RowLayout *layout_of(const void *address, size_t row_bytes);

/* Called by the runtime. 0 if there is no memory to remember it. Ranges do not overlap. */
EXPORT int xpm_allow(uintptr_t address, size_t size, int is_writable);
EXPORT void xpm_forbid(uintptr_t address);

/* Say of an allowed range how its rows, of `row_bytes` each, are kept; `rows` is read at each run, and outlives the
 * range. */
EXPORT int xpm_describe(uintptr_t address, const RowLayout *rows, size_t row_bytes);
