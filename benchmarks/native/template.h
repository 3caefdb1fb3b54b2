/* A frame with marks in it, to be sent again and again. */
#ifndef BENCH_TEMPLATE_H
#define BENCH_TEMPLATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stamp.h"

#define TEMPLATE_PARTS 32

/* Text, then what the mark behind it stands for, and so on. */
struct template {
    char *text;
    size_t size; /* the most that one filled frame can have */
    int count;
    bool has_stamp;
    struct {
        const char *text;
        size_t size;
        enum { MARK_NONE, MARK_ID, MARK_KEY, MARK_CALLER, MARK_CHANNEL, MARK_STAMP } mark;
    } parts[TEMPLATE_PARTS];
};

/* Read it from a file; ends the program if the file cannot be read or has no @ID@. */
void template_read(struct template *template, const char *path);

/* One of a file with several: `text` is kept. */
void template_parse(struct template *template, char *text, const char *path);

/* The text of a file; ends the program if it cannot be read. */
char *template_file(const char *path);

/* Fill it: `@ID@` is the call's id, `@CALLER@` the connection's number, `@KEY@` a new idempotency key, `@CHANNEL@` and
 * `@STAMP@` what `stamp` says. Returns the size; `out` has room for `template->size`. */
size_t template_fill(const struct template *template, char *out, uint64_t id, uint32_t caller, const struct stamp *stamp);

#endif
