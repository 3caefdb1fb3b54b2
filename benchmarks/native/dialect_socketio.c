/* Socket.IO 5 on Engine.IO 4, WebSocket only: events as 42["name",…]. */
#include <stdio.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "websocket.h"

static void opened(struct loop *loop, struct conn *conn)
{
    (void)loop;
    (void)conn; /* the server begins, with 0{…} */
}

static void say(struct loop *loop, struct conn *conn, const char *text)
{
    ws_send(loop, conn, WS_TEXT, text, strlen(text));
}

static void acknowledged(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    uint64_t id = 0;
    for (size_t i = 2; i < size && data[i] >= '0' && data[i] <= '9'; i++)
        id = id * 10 + (uint64_t)(data[i] - '0');
    if (conn->state == STATE_GREETING)
        conn_ready(loop, conn);
    else if (conn->role == ROLE_CALLER && loop->handlers.reply != NULL)
        loop->handlers.reply(loop, conn, id, NULL, 0);
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    const char kind = size > 0 ? data[0] : '\0', inner = size > 1 ? data[1] : '\0';
    if (kind == '4' && inner == '2') {
        conn_delivery(loop, conn, data, size);
    } else if (kind == '4' && inner == '3') {
        acknowledged(loop, conn, data, size);
    } else if (kind == '0') {
        say(loop, conn, "40");
    } else if (kind == '2') {
        say(loop, conn, "3");
    } else if (kind == '4' && inner == '0') {
        if (conn->role != ROLE_LISTENER) {
            conn_ready(loop, conn);
            return;
        }
        char text[64];
        snprintf(text, sizeof text, "420[\"sub\",\"%u\"]", conn->channel);
        say(loop, conn, text);
    } else if (kind == '1' || inner == '1' || inner == '4') {
        conn_lost(loop, conn, data, size);
    }
}

static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char head[48];
    int head_size = snprintf(head, sizeof head, "42[\"pub\",\"%u\",", channel);
    ws_send_parts(loop, conn, head, (size_t)head_size, payload, size, "]", 1);
}

#define SOCKETIO                                                                                                       \
    .websocket = true, .calls = true, .sub_path = "/socket.io/?EIO=4&transport=websocket",                             \
    .pub_path = "/socket.io/?EIO=4&transport=websocket", .call_path = "/socket.io/?EIO=4&transport=websocket",         \
    .opened = opened, .hear = hear, .publish = publish

const struct dialect dialect_socketio = {.name = "socketio", SOCKETIO};
const struct dialect dialect_python_socketio = {.name = "python-socketio", SOCKETIO};
