#include "websocket.h"

#include <stdio.h>
#include <string.h>

#include "common.h"
#include "dialect.h"

static const char *path_of(const struct options *options, const struct conn *conn)
{
    return conn->role == ROLE_PUBLISHER ? options->pub_path : conn->role == ROLE_LISTENER ? options->sub_path : options->call_path;
}

void ws_ask(struct loop *loop, struct conn *conn)
{
    const struct options *options = loop->options;
    const char *path = path_of(options, conn), *mark = strstr(path, "@N@");
    char text[1024];
    const char *subprotocol = options->dialect->subprotocol;
    int before = mark != NULL ? (int)(mark - path) : (int)strlen(path);
    char number[16] = "";
    if (mark != NULL)
        snprintf(number, sizeof number, "%u", conn->channel);
    int size = snprintf(text, sizeof text,
                        "GET %.*s%s%s HTTP/1.1\r\nHost: 127.0.0.1:%u\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                        before, path, number, mark != NULL ? mark + 3 : "",
                        options->ports[conn->number % options->port_count],
                        subprotocol != NULL ? "Sec-WebSocket-Protocol: " : "", subprotocol != NULL ? subprotocol : "",
                        subprotocol != NULL ? "\r\n" : "");
    if (size < 0 || (size_t)size >= sizeof text)
        die("the path %s is too long", path);
    conn_send(loop, conn, text, (size_t)size);
}

size_t ws_answer(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    const char *end = memmem(data, size, "\r\n\r\n", 4);
    if (end == NULL)
        return 0;
    if (size < 12 || memcmp(data, "HTTP/1.1 101", 12) != 0) {
        const char *line = memchr(data, '\r', size);
        die("%s: the server refused the upgrade of %s: %.*s", loop->options->dialect->name,
            path_of(loop->options, conn), (int)(line - data), data);
    }
    return (size_t)(end - data) + 4;
}

size_t ws_split(const char *data, size_t size, const char **content, size_t *content_size, int *kind)
{
    if (size < 2)
        return 0;
    const unsigned char *head = (const unsigned char *)data;
    size_t length = head[1] & 0x7f, at = 2;
    if ((head[0] & 0xf0) != 0x80 || (head[1] & 0x80) != 0)
        die("a WebSocket frame begins with 0x%02x%02x: fragments, compression and masks are not expected from a server",
            head[0], head[1]);
    if (length == 126) {
        if (size < 4)
            return 0;
        length = (size_t)head[2] << 8 | head[3];
        at = 4;
    } else if (length == 127) {
        if (size < 10)
            return 0;
        length = 0;
        for (int i = 2; i < 10; i++)
            length = length << 8 | head[i];
        at = 10;
        if (length > (64u << 20) + 4096)
            die("a WebSocket frame of %zu bytes: nothing here is that large", length);
    }
    if (size - at < length)
        return 0;
    *content = data + at;
    *content_size = length;
    *kind = head[0] & 0x0f;
    return at + length;
}

/* A client masks what it sends (section 5.3). With a key of zeros that costs this side nothing and the server the same. */
static char *reserve(struct loop *loop, struct conn *conn, int kind, size_t size)
{
    size_t head = size < 126 ? 6 : size < 65536 ? 8 : 14;
    char *out = conn_reserve(loop, conn, head + size);
    out[0] = (char)(0x80 | kind);
    if (size < 126) {
        out[1] = (char)(0x80 | size);
    } else if (size < 65536) {
        out[1] = (char)0xfe;
        out[2] = (char)(size >> 8);
        out[3] = (char)size;
    } else {
        out[1] = (char)0xff;
        for (unsigned i = 0; i < 8; i++)
            out[2 + i] = (char)((uint64_t)size >> (56 - 8 * i));
    }
    memset(out + head - 4, 0, 4);
    return out + head;
}

void ws_send(struct loop *loop, struct conn *conn, int kind, const char *content, size_t size)
{
    memcpy(reserve(loop, conn, kind, size), content, size);
}

void ws_send_parts(struct loop *loop, struct conn *conn, const char *head, size_t head_size, const char *body,
                   size_t body_size, const char *foot, size_t foot_size)
{
    char *out = reserve(loop, conn, WS_TEXT, head_size + body_size + foot_size);
    memcpy(out, head, head_size);
    memcpy(out + head_size, body, body_size);
    memcpy(out + head_size + body_size, foot, foot_size);
}
