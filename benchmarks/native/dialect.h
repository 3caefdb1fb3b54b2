/* How a server is spoken to. One table of functions for each dialect; modes know no server. */
#ifndef BENCH_DIALECT_H
#define BENCH_DIALECT_H

#include "loop.h"

struct dialect {
    const char *name;
    bool websocket;      /* of listeners and callers; else the bytes are the dialect's own */
    bool tcp_publisher;  /* publishers use the dialect's own bytes all the same */
    bool stream;         /* a WebSocket message is a piece of a stream, not a message */
    bool calls, resumes; /* what it can do beside events */
    unsigned publisher_port; /* added to the port */
    const char *sub_path, *pub_path, *call_path;
    const char *subprotocol;
    /* The transport is open: begin the greeting. */
    void (*opened)(struct loop *loop, struct conn *conn);
    /* The size of the first message in these bytes of its own, 0 if it is not whole yet. */
    size_t (*split)(const char *data, size_t size);
    /* One message. */
    void (*hear)(struct loop *loop, struct conn *conn, const char *data, size_t size);
    void (*publish)(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size);
};

/* Whether this connection is a WebSocket. */
bool dialect_is_websocket(const struct dialect *dialect, const struct conn *conn);

/* Queue bytes of the dialect's own, in a WebSocket message where the connection is one. */
void dialect_send(struct loop *loop, struct conn *conn, const char *data, size_t size);

/* The number behind the first `"id":`; 0 if there is none. */
uint64_t dialect_id(const char *data, size_t size);

/* Find one by name; NULL if there is none. */
const struct dialect *dialect_named(const char *name);

/* The names, for help and errors. */
extern const char dialect_names[];

extern const struct dialect dialect_backchannel, dialect_text, dialect_bun, dialect_socketio, dialect_python_socketio,
    dialect_nats, dialect_mqtt, dialect_nchan, dialect_floor;

#endif
