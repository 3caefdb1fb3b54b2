/* calls: asked, answered, matched by id; as fast as the answers come, or at a fixed rate; with or without events, which
 * are published beside the calls, or caused by them. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "feed.h"
#include "modes.h"
#include "result.h"
#include "template.h"
#include "websocket.h"

#define UNSEEN 65536u /* calls of one channel whose events may be on their way at once */

/* One place for a call on a connection. Its id is place + 1 + K times the round, so that an answer finds its place. */
struct place {
    uint64_t id; /* 0: free */
    uint64_t at;
    uint64_t round;
};

struct calls {
    const struct options *options;
    struct template template;
    bool heard; /* each call causes an event, known by the stamp in its frame */
    char *frame;
    struct conn *callers;
    struct place *places;
    uint64_t *free_ring; /* open loop: which places are free, oldest first */
    size_t free_first, free_count, place_count;
    double rate; /* 0: closed loop */
    uint64_t began, sent;
    uint64_t under_way, progress;
    bool calling, measuring;
    uint64_t answered;  /* measured, and not refused */
    uint64_t unknown;   /* answers to nothing that is under way: doubles */
    struct histogram times;
};

static void ask(struct loop *loop, struct calls *calls, size_t index, uint64_t at)
{
    struct place *place = &calls->places[index];
    unsigned in_flight = calls->options->in_flight;
    struct conn *conn = &calls->callers[index / in_flight];
    /* Small ids belong to the greeting; whole rounds keep the places apart. */
    place->id = (++place->round + 10) * in_flight + index % in_flight + 1;
    place->at = at;
    struct stamp stamp = {0};
    if (calls->heard) {
        if (loop->feed->under_way == 0)
            loop->feed->progress = now_ns(); /* the wait for a delivery begins here */
        stamp = feed_expect(loop->feed, conn->channel);
    }
    size_t size = template_fill(&calls->template, calls->frame, place->id, conn->number, &stamp);
    ws_send(loop, conn, WS_TEXT, calls->frame, size);
    calls->under_way++;
}

static void replied(struct loop *loop, struct conn *conn, uint64_t id, const char *refused, size_t size)
{
    struct calls *calls = loop->mode;
    unsigned in_flight = calls->options->in_flight;
    (void)size;
    if (id == 0) {
        if (refused == NULL)
            die("%s: an answer without an id", loop->options->dialect->name);
        die("%s: a call was refused: %s", loop->options->dialect->name, loop->refusal);
    }
    size_t index = (size_t)((char *)conn->calls - (char *)calls->places) / sizeof(struct place) + (id - 1) % in_flight;
    struct place *place = &calls->places[index];
    if (place->id != id) {
        calls->unknown++; /* answered twice, or never asked */
        return;
    }
    calls->progress = loop->now;
    place->id = 0;
    calls->under_way--;
    if (calls->measuring) {
        calls->answered += refused == NULL;
        histogram_add(&calls->times, loop->now > place->at ? loop->now - place->at : 0);
    }
    if (calls->rate > 0)
        calls->free_ring[(calls->free_first + calls->free_count++) % calls->place_count] = index;
    else if (calls->calling)
        ask(loop, calls, index, now_ns());
}

/* The clock of a call of the open loop starts when it is due: a server that falls behind cannot hide it. */
static void ask_due(struct loop *loop, struct calls *calls)
{
    uint64_t now = now_ns();
    while (calls->free_count > 0) {
        uint64_t due = calls->began + (uint64_t)((double)calls->sent / calls->rate * 1e9);
        if (due > now)
            return;
        size_t index = (size_t)calls->free_ring[calls->free_first];
        calls->free_first = (calls->free_first + 1) % calls->place_count;
        calls->free_count--;
        if (calls->under_way == 0)
            calls->progress = now;
        ask(loop, calls, index, due);
        calls->sent++;
    }
}

static bool turn(struct loop *loop, struct calls *calls)
{
    if (calls->calling && calls->rate > 0)
        ask_due(loop, calls);
    if (loop->feed != NULL) {
        if (!feed_turn(loop, loop->feed))
            return false;
    } else {
        loop_turn(loop, 1);
    }
    return calls->under_way == 0 || (double)(now_ns() - calls->progress) < calls->options->stall * 1e9;
}

static void run(struct loop *loop, struct calls *calls, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    while (now_ns() < end && turn(loop, calls))
        continue;
}

