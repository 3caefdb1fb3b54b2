/* The floor: TCP, and frames of the size that a WebSocket server's have. */
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "websocket.h"

static void opened(struct loop *loop, struct conn *conn)
{
    char hello[3] = {conn->role == ROLE_PUBLISHER ? 'P' : 'L', (char)(conn->channel >> 8), (char)conn->channel};
    conn_send(loop, conn, hello, sizeof hello);
}

static size_t split(const char *data, size_t size)
{
    const char *content;
    size_t content_size;
    int kind;
    return ws_split(data, size, &content, &content_size, &kind);
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (conn->state == STATE_GREETING)
        conn_ready(loop, conn); /* an empty frame: the floor has it in its list */
    else
        conn_delivery(loop, conn, data, size);
}

/* The channel, then the frame as it will be delivered. */
static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    size_t head = size < 126 ? 4 : 6;
    char *out = conn_reserve(loop, conn, head + size);
    out[0] = (char)(channel >> 8);
    out[1] = (char)channel;
    out[2] = (char)0x81;
    out[3] = (char)(size < 126 ? size : 126);
    if (size >= 126) {
        out[4] = (char)(size >> 8);
        out[5] = (char)size;
    }
    memcpy(out + head, payload, size);
}

const struct dialect dialect_floor = {
    .name = "floor",
    .sub_path = "",
    .pub_path = "",
    .call_path = "",
    .opened = opened,
    .split = split,
    .hear = hear,
    .publish = publish,
};
