/* Which family of kernels is used. Compiled for the oldest processor: it must run where no family but the generic one
 * does. */
#include "table.h"

#include <stdatomic.h>
#include <string.h>

#if defined(__aarch64__) && defined(__linux__)
#include <sys/auxv.h>
#endif

extern const Kernels generic_kernels;
#ifdef XPM_HAS_AVX512VNNI
extern const Kernels avx512vnni_kernels;
#endif
#ifdef XPM_HAS_AVXVNNI
extern const Kernels avxvnni_kernels;
#endif
#ifdef XPM_HAS_AVX2
extern const Kernels avx2_kernels;
#endif
#ifdef XPM_HAS_NEON
extern const Kernels neon_kernels;
#endif

static int is_able(const char *name) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    int has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("f16c");
    if (!strcmp(name, "avx2")) return has_avx2;
    if (!strcmp(name, "avxvnni")) {
        unsigned a = 7, b, c = 1, d; /* leaf 7, subleaf 1, EAX bit 4 */
        __asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
        return has_avx2 && (a >> 4 & 1);
    }
    if (!strcmp(name, "avx512vnni"))
        return __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
            __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl") &&
            __builtin_cpu_supports("avx512vnni");
#elif defined(__aarch64__) && defined(__linux__)
    if (!strcmp(name, "neon")) return (getauxval(AT_HWCAP) >> 20 & 1) != 0; /* ASIMDDP: dot products */
#elif defined(__aarch64__)
    if (!strcmp(name, "neon")) return 1; /* every Apple processor has them */
#endif
    return !strcmp(name, "generic");
}

static const Kernels *const families[] = { /* the best first */
#ifdef XPM_HAS_AVX512VNNI
    &avx512vnni_kernels,
#endif
#ifdef XPM_HAS_AVXVNNI
    &avxvnni_kernels,
#endif
#ifdef XPM_HAS_AVX2
    &avx2_kernels,
#endif
#ifdef XPM_HAS_NEON
    &neon_kernels,
#endif
    &generic_kernels,
};

static _Atomic(const Kernels *) chosen;

const Kernels *kernels(void) {
    const Kernels *found = atomic_load_explicit(&chosen, memory_order_acquire);
    for (size_t i = 0; !found; i++)
        if (is_able(families[i]->name)) atomic_store(&chosen, found = families[i]);
    return found;
}

int use_kernels(const char *name) {
    for (size_t i = 0; i < sizeof families / sizeof *families; i++)
        if (!strcmp(families[i]->name, name) && is_able(name)) return atomic_store(&chosen, families[i]), 1;
    return 0;
}
