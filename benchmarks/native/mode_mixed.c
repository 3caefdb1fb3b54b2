/* mixed: the members of rooms do all that people do in a chat, at a fixed rate, and hear what the others send. */
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "feed.h"
#include "modes.h"
#include "result.h"
#include "template.h"
#include "websocket.h"

#define ACTIONS 16
#define OPEN 65536u /* calls that may be under way, a power of two */
#define FIRST_ID (1u << 20) /* smaller ones belong to the greeting */

/* What members do, one of a file's lines. */
struct action {
    struct template template;
    long weight, credit;
    uint64_t answered; /* measured, and not refused */
};

/* A call under way. */
struct asked {
    uint64_t id; /* 0: none */
    uint64_t due;
    unsigned action;
    uint32_t room;
};

/* There is no order across connections: who sends next in a room waits until what another sent is answered. */
struct room {
    uint32_t sender, unanswered;
};

struct mixed {
    struct feed *feed;
    struct action actions[ACTIONS];
    struct histogram times[ACTIONS];
    unsigned action_count;
    long weights;
    char *frame;
    struct asked *asked;
    struct room *rooms;
    uint64_t began, sent, next_id, sends;
    uint64_t under_way, unknown, progress;
    bool measuring;
};

static void read_actions(struct mixed *mixed, const char *path)
{
    size_t largest = 0;
    for (char *line = template_file(path), *end; line != NULL; line = end) {
        end = strchr(line, '\n');
        if (end != NULL)
            *end++ = '\0';
        if (*line == '\0')
            continue;
        if (mixed->action_count == ACTIONS)
            die("%s has more than %d lines", path, ACTIONS);
        struct action *action = &mixed->actions[mixed->action_count++];
        char *frame;
        action->weight = strtol(line, &frame, 10);
        if (action->weight < 1 || *frame != ' ')
            die("a line of %s does not begin with a weight and a space: %s", path, line);
        mixed->weights += action->weight;
        template_parse(&action->template, frame + 1, path);
        if (action->template.size > largest)
            largest = action->template.size;
    }
    if (mixed->action_count == 0)
        die("%s is empty: it must have a weight and a frame on each line", path);
    mixed->frame = must_alloc(NULL, largest);
}

/* The next action, each spread evenly over the others. */
static unsigned choose(struct mixed *mixed)
{
    unsigned best = 0;
    for (unsigned i = 0; i < mixed->action_count; i++) {
        mixed->actions[i].credit += mixed->actions[i].weight;
        if (mixed->actions[i].credit > mixed->actions[best].credit)
            best = i;
    }
    mixed->actions[best].credit -= mixed->weights;
    return best;
}

static void act(struct loop *loop, struct mixed *mixed, uint64_t due)
{
    struct feed *feed = mixed->feed;
    unsigned which = choose(mixed);
    struct action *action = &mixed->actions[which];
    struct conn *conn = &feed->listeners[mixed->sent % feed->listener_count];
    struct stamp stamp = {.channel = conn->channel};
    if (action->template.has_stamp) {
        uint32_t channel = (uint32_t)(mixed->sends++ % feed->channel_count);
        struct room *room = &mixed->rooms[channel];
        if (room->unanswered++ == 0)
            room->sender = (room->sender + 1) % feed->per_channel;
        conn = &feed->listeners[(size_t)room->sender * feed->channel_count + channel];
        if (feed->channels[channel].left[feed->channels[channel].next & (feed->ring - 1)] != 0)
            die("mixed: too far behind: %u sends in a room are not delivered; lower --rate", feed->ring);
        if (feed->under_way == 0)
            feed->progress = now_ns(); /* the wait for a delivery begins here */
        stamp = feed_expect(feed, channel);
    }
    uint64_t id = mixed->next_id++;
    struct asked *asked = &mixed->asked[id & (OPEN - 1)];
    if (asked->id != 0)
        die("mixed: too far behind: %u calls are not answered; lower --rate", OPEN);
    *asked = (struct asked){.id = id, .due = due, .action = which, .room = stamp.channel};
    if (mixed->under_way++ == 0)
        mixed->progress = now_ns();
    size_t size = template_fill(&action->template, mixed->frame, id, conn->number, &stamp);
    ws_send(loop, conn, WS_TEXT, mixed->frame, size);
}

