/* Times in buckets that grow with the value: 1.6 % exact from nanoseconds to hours, in 30 KB however many are added. */
#ifndef BENCH_HISTOGRAM_H
#define BENCH_HISTOGRAM_H

#include <stdint.h>

#define HISTOGRAM_STEPS 64 /* buckets per power of two */
#define HISTOGRAM_BUCKETS (HISTOGRAM_STEPS * 59)

struct histogram {
    uint64_t count;
    uint64_t max;
    uint64_t buckets[HISTOGRAM_BUCKETS];
};

/* Count one time. */
void histogram_add(struct histogram *histogram, uint64_t nanoseconds);

/* The time below which this share (0 to 1) lies: a bucket's upper end, never above the largest; 0 if there are none. */
uint64_t histogram_at(const struct histogram *histogram, double share);

#endif
