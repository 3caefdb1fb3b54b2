/* Connections and the loop that serves them: one thread, epoll, one read buffer for all. */
#ifndef BENCH_LOOP_H
#define BENCH_LOOP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "options.h"
#include "proof.h"
#include "stamp.h"

enum role { ROLE_LISTENER, ROLE_PUBLISHER, ROLE_CALLER, ROLE_VISITOR };

enum state { STATE_NEW, STATE_CONNECTING, STATE_UPGRADING, STATE_GREETING, STATE_READY, STATE_CLOSED };

/* Where a listener stood in its channel's log. */
struct position {
    uint64_t offset;
    char epoch[65];
};

/* One connection. A caller's calls and a returning listener's position hang on it only where a mode needs them. */
struct conn {
    int fd;
    uint8_t state, role;
    uint8_t step;      /* of the dialect's greeting */
    bool paused;       /* does not read */
    bool resume;       /* asks for what came after `position` */
    bool dirty;        /* waits to be written at the end of this turn */
    bool blocked;      /* waits until the socket takes more */
    bool may_close;    /* its end is an answer, not a failure */
    uint32_t number;   /* its index in the mode's array; chooses the port */
    uint32_t token;    /* the number of its token */
    uint32_t channel;
    uint32_t last_id;  /* of its own requests */
    uint32_t awaited;  /* subscriptions that are not answered */
    uint64_t began;    /* when connect() was called */
    char *tail;        /* the beginning of a message whose rest is under way */
    char *piece;       /* the same, of a stream inside WebSocket messages */
    uint32_t tail_size, piece_size;
    uint32_t out_size, out_sent, out_room;
    char *out;
    struct proof proof;
    struct position *position;
    void *calls;
};

struct loop;
struct feed;

/* What a mode wants to know. Every one may be NULL. */
struct handlers {
    void (*ready)(struct loop *loop, struct conn *conn);
    void (*event)(struct loop *loop, struct conn *conn, const struct stamp *stamp);
    /* `refused` is NULL, or the server's reason, `size` bytes. */
    void (*reply)(struct loop *loop, struct conn *conn, uint64_t id, const char *refused, size_t size);
    void (*gap)(struct loop *loop, struct conn *conn, uint64_t from, uint64_t to);
    void (*closed)(struct loop *loop, struct conn *conn);
};

struct loop {
    const struct options *options;
    struct handlers handlers;
    struct feed *feed; /* the events that are published and heard, if the mode has any */
    void *mode;        /* the mode's own state */
    int epoll;
    uint64_t now;        /* of the read that is being handled */
    uint64_t reads;      /* of ready listeners */
    uint64_t bytes;      /* that they brought */
    uint64_t idle;       /* nanoseconds of turns that found nothing to do */
    uint64_t refusals;   /* of requests, over all connections */
    char refusal[256];   /* the first one */
    size_t hint;         /* where stamps are found */
    struct conn **dirty;
    size_t dirty_count, dirty_room;
    char *buffer;
    char **tokens;
    size_t token_count;
};

void loop_init(struct loop *loop, const struct options *options);

/* One turn: wait (not at all if spinning, else at most `wait_ms`), read, handle, write. */
void loop_turn(struct loop *loop, int wait_ms);

/* Write what was queued, now. */
void loop_flush(struct loop *loop);

/* Begin to connect. */
void conn_open(struct loop *loop, struct conn *conn);

/* Open `count` connections, at most `parallel` at once, and return when all are ready. */
void conn_open_all(struct loop *loop, struct conn *conns, size_t count, unsigned parallel);

/* Queue bytes; they leave at the end of this turn, together with whatever else is queued. */
void conn_send(struct loop *loop, struct conn *conn, const char *data, size_t size);

/* Room for `size` bytes at the end of the queue, to be filled by the caller at once. */
char *conn_reserve(struct loop *loop, struct conn *conn, size_t size);

/* Stop or go on reading. */
void conn_pause(struct loop *loop, struct conn *conn, bool paused);

/* The dialect's greeting is over. */
void conn_ready(struct loop *loop, struct conn *conn);

/* The server ended it: an answer where the mode expects that, else the end of the program with this reason. */
void conn_lost(struct loop *loop, struct conn *conn, const char *why, size_t size);

/* Close at once, by reset: no port is left waiting. */
void conn_close(struct loop *loop, struct conn *conn);

/* A delivery came: prove where it belongs and hand it to the mode. False if there is no stamp in it. */
bool conn_delivery(struct loop *loop, struct conn *conn, const char *data, size_t size);

/* A request was refused: kept for the result. */
void loop_refused(struct loop *loop, const char *text, size_t size);

/* The token of a connection, or NULL. */
const char *loop_token(const struct loop *loop, const struct conn *conn);

#endif
