/* What every part needs: the clock, and one way to give up. */
#ifndef BENCH_COMMON_H
#define BENCH_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The exit codes of `load`; README.md explains them. */
enum { EXIT_PROVEN = 0, EXIT_BROKEN = 1, EXIT_CANNOT = 2, EXIT_WATCHDOG = 3 };

/* The machine's monotonic clock, nanoseconds. */
uint64_t now_ns(void);

/* Say why on stderr and end with EXIT_CANNOT. */
_Noreturn void die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* malloc and realloc that end the program instead of returning NULL. */
void *must_alloc(void *old, size_t size);

/* The same, zeroed. */
void *must_zero(size_t count, size_t size);

/* Raise the number of open files to the hard limit, and say if `wanted` does not fit into it. */
void need_files(size_t wanted);

/* Pin this process to a core; a negative one leaves it where it is. */
void pin_to(int core);

#endif
