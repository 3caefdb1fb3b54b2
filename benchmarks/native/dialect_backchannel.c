/* Backchannel over WebSocket, in JSON. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "common.h"
#include "dialect.h"
#include "websocket.h"

enum { STEP_CONNECT = 1, STEP_SUBSCRIBE };

static bool begins(const char *data, size_t size, const char *with)
{
    size_t length = strlen(with);
    return size >= length && memcmp(data, with, length) == 0;
}

/* Copy the text behind `"field":"`; false if it is not there or does not fit. */
static bool text_of(const char *data, size_t size, const char *field, char *out, size_t room)
{
    char key[40];
    int length = snprintf(key, sizeof key, "\"%s\":\"", field);
    const char *found = memmem(data, size, key, (size_t)length);
    if (found == NULL)
        return false;
    const char *from = found + length, *end = memchr(from, '"', (size_t)(data + size - from));
    if (end == NULL || (size_t)(end - from) >= room)
        return false;
    memcpy(out, from, (size_t)(end - from));
    out[end - from] = '\0';
    return true;
}

static uint64_t number_of(const char *data, size_t size, const char *field)
{
    char key[40];
    int length = snprintf(key, sizeof key, "\"%s\":", field);
    const char *found = memmem(data, size, key, (size_t)length);
    uint64_t number = 0;
    if (found != NULL)
        for (const char *at = found + length; at < data + size && *at >= '0' && *at <= '9'; at++)
            number = number * 10 + (uint64_t)(*at - '0');
    return number;
}

static void opened(struct loop *loop, struct conn *conn)
{
    const char *token = loop_token(loop, conn);
    char text[10240], resume[512] = "", given[8704] = "";
    if (token != NULL && (size_t)snprintf(given, sizeof given, ",\"token\":\"%s\"", token) >= sizeof given)
        die("a token of %zu bytes is too long", strlen(token));
    if (conn->resume)
        snprintf(resume, sizeof resume, ",\"resume\":{\"%s%u\":{\"epoch\":\"%s\",\"offset\":%llu}}", loop->options->prefix,
                 conn->channel, conn->position->epoch, (unsigned long long)conn->position->offset);
    int size = snprintf(text, sizeof text, "{\"type\":\"connect\",\"id\":1%s%s}", given, resume);
    ws_send(loop, conn, WS_TEXT, text, (size_t)size);
    conn->step = STEP_CONNECT;
    conn->last_id = 1;
}

static void subscribe(struct loop *loop, struct conn *conn)
{
    char text[256];
    conn->awaited = loop->options->subscriptions;
    for (unsigned i = 0; i < loop->options->subscriptions; i++) {
        int size = snprintf(text, sizeof text, "{\"type\":\"subscribe\",\"id\":%u,\"channel\":\"%s%u\"}", ++conn->last_id,
                            loop->options->prefix, conn->channel + i);
        ws_send(loop, conn, WS_TEXT, text, (size_t)size);
    }
}

/* `subscribed` also comes for channels that the server adds itself, as the user's own. */
static void subscribed(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    char channel[256], verdict[16] = "";
    size_t prefix = strlen(loop->options->prefix);
    if (conn->state != STATE_GREETING || conn->role != ROLE_LISTENER ||
        !text_of(data, size, "channel", channel, sizeof channel) || strncmp(channel, loop->options->prefix, prefix) != 0 ||
        strtoul(channel + prefix, NULL, 10) - conn->channel >= loop->options->subscriptions)
        return;
    text_of(data, size, "verdict", verdict, sizeof verdict);
    if (conn->resume && strcmp(verdict, "recovered") != 0)
        die("backchannel: connection %u was not resumed: the verdict is `%s`; ask for fewer --missed events than the "
            "server recovers", conn->number, verdict);
    if (conn->position != NULL && !conn->resume) {
        conn->position->offset = number_of(data, size, "offset");
        if (!text_of(data, size, "epoch", conn->position->epoch, sizeof conn->position->epoch))
            die("backchannel: `subscribed` without an epoch: %.*s", (int)size, data);
    }
    if (conn->resume || --conn->awaited == 0)
        conn_ready(loop, conn);
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (begins(data, size, "{\"type\":\"event\"")) {
        conn_delivery(loop, conn, data, size);
    } else if (begins(data, size, "{\"type\":\"reply\"")) {
        if (loop->handlers.reply != NULL && conn->calls != NULL)
            loop->handlers.reply(loop, conn, dialect_id(data, size), NULL, 0);
    } else if (begins(data, size, "{\"type\":\"error\"")) {
        if (conn->state != STATE_READY)
            die("backchannel: connection %u was refused: %.*s", conn->number, (int)size, data);
        loop_refused(loop, data, size);
        if (loop->handlers.reply != NULL && conn->calls != NULL)
            loop->handlers.reply(loop, conn, dialect_id(data, size), data, size);
        else
            die("backchannel: a publish was refused: %.*s", (int)size, data);
    } else if (begins(data, size, "{\"type\":\"ping\"")) {
        static const char pong[] = "{\"type\":\"pong\"}";
        ws_send(loop, conn, WS_TEXT, pong, sizeof pong - 1);
    } else if (begins(data, size, "{\"type\":\"connected\"")) {
        if (conn->role != ROLE_LISTENER) {
            conn_ready(loop, conn);
        } else if (!conn->resume) {
            conn->step = STEP_SUBSCRIBE;
            subscribe(loop, conn);
        }
    } else if (begins(data, size, "{\"type\":\"subscribed\"")) {
        subscribed(loop, conn, data, size);
    } else if (begins(data, size, "{\"type\":\"gap\"")) {
        if (loop->handlers.gap != NULL && conn->role == ROLE_LISTENER)
            loop->handlers.gap(loop, conn, number_of(data, size, "from"), number_of(data, size, "to"));
    } else if (begins(data, size, "{\"type\":\"unsubscribed\"")) {
        conn_lost(loop, conn, data, size);
    }
    /* A client ignores every other frame: presence, move, and what later versions add. */
}

static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char head[320], id[32] = "";
    /* The first is to be answered, so that a refusal gives a reason instead of silence. */
    if (conn->last_id == 1)
        snprintf(id, sizeof id, "\"id\":%u,", ++conn->last_id);
    int head_size = snprintf(head, sizeof head, "{\"type\":\"publish\",%s\"channel\":\"%s%u\",\"name\":\"%s\",\"data\":", id,
                             loop->options->prefix, channel, loop->options->event);
    ws_send_parts(loop, conn, head, (size_t)head_size, payload, size, "}", 1);
}

const struct dialect dialect_backchannel = {
    .name = "backchannel",
    .websocket = true,
    .calls = true,
    .resumes = true,
    .sub_path = "/ws",
    .pub_path = "/ws",
    .call_path = "/ws",
    .subprotocol = "backchannel.v1.json",
    .opened = opened,
    .hear = hear,
    .publish = publish,
};
