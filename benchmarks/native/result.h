/* The one JSON object that a run prints, field by field. */
#ifndef BENCH_RESULT_H
#define BENCH_RESULT_H

#include <stdint.h>

#include "histogram.h"
#include "loop.h"

/* Begin with the mode and the dialect. */
void result_begin(const struct options *options);

void result_number(const char *name, uint64_t value);

void result_real(const char *name, double value);

void result_text(const char *name, const char *value);

/* p50, p90, p99, p999 and max, in nanoseconds; null if there are none. */
void result_times(const char *name, const struct histogram *times);

/* The same of several, in a list. */
void result_times_list(const char *name, const struct histogram *times, size_t count);

/* How many requests were refused and why the first one was. */
void result_refusals(const struct loop *loop);

void result_end(void);

/* With --marks: one line of JSON on stdout now, `{"mark":name,"at":nanoseconds}`, for who measures the server. */
void result_mark(const struct options *options, const char *name);

#endif
