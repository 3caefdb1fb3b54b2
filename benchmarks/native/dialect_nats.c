/* NATS: its text protocol, inside WebSocket messages for listeners and on TCP for publishers. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "dialect.h"

static void opened(struct loop *loop, struct conn *conn)
{
    (void)loop;
    (void)conn; /* the server begins, with INFO */
}

static size_t split(const char *data, size_t size)
{
    const char *end = memmem(data, size, "\r\n", 2);
    if (end == NULL)
        return 0;
    size_t line = (size_t)(end - data) + 2;
    if (memcmp(data, "MSG ", 4) != 0)
        return line;
    const char *digits = end; /* the last word is the payload's size */
    while (digits[-1] != ' ')
        digits--;
    size_t whole = line + (size_t)strtoul(digits, NULL, 10) + 2;
    return whole <= size ? whole : 0;
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (memcmp(data, "MS", 2) == 0) {
        conn_delivery(loop, conn, data, size);
    } else if (memcmp(data, "PI", 2) == 0) {
        dialect_send(loop, conn, "PONG\r\n", 6);
    } else if (memcmp(data, "PO", 2) == 0) {
        if (conn->state == STATE_GREETING)
            conn_ready(loop, conn);
    } else if (memcmp(data, "IN", 2) == 0) {
        if (conn->state != STATE_GREETING)
            return; /* INFO may be repeated */
        static const char hello[] = "CONNECT {\"verbose\":false,\"pedantic\":false,\"echo\":false}\r\n";
        char text[160];
        int length = conn->role == ROLE_LISTENER
                         ? snprintf(text, sizeof text, "%sSUB c.%u 1\r\nPING\r\n", hello, conn->channel)
                         : snprintf(text, sizeof text, "%sPING\r\n", hello);
        dialect_send(loop, conn, text, (size_t)length); /* PONG says that all before it is done */
    } else if (memcmp(data, "-E", 2) == 0) {
        conn_lost(loop, conn, data, size - 2);
    }
}

static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char head[48];
    int head_size = snprintf(head, sizeof head, "PUB c.%u %zu\r\n", channel, size);
    char *out = conn_reserve(loop, conn, (size_t)head_size + size + 2);
    memcpy(out, head, (size_t)head_size);
    memcpy(out + head_size, payload, size);
    memcpy(out + (size_t)head_size + size, "\r\n", 2);
}

const struct dialect dialect_nats = {
    .name = "nats",
    .websocket = true,
    .tcp_publisher = true,
    .stream = true,
    .publisher_port = 1,
    .sub_path = "/",
    .pub_path = "/",
    .call_path = "/",
    .opened = opened,
    .split = split,
    .hear = hear,
    .publish = publish,
};
