#include "feed.h"

#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "result.h"

#define AFTER 0.05 /* seconds to listen on when all has come: a double comes late */

static uint32_t power_of_two_above(double value)
{
    uint32_t power = 16;
    while ((double)power < value)
        power *= 2;
    return power;
}

void feed_open(struct loop *loop, struct feed *feed, unsigned channels, unsigned listeners, unsigned publishers,
               unsigned window, double rate, double seconds)
{
    memset(feed, 0, sizeof *feed);
    loop->feed = feed;
    feed->channel_count = channels;
    feed->per_channel = listeners;
    feed->listener_count = (size_t)channels * listeners;
    feed->publisher_count = publishers;
    feed->rate = rate;
    if (window > 0) {
        feed->window = window / channels > 0 ? window / channels : 1;
        /* Twice the window: one late delivery must not hold back what was published after it. */
        feed->ring = power_of_two_above(2.0 * feed->window);
    } else {
        feed->ring = power_of_two_above(rate * seconds / channels + 16);
    }
    feed->channels = must_zero(channels, sizeof *feed->channels);
    for (unsigned i = 0; i < channels; i++)
        feed->channels[i].left = must_zero(feed->ring, sizeof(uint32_t));
    feed->listeners = must_zero(feed->listener_count, sizeof *feed->listeners);
    feed->publishers = must_zero(publishers, sizeof *feed->publishers);
    for (size_t i = 0; i < feed->listener_count; i++) {
        struct conn *conn = &feed->listeners[i];
        conn->role = ROLE_LISTENER;
        conn->number = conn->token = (uint32_t)i;
        conn->channel = (uint32_t)(i % channels);
    }
    for (size_t i = 0; i < publishers; i++) {
        struct conn *conn = &feed->publishers[i];
        conn->role = ROLE_PUBLISHER;
        conn->number = (uint32_t)i;
        conn->token = (uint32_t)(feed->listener_count + i);
    }
    conn_open_all(loop, feed->listeners, feed->listener_count, loop->options->parallel);
    conn_open_all(loop, feed->publishers, publishers, loop->options->parallel);
}

struct stamp feed_expect(struct feed *feed, uint32_t channel)
{
    struct feed_channel *to = &feed->channels[channel];
    struct stamp stamp = {.at = now_ns(), .number = to->next, .channel = channel};
    to->left[to->next & (feed->ring - 1)] = feed->per_channel;
    to->next++;
    to->under_way++;
    feed->under_way++;
    if (feed->measuring)
        feed->publishes++;
    return stamp;
}

void feed_publish(struct loop *loop, struct feed *feed, uint32_t channel)
{
    char payload[STAMP_LARGEST];
    struct stamp stamp = feed_expect(feed, channel);
    stamp_write(payload, loop->options->payload, &stamp);
    /* One channel always goes through the same publisher: there is no order across connections. */
    loop->options->dialect->publish(loop, &feed->publishers[channel % feed->publisher_count], channel, payload,
                                    loop->options->payload);
}

static void fill_window(struct loop *loop, struct feed *feed, uint32_t channel)
{
    struct feed_channel *to = &feed->channels[channel];
    while (to->under_way < feed->window && to->left[to->next & (feed->ring - 1)] == 0)
        feed_publish(loop, feed, channel);
}

void feed_event(struct loop *loop, struct conn *conn, const struct stamp *stamp)
{
    struct feed *feed = loop->feed;
    struct feed_channel *of = &feed->channels[stamp->channel];
    if (stamp->number >= of->next)
        die("%s: an event that was not published in this run: number %u of channel %u; start the server afresh",
            loop->options->dialect->name, stamp->number, stamp->channel);
    bool is_new = proof_see(&conn->proof, stamp->number);
    feed->progress = loop->now;
    if (!is_new || conn->may_close) /* the window does not wait for those that do not read */
        return;
    if (feed->measuring) {
        feed->deliveries++;
        histogram_add(&feed->latency, loop->now > stamp->at ? loop->now - stamp->at : 0);
    }
    uint32_t *left = &of->left[stamp->number & (feed->ring - 1)];
    if (*left == 0 || --*left > 0)
        return;
    of->under_way--;
    feed->under_way--;
    if (feed->publishing && feed->window > 0 && (of->under_way == 0 || !loop->options->burst))
        fill_window(loop, feed, stamp->channel);
}

void feed_start(struct loop *loop, struct feed *feed)
{
    feed->publishing = true;
    feed->began = feed->progress = now_ns();
    if (feed->window > 0)
        for (uint32_t i = 0; i < feed->channel_count; i++)
            fill_window(loop, feed, i);
}

