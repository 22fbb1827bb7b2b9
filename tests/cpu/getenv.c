/* oneDNN's ISA limit for torch alone: OpenVINO has a oneDNN, too, but asks the CPU itself what to plan for, and fails where
 * the two disagree ("could not create a primitive descriptor"). Preloaded, this answers torch's library from
 * TORCH_ONEDNN_MAX_CPU_ISA. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <string.h>

char *getenv(const char *name) {
    static char *(*next)(const char *);
    if (!next) next = (char *(*)(const char *))dlsym(RTLD_NEXT, "getenv");
    Dl_info caller;
    if (strcmp(name, "ONEDNN_MAX_CPU_ISA") == 0 && dladdr(__builtin_return_address(0), &caller) && caller.dli_fname &&
        strstr(caller.dli_fname, "libtorch_cpu"))
        return next("TORCH_ONEDNN_MAX_CPU_ISA");
    return next(name);
}