static void answered(struct loop *loop, struct conn *conn, uint64_t id, const char *refused, size_t size)
{
    struct mixed *mixed = loop->mode;
    (void)size;
    if (id < FIRST_ID)
        die("mixed: connection %u got an answer to nothing%s%s", conn->number, refused != NULL ? ": " : "",
            refused != NULL ? loop->refusal : "");
    struct asked *asked = &mixed->asked[id & (OPEN - 1)];
    if (asked->id != id) {
        mixed->unknown++;
        return;
    }
    asked->id = 0;
    mixed->under_way--;
    mixed->progress = loop->now;
    if (mixed->actions[asked->action].template.has_stamp)
        mixed->rooms[asked->room].unanswered--;
    if (!mixed->measuring || refused != NULL)
        return;
    mixed->actions[asked->action].answered++;
    histogram_add(&mixed->times[asked->action], loop->now > asked->due ? loop->now - asked->due : 0);
}

/* The clock of an action starts when it is due: a server that falls behind cannot hide it. */
static void run(struct loop *loop, struct mixed *mixed, double seconds)
{
    uint64_t end = now_ns() + (uint64_t)(seconds * 1e9);
    for (uint64_t now; (now = now_ns()) < end; loop_turn(loop, 1))
        for (uint64_t due; (due = mixed->began + (uint64_t)((double)mixed->sent / loop->options->rate * 1e9)) <= now;
             mixed->sent++)
            act(loop, mixed, due);
}

int mode_mixed(const struct options *options)
{
    struct loop loop;
    struct feed feed;
    static struct mixed mixed = {.next_id = FIRST_ID};
    loop_init(&loop, options);
    loop.mode = &mixed;
    loop.handlers = (struct handlers){.reply = answered, .event = feed_event};
    mixed.feed = &feed;
    mixed.asked = must_zero(OPEN, sizeof *mixed.asked);
    mixed.rooms = must_zero(options->channels, sizeof *mixed.rooms);
    read_actions(&mixed, options->frame_file);
    need_files((size_t)options->channels * options->listeners);
    feed_open(&loop, &feed, options->channels, options->listeners, 0, 0, options->rate,
              options->warmup + options->seconds + 5);
    for (size_t i = 0; i < feed.listener_count; i++)
        feed.listeners[i].calls = &mixed; /* its answers are wanted */
    mixed.began = now_ns();
    run(&loop, &mixed, options->warmup);
    feed_measure(&loop, &feed);
    mixed.measuring = true;
    run(&loop, &mixed, options->seconds);
    mixed.measuring = false;
    feed_stop(&loop, &feed);
    while (mixed.under_way > 0 && (double)(now_ns() - mixed.progress) < options->stall * 1e9)
        loop_turn(&loop, 1);
    double seconds = (double)(feed.to - feed.from) / 1e9;
    uint64_t calls = 0;
    for (unsigned i = 0; i < mixed.action_count; i++)
        calls += mixed.actions[i].answered;
    struct verdict verdict = feed_prove(&feed);
    result_begin(options);
    feed_result(&feed, &verdict);
    result_number("connections", feed.listener_count);
    result_number("calls", calls);
    result_real("calls_per_second", (double)calls / seconds);
    result_number("calls_lost", mixed.under_way);
    result_number("calls_doubled", mixed.unknown);
    result_refusals(&loop);
    result_times_list("action_ns", mixed.times, mixed.action_count);
    result_end();
    uint64_t broken = mixed.under_way + mixed.unknown + loop.refusals;
    return broken + verdict.lost + verdict.doubled + verdict.reordered == 0 ? EXIT_PROVEN : EXIT_BROKEN;
}