static void publish_due(struct loop *loop, struct feed *feed)
{
    uint64_t now = now_ns();
    for (;;) {
        uint64_t due = feed->began + (uint64_t)((double)feed->sent / feed->rate * 1e9);
        if (due > now)
            return;
        uint32_t channel = (uint32_t)(feed->sent % feed->channel_count);
        struct feed_channel *to = &feed->channels[channel];
        if (to->left[to->next & (feed->ring - 1)] != 0)
            die("%s: too far behind: %u publishes of a channel are not delivered; lower --rate",
                loop->options->dialect->name, feed->ring);
        if (feed->measuring && now - due > feed->late)
            feed->late = now - due;
        if (feed->under_way == 0)
            feed->progress = now; /* the wait for a delivery begins here */
        feed_publish(loop, feed, channel);
        feed->sent++;
    }
}

bool feed_turn(struct loop *loop, struct feed *feed)
{
    if (feed->publishing && feed->window == 0)
        publish_due(loop, feed);
    loop_turn(loop, 1);
    return feed->under_way == 0 || (double)(now_ns() - feed->progress) < loop->options->stall * 1e9;
}

void feed_run(struct loop *loop, struct feed *feed, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end && feed_turn(loop, feed))
        continue;
}

void feed_measure(struct loop *loop, struct feed *feed)
{
    result_mark(loop->options, "begin");
    feed->measuring = true;
    feed->reads = loop->reads;
    feed->bytes = loop->bytes;
    feed->idle = loop->idle;
    feed->from = now_ns();
}

void feed_stop(struct loop *loop, struct feed *feed)
{
    feed->to = now_ns();
    feed->measuring = feed->publishing = false;
    feed->reads = loop->reads - feed->reads;
    feed->bytes = loop->bytes - feed->bytes;
    feed->idle = loop->idle - feed->idle;
    result_mark(loop->options, "end");
    while (feed->under_way > 0 && feed_turn(loop, feed))
        continue;
    for (uint64_t end = now_ns() + (uint64_t)(AFTER * 1e9); now_ns() < end;)
        loop_turn(loop, 1);
}

struct verdict feed_prove(const struct feed *feed)
{
    struct verdict verdict = {0};
    for (size_t i = 0; i < feed->listener_count; i++) {
        const struct conn *conn = &feed->listeners[i];
        verdict.lost += proof_lost(&conn->proof, feed->channels[conn->channel].next);
        verdict.doubled += conn->proof.doubled;
        verdict.reordered += conn->proof.reordered;
        verdict.told += conn->proof.told;
    }
    return verdict;
}

void feed_result(const struct feed *feed, const struct verdict *verdict)
{
    double seconds = (double)(feed->to - feed->from) / 1e9;
    uint64_t published = 0;
    for (size_t i = 0; i < feed->channel_count; i++)
        published += feed->channels[i].next;
    result_number("channels", feed->channel_count);
    result_number("listeners", feed->listener_count);
    result_number("publishers", feed->publisher_count);
    result_real("seconds", seconds);
    result_number("deliveries", feed->deliveries);
    result_number("publishes", feed->publishes);
    result_number("published", published);
    result_number("lost", verdict->lost);
    result_number("doubled", verdict->doubled);
    result_number("reordered", verdict->reordered);
    result_number("told", verdict->told);
    result_real("deliveries_per_second", (double)feed->deliveries / seconds);
    result_real("deliveries_per_recv", feed->reads > 0 ? (double)feed->deliveries / (double)feed->reads : 0);
    result_real("bytes_per_delivery", feed->deliveries > 0 ? (double)feed->bytes / (double)feed->deliveries : 0);
    result_real("generator_busy", 1 - (double)feed->idle / 1e9 / seconds);
    if (feed->window == 0)
        result_number("late_ns", feed->late);
    result_times("latency_ns", &feed->latency);
}

void feed_close(struct loop *loop, struct feed *feed)
{
    for (size_t i = 0; i < feed->listener_count; i++) {
        conn_close(loop, &feed->listeners[i]);
        proof_free(&feed->listeners[i].proof);
    }
    for (size_t i = 0; i < feed->publisher_count; i++)
        conn_close(loop, &feed->publishers[i]);
    for (size_t i = 0; i < feed->channel_count; i++)
        free(feed->channels[i].left);
    free(feed->listeners);
    free(feed->publishers);
    free(feed->channels);
    loop->feed = NULL;
}
