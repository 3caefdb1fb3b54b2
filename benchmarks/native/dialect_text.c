/* Bare WebSocket servers, and nchan's WebSockets with publishers over HTTP. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "common.h"
#include "dialect.h"
#include "websocket.h"

static void opened(struct loop *loop, struct conn *conn)
{
    conn_ready(loop, conn);
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (conn->role == ROLE_CALLER) {
        if (loop->handlers.reply != NULL)
            loop->handlers.reply(loop, conn, dialect_id(data, size), NULL, 0);
        return;
    }
    conn_delivery(loop, conn, data, size);
}

static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char head[16];
    int head_size = snprintf(head, sizeof head, "%u ", channel);
    ws_send_parts(loop, conn, head, (size_t)head_size, payload, size, "", 0);
}

/* A whole HTTP answer: its head, and as many bytes as that announces. */
static size_t http_split(const char *data, size_t size)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    size_t head = (size_t)(end - data) + 4, body = 0;
    for (const char *line = data; line < end;) {
        if (strncasecmp(line, "content-length:", 15) == 0)
            body = (size_t)strtoul(line + 15, NULL, 10);
        else if (strncasecmp(line, "transfer-encoding:", 18) == 0)
            die("nchan: a chunked answer was not expected");
        line = (const char *)memmem(line, (size_t)(end + 2 - line), "\r\n", 2) + 2;
    }
    return size - head >= body ? head + body : 0;
}

static void nchan_hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (conn->role != ROLE_PUBLISHER) {
        hear(loop, conn, data, size);
        return;
    }
    /* 201: delivered to listeners; 202: kept, nobody listens yet. */
    if (size < 12 || (memcmp(data + 8, " 201", 4) != 0 && memcmp(data + 8, " 202", 4) != 0))
        die("nchan: a publish was refused: %.*s", (int)(size < 200 ? size : 200), data);
}

static void nchan_publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char head[1024];
    const char *path = loop->options->pub_path, *mark = strstr(path, "@N@");
    int before = mark != NULL ? (int)(mark - path) : (int)strlen(path);
    char number[16] = "";
    if (mark != NULL)
        snprintf(number, sizeof number, "%u", channel);
    int head_size = snprintf(head, sizeof head, "POST %.*s%s%s HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: %zu\r\n\r\n",
                             before, path, number, mark != NULL ? mark + 3 : "", size);
    if (head_size < 0 || (size_t)head_size >= sizeof head)
        die("the path %s is too long", path);
    conn_send(loop, conn, head, (size_t)head_size);
    conn_send(loop, conn, payload, size);
}

#define TEXT                                                                                                           \
    .websocket = true, .calls = true, .sub_path = "/sub?channel=@N@", .pub_path = "/pub", .call_path = "/echo",        \
    .opened = opened, .hear = hear, .publish = publish

const struct dialect dialect_text = {.name = "text-ws", TEXT};
const struct dialect dialect_bun = {.name = "bun", TEXT};

const struct dialect dialect_nchan = {
    .name = "nchan",
    .websocket = true,
    .tcp_publisher = true,
    .calls = true,
    .sub_path = "/sub/@N@",
    .pub_path = "/pub/@N@",
    .call_path = "/echo/@N@",
    .opened = opened,
    .split = http_split,
    .hear = nchan_hear,
    .publish = nchan_publish,
};
