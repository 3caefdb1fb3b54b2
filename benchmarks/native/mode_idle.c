/* idle, connects: what a connection costs to keep and to make. */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "feed.h"
#include "modes.h"
#include "result.h"

#define TURN_MS 100

/* Whether stdin was closed; what is written to it says nothing. */
static bool released(void)
{
    char ignored[256];
    struct pollfd input = {.fd = STDIN_FILENO, .events = POLLIN};
    return poll(&input, 1, 0) > 0 && read(STDIN_FILENO, ignored, sizeof ignored) <= 0;
}

int mode_idle(const struct options *options)
{
    struct loop loop;
    struct options calm = *options;
    calm.spin = false; /* it holds still; a spinning one would only warm the machine */
    loop_init(&loop, &calm);
    need_files(options->connections);
    struct conn *conns = must_zero(options->connections, sizeof *conns);
    for (size_t i = 0; i < options->connections; i++) {
        conns[i].role = ROLE_LISTENER;
        conns[i].number = conns[i].token = (uint32_t)i;
        conns[i].channel = (uint32_t)(options->subscriptions > 1 ? i * options->subscriptions : i % options->channels);
    }
    uint64_t began = now_ns();
    conn_open_all(&loop, conns, options->connections, options->parallel);
    result_begin(options);
    result_number("connections", options->connections);
    result_number("channels", options->channels);
    result_real("seconds", (double)(now_ns() - began) / 1e9);
    result_end();
    while (!released())
        loop_turn(&loop, TURN_MS); /* answers pings; a connection that is lost ends the program with the reason */
    for (size_t i = 0; i < options->connections; i++)
        conn_close(&loop, &conns[i]);
    return EXIT_PROVEN;
}

struct connects {
    uint64_t count;
    bool measuring;
    struct histogram times;
    struct conn **done; /* to be opened again, once this turn's events are handled */
    size_t done_count;
};

static void connects_ready(struct loop *loop, struct conn *conn)
{
    struct connects *connects = loop->mode;
    if (connects->measuring) {
        connects->count++;
        histogram_add(&connects->times, now_ns() - conn->began);
    }
    conn_close(loop, conn);
    connects->done[connects->done_count++] = conn;
}

static void connects_run(struct loop *loop, struct connects *connects, double seconds)
{
    uint64_t now = now_ns(), end = now + (uint64_t)(seconds * 1e9), progress = now;
    while ((now = now_ns()) < end) {
        if (connects->done_count > 0)
            progress = now;
        else if ((double)(now - progress) > loop->options->stall * 1e9)
            die("connects: no connection gets ready any more");
        for (size_t i = 0; i < connects->done_count; i++) {
            connects->done[i]->token += loop->options->parallel;
            conn_open(loop, connects->done[i]);
        }
        connects->done_count = 0;
        loop_turn(loop, 1);
    }
}

int mode_connects(const struct options *options)
{
    struct loop loop;
    static struct connects connects;
    loop_init(&loop, options);
    need_files(options->parallel);
    loop.mode = &connects;
    loop.handlers.ready = connects_ready;
    struct conn *conns = must_zero(options->parallel, sizeof *conns);
    connects.done = must_zero(options->parallel, sizeof(struct conn *));
    for (unsigned i = 0; i < options->parallel; i++) {
        conns[i].role = ROLE_VISITOR;
        conns[i].number = conns[i].token = conns[i].channel = i;
        conn_open(&loop, &conns[i]);
    }
    connects_run(&loop, &connects, options->warmup);
    result_mark(options, "begin");
    connects.measuring = true;
    uint64_t from = now_ns(), idle = loop.idle;
    connects_run(&loop, &connects, options->seconds);
    uint64_t to = now_ns();
    idle = loop.idle - idle;
    result_mark(options, "end");
    for (unsigned i = 0; i < options->parallel; i++)
        conn_close(&loop, &conns[i]);
    double seconds = (double)(to - from) / 1e9;
    result_begin(options);
    result_number("connections", connects.count);
    result_number("parallel", options->parallel);
    result_real("seconds", seconds);
    result_real("connections_per_second", (double)connects.count / seconds);
    result_real("generator_busy", 1 - (double)idle / 1e9 / seconds);
    result_times("connect_ns", &connects.times);
    result_end();
    return EXIT_PROVEN;
}
