/* Prints the family of kernels that a library chooses on the processor it runs on. */
#include <dlfcn.h>
#include <stdio.h>

int main(int count, char **arguments) {
    void *library = count == 2 ? dlopen(arguments[1], RTLD_NOW) : NULL;
    if (!library) return 1;
    const char *(*kernels)(void) = (const char *(*)(void))dlsym(library, "xpm_kernels");
    puts(kernels());
    return 0;
}