static void open_callers(struct loop *loop, struct calls *calls)
{
    const struct options *options = calls->options;
    calls->place_count = (size_t)options->connections * options->in_flight;
    calls->callers = must_zero(options->connections, sizeof *calls->callers);
    calls->places = must_zero(calls->place_count, sizeof *calls->places);
    calls->free_ring = must_zero(calls->place_count, sizeof *calls->free_ring);
    calls->frame = must_alloc(NULL, calls->template.size);
    for (unsigned i = 0; i < options->connections; i++) {
        struct conn *conn = &calls->callers[i];
        conn->role = ROLE_CALLER;
        conn->number = conn->token = conn->channel = i;
        if (calls->heard)
            conn->channel = i % options->channels;
        conn->calls = &calls->places[(size_t)i * options->in_flight];
    }
    conn_open_all(loop, calls->callers, options->connections, options->parallel);
}

static void start(struct loop *loop, struct calls *calls)
{
    calls->calling = true;
    calls->began = calls->progress = now_ns();
    unsigned connections = calls->options->connections, in_flight = calls->options->in_flight;
    for (size_t i = 0; i < calls->place_count; i++) {
        /* One place of each connection after the other, so that a low rate uses them all. */
        size_t index = i % connections * in_flight + i / connections;
        if (calls->rate > 0)
            calls->free_ring[calls->free_count++] = index;
        else
            ask(loop, calls, index, now_ns());
    }
}

int mode_calls(const struct options *options)
{
    struct loop loop;
    static struct calls calls;
    static struct feed feed;
    loop_init(&loop, options);
    calls.options = options;
    calls.rate = options->rate;
    loop.mode = &calls;
    loop.handlers = (struct handlers){.reply = replied, .event = feed_event};
    template_read(&calls.template, options->frame_file);
    calls.heard = calls.template.has_stamp;
    bool beside = options->background > 0, events = beside || calls.heard;
    if (beside && calls.heard)
        die("events are caused by the calls, or published beside them: leave out @STAMP@ or --background-rate");
    unsigned channels = calls.heard ? options->channels : 1;
    need_files((size_t)options->connections + (events ? (size_t)channels * options->listeners + options->publishers : 0));
    if (beside)
        feed_open(&loop, &feed, channels, options->listeners, options->publishers, 0, options->background,
                  options->warmup + options->seconds);
    else if (calls.heard) /* a call is under way until its event is there, which may be later than its answer */
        feed_open(&loop, &feed, channels, options->listeners, 0, channels * UNSEEN, 0, 0);
    open_callers(&loop, &calls);
    if (beside)
        feed_start(&loop, &feed);
    start(&loop, &calls);
    run(&loop, &calls, options->warmup);
    uint64_t from = now_ns(), idle = loop.idle;
    if (events)
        feed_measure(&loop, &feed); /* marks the begin as well */
    else
        result_mark(options, "begin");
    calls.measuring = true;
    run(&loop, &calls, options->seconds);
    double seconds = (double)(now_ns() - from) / 1e9;
    idle = loop.idle - idle;
    calls.measuring = calls.calling = false;
    if (events)
        feed_stop(&loop, &feed);
    else
        result_mark(options, "end");
    while (calls.under_way > 0 && turn(&loop, &calls))
        continue;
    struct verdict verdict = {0};
    result_begin(options);
    if (events) {
        verdict = feed_prove(&feed);
        if (calls.heard)
            verdict.reordered = 0; /* there is no order across the connections of those who call */
        feed_result(&feed, &verdict);
    } else {
        result_real("seconds", seconds);
        result_number("lost", calls.under_way);
        result_number("doubled", calls.unknown);
        result_number("reordered", 0);
        result_real("generator_busy", 1 - (double)idle / 1e9 / seconds);
    }
    result_number("connections", options->connections);
    result_number("in_flight", options->in_flight);
    result_number("calls", calls.answered);
    result_real("calls_per_second", (double)calls.answered / seconds);
    result_number("calls_lost", calls.under_way);
    result_number("calls_doubled", calls.unknown);
    result_refusals(&loop);
    result_times("call_ns", &calls.times);
    result_end();
    uint64_t broken = calls.under_way + calls.unknown + loop.refusals + verdict.lost + verdict.doubled + verdict.reordered;
    return broken == 0 ? EXIT_PROVEN : EXIT_BROKEN;
}
