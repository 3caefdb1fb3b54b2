/* fanout, latency, slow: one publisher, many listeners. */
#include <string.h>

#include "common.h"
#include "feed.h"
#include "modes.h"
#include "result.h"

static int judge(const struct verdict *verdict)
{
    return verdict->lost + verdict->doubled + verdict->reordered == 0 ? EXIT_PROVEN : EXIT_BROKEN;
}

static int run(const struct options *options, unsigned window, double rate)
{
    struct loop loop;
    struct feed feed;
    loop_init(&loop, options);
    loop.handlers.event = feed_event;
    need_files((size_t)options->channels * options->listeners + options->publishers);
    feed_open(&loop, &feed, options->channels, options->listeners, options->publishers, window, rate,
              options->warmup + options->seconds);
    feed_start(&loop, &feed);
    feed_run(&loop, &feed, options->warmup);
    feed_measure(&loop, &feed);
    feed_run(&loop, &feed, options->seconds);
    feed_stop(&loop, &feed);
    struct verdict verdict = feed_prove(&feed);
    result_begin(options);
    feed_result(&feed, &verdict);
    result_end();
    feed_close(&loop, &feed);
    return judge(&verdict);
}

int mode_fanout(const struct options *options)
{
    return run(options, options->window, 0);
}

int mode_latency(const struct options *options)
{
    return run(options, 0, options->rate);
}

/* What became of those that did not read. */
struct slow {
    struct conn *conns;
    size_t count, ended;
};

static void slow_ended(struct loop *loop, struct conn *conn)
{
    struct slow *slow = loop->mode;
    (void)conn;
    slow->ended++;
}

/* Offsets count the channel's events from 1 on, ours from where the subscription began. */
static void slow_told(struct loop *loop, struct conn *conn, uint64_t from, uint64_t to)
{
    uint64_t start = conn->position->offset;
    (void)loop;
    if (!conn->may_close)
        die("slow: a listener that reads was told of a gap from %llu to %llu", (unsigned long long)from,
            (unsigned long long)to);
    if (from < start || to - start > UINT32_MAX || to <= from)
        die("slow: a gap from %llu to %llu, although the subscription began at %llu", (unsigned long long)from,
            (unsigned long long)to, (unsigned long long)start);
    proof_tell(&conn->proof, (uint32_t)(from - start), (uint32_t)(to - start - 1));
}

static void slow_ready(struct loop *loop, struct conn *conn)
{
    if (conn->may_close)
        conn_pause(loop, conn, true);
}

/* Let the slow ones read at last, until each has ended, caught up, or heard nothing more. */
static void slow_read(struct loop *loop, struct slow *slow)
{
    for (size_t i = 0; i < slow->count; i++)
        if (slow->conns[i].state == STATE_READY)
            conn_pause(loop, &slow->conns[i], false);
    loop->now = now_ns();
    for (;;) {
        size_t done = 0;
        for (size_t i = 0; i < slow->count; i++)
            done += slow->conns[i].state == STATE_CLOSED || slow->conns[i].proof.next == loop->feed->channels[0].next;
        /* Any read is progress: one message of what has waited may be longer than many reads. */
        if (done == slow->count || (double)(now_ns() - loop->now) > loop->options->stall * 1e9)
            return;
        loop_turn(loop, 1);
    }
}

int mode_slow(const struct options *options)
{
    struct loop loop;
    struct feed feed;
    struct slow slow = {.conns = must_zero(options->slow, sizeof(struct conn)), .count = options->slow};
    struct position *positions = must_zero(options->slow, sizeof *positions);
    loop_init(&loop, options);
    need_files((size_t)options->listeners + options->slow + options->publishers);
    loop.mode = &slow;
    loop.handlers = (struct handlers){.event = feed_event, .ready = slow_ready, .closed = slow_ended, .gap = slow_told};
    for (size_t i = 0; i < slow.count; i++) {
        struct conn *conn = &slow.conns[i];
        conn->role = ROLE_LISTENER;
        conn->may_close = true;
        conn->number = (uint32_t)i;
        conn->token = options->listeners + options->publishers + (uint32_t)i;
        conn->position = &positions[i];
    }
    conn_open_all(&loop, slow.conns, slow.count, options->parallel);
    feed_open(&loop, &feed, 1, options->listeners, options->publishers, options->rate > 0 ? 0 : options->window,
              options->rate, options->warmup + options->seconds);
    feed_start(&loop, &feed);
    feed_run(&loop, &feed, options->warmup);
    feed_measure(&loop, &feed);
    feed_run(&loop, &feed, options->seconds);
    feed_stop(&loop, &feed);
    struct verdict verdict = feed_prove(&feed);
    slow_read(&loop, &slow);
    uint64_t caught_up = 0, told = 0, silent = 0, doubled = 0, reordered = 0;
    for (size_t i = 0; i < slow.count; i++) {
        const struct conn *conn = &slow.conns[i];
        /* A connection that was ended ended with a reason and comes back; what lies before its end must be whole. */
        uint64_t lost = proof_lost(&conn->proof, conn->state == STATE_CLOSED ? 0 : feed.channels[0].next);
        silent += lost;
        told += conn->proof.told;
        doubled += conn->proof.doubled;
        reordered += conn->proof.reordered;
        caught_up += conn->state != STATE_CLOSED && lost == 0;
    }
    result_begin(options);
    feed_result(&feed, &verdict);
    result_number("slow", slow.count);
    result_number("slow_ended", slow.ended);
    result_number("slow_caught_up", caught_up);
    result_number("slow_told", told);
    result_number("slow_lost", silent);
    result_number("slow_doubled", doubled);
    result_number("slow_reordered", reordered);
    result_end();
    feed_close(&loop, &feed);
    return silent + doubled + reordered == 0 ? judge(&verdict) : EXIT_BROKEN;
}
