/* storm: all listen, all are cut off, events go on, all come back at once and resume. */
#include "common.h"
#include "dialect.h"
#include "feed.h"
#include "modes.h"
#include "result.h"

struct storm {
    struct conn *conns;
    size_t count;
    size_t behind;        /* have not caught up with what was published while they were away */
    uint32_t until;       /* publishes before the return */
    uint64_t returned;    /* when they came back */
    struct histogram ready, caught_up;
};

static void caught_up(struct storm *storm)
{
    storm->behind--;
    histogram_add(&storm->caught_up, now_ns() - storm->returned);
}

static void storm_event(struct loop *loop, struct conn *conn, const struct stamp *stamp)
{
    struct storm *storm = loop->mode;
    bool was_behind = conn->resume && conn->proof.next < storm->until;
    if (!conn->resume) { /* the one that stayed tells when all is published */
        feed_event(loop, conn, stamp);
        return;
    }
    loop->feed->progress = loop->now;
    proof_see(&conn->proof, stamp->number);
    if (was_behind && conn->proof.next >= storm->until)
        caught_up(storm);
}

static void storm_ready(struct loop *loop, struct conn *conn)
{
    struct storm *storm = loop->mode;
    if (!conn->resume)
        return;
    loop->feed->progress = now_ns();
    histogram_add(&storm->ready, loop->feed->progress - storm->returned);
}

/* Turns until nobody is behind, or nothing comes any more. */
static void come_back(struct loop *loop, struct storm *storm)
{
    size_t opened = 0, ready = 0;
    unsigned parallel = loop->options->parallel;
    loop->feed->progress = now_ns();
    while (storm->behind > 0) {
        while (opened < storm->count && opened - ready < parallel)
            conn_open(loop, &storm->conns[opened++]);
        feed_turn(loop, loop->feed);
        while (ready < opened && storm->conns[ready].state == STATE_READY)
            ready++;
        if ((double)(now_ns() - loop->feed->progress) > loop->options->stall * 1e9)
            return;
    }
}

/* Everybody has all that was published so far; or nothing comes any more. */
static void settle(struct loop *loop, const struct storm *storm)
{
    for (size_t done = 0; done < storm->count;) {
        loop_turn(loop, 1);
        while (done < storm->count && storm->conns[done].proof.next >= loop->feed->channels[0].next)
            done++;
        if ((double)(now_ns() - loop->feed->progress) > loop->options->stall * 1e9)
            return;
    }
}

int mode_storm(const struct options *options)
{
    struct loop loop;
    static struct feed feed;
    static struct storm storm;
    loop_init(&loop, options);
    need_files((size_t)options->connections + 1 + options->publishers);
    storm.count = options->connections;
    storm.conns = must_zero(storm.count, sizeof *storm.conns);
    struct position *positions = must_zero(storm.count, sizeof *positions);
    loop.mode = &storm;
    loop.handlers = (struct handlers){.event = storm_event, .ready = storm_ready};
    for (size_t i = 0; i < storm.count; i++) {
        struct conn *conn = &storm.conns[i];
        conn->role = ROLE_LISTENER;
        conn->number = conn->token = (uint32_t)i;
        conn->position = &positions[i];
    }
    /* At their first visit they queue politely; the question is how they come back. */
    conn_open_all(&loop, storm.conns, storm.count, 128);
    feed_open(&loop, &feed, 1, 1, options->publishers, 0, options->rate, options->limit);
    for (size_t i = 0; i < storm.count; i++) {
        conn_close(&loop, &storm.conns[i]);
        storm.conns[i].resume = true;
    }
    feed.progress = now_ns();
    while (feed.channels[0].next < options->missed || feed.under_way > 0) {
        if (feed.under_way == 0)
            feed_publish(&loop, &feed, 0);
        if (!feed_turn(&loop, &feed))
            die("storm: publish %u was not delivered to the listener that stayed", feed.channels[0].next);
    }
    storm.until = feed.channels[0].next;
    storm.behind = storm.count;
    feed_measure(&loop, &feed);
    if (options->rate > 0) /* events go on while they return: the seam between log and stream is part of the proof */
        feed_start(&loop, &feed);
    storm.returned = now_ns();
    come_back(&loop, &storm);
    double seconds = (double)(now_ns() - storm.returned) / 1e9;
    feed_stop(&loop, &feed);
    settle(&loop, &storm);
    struct verdict verdict = feed_prove(&feed);
    for (size_t i = 0; i < storm.count; i++) {
        const struct conn *conn = &storm.conns[i];
        verdict.lost += proof_lost(&conn->proof, feed.channels[0].next);
        verdict.doubled += conn->proof.doubled;
        verdict.reordered += conn->proof.reordered;
    }
    result_begin(options);
    result_number("connections", storm.count);
    result_number("missed", storm.until);
    result_number("published", feed.channels[0].next);
    result_real("seconds", seconds);
    result_number("behind", storm.behind);
    result_number("lost", verdict.lost);
    result_number("doubled", verdict.doubled);
    result_number("reordered", verdict.reordered);
    result_times("ready_ns", &storm.ready);
    result_times("caught_up_ns", &storm.caught_up);
    result_end();
    return verdict.lost + verdict.doubled + verdict.reordered == 0 ? EXIT_PROVEN : EXIT_BROKEN;
}
