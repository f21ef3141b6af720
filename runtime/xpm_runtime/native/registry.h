/* Memory that operators may follow addresses into. A graph comes from a package: an address in a tensor is believed only if
 * the runtime has said that it leads into memory of its own, long enough, and writable where it is written. */
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "export.h"

/* 1 if the whole of `address .. address + size` was allowed (and for writing, if `is_written`). */
int is_allowed(const void *address, size_t size, int is_written);

/* Called by the runtime. 0 if there is no memory to remember it. Ranges do not overlap. */
EXPORT int xpm_allow(uintptr_t address, size_t size, int is_writable);
EXPORT void xpm_forbid(uintptr_t address);
