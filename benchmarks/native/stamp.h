/* The payload: one line of JSON that carries when it was sent, its number, and its channel. */
#ifndef BENCH_STAMP_H
#define BENCH_STAMP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define STAMP_SMALLEST 64 /* bytes of payload that hold a stamp whatever the clock says */
#define STAMP_LARGEST 16384

struct stamp {
    uint64_t at; /* monotonic nanoseconds of the sender */
    uint32_t number;
    uint32_t channel;
};

#define STAMP_TEXT 30 /* characters of the text that is found and read */

/* Write that text alone, without quotes and without an end. */
void stamp_text(char *out, const struct stamp *stamp);

/* Write a payload of exactly `size` bytes (STAMP_SMALLEST to STAMP_LARGEST) to `out`. */
void stamp_write(char *out, size_t size, const struct stamp *stamp);

/* Find and read the stamp in a delivery, wherever the server has put it. `hint` is where the last one was found:
 * deliveries of one run look alike, so that the search is nearly always over before it begins. */
bool stamp_read(const char *data, size_t size, size_t *hint, struct stamp *stamp);

#endif
