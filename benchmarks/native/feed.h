/* Events: published, delivered, counted and proven. */
#ifndef BENCH_FEED_H
#define BENCH_FEED_H

#include "histogram.h"
#include "loop.h"

struct feed_channel {
    uint32_t next;     /* the number of the next publish */
    uint32_t under_way;
    uint32_t *left;    /* per publish, in a ring: deliveries still to come */
};

struct feed {
    struct feed_channel *channels;
    struct conn *listeners;
    struct conn *publishers;
    size_t channel_count, listener_count, publisher_count;
    uint32_t per_channel; /* listeners of each */
    uint32_t ring;        /* a power of two */
    uint32_t window;      /* of each channel; 0: open loop */
    double rate;          /* publishes per second of the open loop */
    uint64_t began;       /* when the open loop began */
    uint64_t sent;        /* publishes of the open loop, to all channels in turn */
    uint64_t under_way;   /* publishes not delivered to all */
    uint64_t progress;    /* when the last delivery came */
    bool publishing, measuring;
    /* Measured */
    uint64_t deliveries, publishes, reads, bytes, idle;
    uint64_t late;        /* the most that a publish of the open loop left too late, ns */
    uint64_t from, to;
    struct histogram latency;
};

/* What a proof found, over all listeners. */
struct verdict {
    uint64_t lost, doubled, reordered, told;
};

/* Connect `listeners` to each channel and the publishers. `window` 0 means open loop at `rate`, for `seconds` at most. */
void feed_open(struct loop *loop, struct feed *feed, unsigned channels, unsigned listeners, unsigned publishers,
               unsigned window, double rate, double seconds);

/* Expect one more event on a channel, sent now: the stamp that it must carry. */
struct stamp feed_expect(struct feed *feed, uint32_t channel);

/* Publish the next of a channel, now. */
void feed_publish(struct loop *loop, struct feed *feed, uint32_t channel);

/* Handle a delivery; this is `handlers.event`. */
void feed_event(struct loop *loop, struct conn *conn, const struct stamp *stamp);

/* Begin to publish: fill the window, or start the open loop's clock. */
void feed_start(struct loop *loop, struct feed *feed);

/* One turn of the loop, with the publishes that are due. False once nothing has come for too long. */
bool feed_turn(struct loop *loop, struct feed *feed);

/* Turns until `seconds` are over or nothing comes any more. */
void feed_run(struct loop *loop, struct feed *feed, double seconds);

/* From now on count, until feed_stop. */
void feed_measure(struct loop *loop, struct feed *feed);

/* Stop counting and publishing, and wait for what is under way. */
void feed_stop(struct loop *loop, struct feed *feed);

/* Compare what came to each listener with what was published. */
struct verdict feed_prove(const struct feed *feed);

/* Print what was measured and proven. */
void feed_result(const struct feed *feed, const struct verdict *verdict);

void feed_close(struct loop *loop, struct feed *feed);

#endif
