#include "result.h"

#include <inttypes.h>
#include <stdio.h>

#include "common.h"
#include "dialect.h"

static void text(const char *value)
{
    putchar('"');
    for (const unsigned char *at = (const unsigned char *)value; *at != '\0'; at++) {
        if (*at == '"' || *at == '\\')
            printf("\\%c", *at);
        else if (*at < 0x20 || *at > 0x7e) /* a server's words may be anything; what is shown is readable */
            putchar('?');
        else
            putchar(*at);
    }
    putchar('"');
}

void result_begin(const struct options *options)
{
    printf("{\"mode\":\"%s\",\"dialect\":\"%s\"", options->mode, options->dialect->name);
}

void result_number(const char *name, uint64_t value)
{
    printf(",\"%s\":%" PRIu64, name, value);
}

void result_real(const char *name, double value)
{
    printf(",\"%s\":%.6f", name, value);
}

void result_text(const char *name, const char *value)
{
    printf(",\"%s\":", name);
    text(value);
}

static void print_times(const struct histogram *times)
{
    if (times->count == 0) {
        printf("null");
        return;
    }
    printf("{\"p50\":%" PRIu64 ",\"p90\":%" PRIu64 ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64 ",\"max\":%" PRIu64 "}",
           histogram_at(times, 0.5), histogram_at(times, 0.9), histogram_at(times, 0.99), histogram_at(times, 0.999),
           times->max);
}

void result_times(const char *name, const struct histogram *times)
{
    printf(",\"%s\":", name);
    print_times(times);
}

void result_times_list(const char *name, const struct histogram *times, size_t count)
{
    printf(",\"%s\":[", name);
    for (size_t i = 0; i < count; i++) {
        if (i > 0)
            putchar(',');
        print_times(&times[i]);
    }
    putchar(']');
}

void result_refusals(const struct loop *loop)
{
    result_number("refused", loop->refusals);
    if (loop->refusals > 0)
        result_text("refusal", loop->refusal);
}

void result_end(void)
{
    puts("}");
    fflush(stdout);
}

void result_mark(const struct options *options, const char *name)
{
    if (options->verbose)
        fprintf(stderr, "%s: %s\n", options->mode, name);
    if (!options->marks)
        return;
    printf("{\"mark\":\"%s\",\"at\":%" PRIu64 "}\n", name, now_ns());
    fflush(stdout);
}
