#include "dialect.h"

#include <string.h>

#include "websocket.h"

const char dialect_names[] = "backchannel text-ws bun socketio python-socketio nats mqtt nchan floor";

const struct dialect *dialect_named(const char *name)
{
    static const struct dialect *const all[] = {
        &dialect_backchannel, &dialect_text, &dialect_bun,   &dialect_socketio, &dialect_python_socketio,
        &dialect_nats,        &dialect_mqtt, &dialect_nchan, &dialect_floor,
    };
    for (size_t i = 0; i < sizeof all / sizeof *all; i++)
        if (strcmp(all[i]->name, name) == 0)
            return all[i];
    return NULL;
}

bool dialect_is_websocket(const struct dialect *dialect, const struct conn *conn)
{
    return dialect->websocket && !(dialect->tcp_publisher && conn->role == ROLE_PUBLISHER);
}

void dialect_send(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    if (dialect_is_websocket(loop->options->dialect, conn))
        ws_send(loop, conn, WS_BINARY, data, size);
    else
        conn_send(loop, conn, data, size);
}

uint64_t dialect_id(const char *data, size_t size)
{
    const char *found = memmem(data, size, "\"id\":", 5);
    uint64_t id = 0;
    if (found != NULL)
        for (const char *at = found + 5; at < data + size && *at >= '0' && *at <= '9'; at++)
            id = id * 10 + (uint64_t)(*at - '0');
    return id;
}
