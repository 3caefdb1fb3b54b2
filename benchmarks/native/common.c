#include "common.h"

#include <errno.h>
#include <sched.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <time.h>

uint64_t now_ns(void)
{
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return (uint64_t)at.tv_sec * 1000000000u + (uint64_t)at.tv_nsec;
}

void die(const char *format, ...)
{
    va_list values;
    va_start(values, format);
    fputs("error: ", stderr);
    vfprintf(stderr, format, values);
    fputc('\n', stderr);
    va_end(values);
    exit(EXIT_CANNOT);
}

void *must_alloc(void *old, size_t size)
{
    void *block = realloc(old, size);
    if (block == NULL)
        die("out of memory: %zu bytes", size);
    return block;
}

void *must_zero(size_t count, size_t size)
{
    void *block = calloc(count > 0 ? count : 1, size);
    if (block == NULL)
        die("out of memory: %zu times %zu bytes", count, size);
    return block;
}

void need_files(size_t wanted)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0)
        die("cannot read the limit of open files: %s", strerror(errno));
    limit.rlim_cur = limit.rlim_max;
    setrlimit(RLIMIT_NOFILE, &limit);
    if (limit.rlim_cur != RLIM_INFINITY && wanted + 16 > limit.rlim_cur)
        die("%zu connections need more open files than the hard limit of %llu; raise it with `ulimit -Hn` or ask for fewer",
            wanted, (unsigned long long)limit.rlim_cur);
}

void pin_to(int core)
{
    if (core < 0)
        return;
    cpu_set_t cores;
    CPU_ZERO(&cores);
    CPU_SET((size_t)core, &cores);
    if (sched_setaffinity(0, sizeof cores, &cores) != 0)
        die("cannot pin to core %d: %s", core, strerror(errno));
}
