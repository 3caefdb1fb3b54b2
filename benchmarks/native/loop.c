#include "loop.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"
#include "dialect.h"
#include "websocket.h"

#define READ_SIZE (256u * 1024u)
/* NATS puts all that waits for a slow reader into one frame, up to 64 MB. The memory is only used where that comes. */
#define TAIL_LARGEST (96u * 1024u * 1024u)
#define EVENTS 512
#define SLOW_BUFFER 4096

static void read_tokens(struct loop *loop, const char *path)
{
    FILE *file = fopen(path, "r");
    if (file == NULL)
        die("cannot read the tokens in %s: %s", path, strerror(errno));
    char *line = NULL;
    size_t room = 0;
    for (ssize_t size; (size = getline(&line, &room, file)) > 0;) {
        while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
            line[--size] = '\0';
        if (size == 0)
            continue;
        loop->tokens = must_alloc(loop->tokens, (loop->token_count + 1) * sizeof *loop->tokens);
        loop->tokens[loop->token_count++] = strdup(line);
    }
    free(line);
    fclose(file);
    if (loop->token_count == 0)
        die("%s holds no token: one a line is expected", path);
}

void loop_init(struct loop *loop, const struct options *options)
{
    memset(loop, 0, sizeof *loop);
    loop->options = options;
    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll < 0)
        die("epoll: %s", strerror(errno));
    loop->buffer = must_alloc(NULL, READ_SIZE + TAIL_LARGEST);
    if (options->tokens_file != NULL)
        read_tokens(loop, options->tokens_file);
}

const char *loop_token(const struct loop *loop, const struct conn *conn)
{
    return loop->token_count > 0 ? loop->tokens[conn->token % loop->token_count] : NULL;
}

static void watch(struct loop *loop, struct conn *conn, int operation)
{
    struct epoll_event event = {.data.ptr = conn};
    event.events = (conn->paused ? 0u : (uint32_t)EPOLLIN) | (conn->blocked ? (uint32_t)EPOLLOUT : 0u);
    if (epoll_ctl(loop->epoll, operation, conn->fd, &event) != 0)
        die("epoll: %s", strerror(errno));
}

static unsigned port_of(const struct loop *loop, const struct conn *conn)
{
    const struct options *options = loop->options;
    if (conn->role == ROLE_PUBLISHER)
        return options->pub_ports[conn->number % options->pub_port_count] + options->dialect->publisher_port;
    return options->ports[conn->number % options->port_count];
}

void conn_open(struct loop *loop, struct conn *conn)
{
    conn->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (conn->fd < 0)
        die("socket: %s", strerror(errno));
    int yes = 1;
    setsockopt(conn->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
    if (conn->may_close) { /* a slow reader: the kernel must not read on its behalf */
        int small = SLOW_BUFFER;
        setsockopt(conn->fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof small);
    }
    struct sockaddr_in to = {.sin_family = AF_INET};
    unsigned port = port_of(loop, conn);
    to.sin_port = htons((uint16_t)port);
    to.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    conn->began = now_ns();
    conn->state = STATE_CONNECTING;
    conn->step = 0;
    conn->blocked = true; /* writable means connected */
    if (connect(conn->fd, (struct sockaddr *)&to, sizeof to) != 0 && errno != EINPROGRESS) {
        if (errno == EADDRNOTAVAIL)
            die("no local port is left: widen net.ipv4.ip_local_port_range or ask for fewer connections");
        die("cannot connect to 127.0.0.1:%u: %s", port, strerror(errno));
    }
    watch(loop, conn, EPOLL_CTL_ADD);
}

void conn_close(struct loop *loop, struct conn *conn)
{
    (void)loop; /* closing takes it out of the epoll set */
    if (conn->state == STATE_CLOSED || conn->state == STATE_NEW)
        return;
    struct linger reset = {.l_onoff = 1, .l_linger = 0};
    setsockopt(conn->fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    close(conn->fd);
    free(conn->tail);
    free(conn->piece);
    free(conn->out);
    conn->tail = conn->piece = conn->out = NULL;
    conn->tail_size = conn->piece_size = conn->out_size = conn->out_sent = conn->out_room = 0;
    conn->fd = -1;
    conn->state = STATE_CLOSED;
}

void conn_lost(struct loop *loop, struct conn *conn, const char *why, size_t size)
{
    if (!conn->may_close)
        die("%s: connection %u was ended by the server: %.*s", loop->options->dialect->name, conn->number, (int)size, why);
    conn_close(loop, conn);
    if (loop->handlers.closed != NULL)
        loop->handlers.closed(loop, conn);
}

void conn_ready(struct loop *loop, struct conn *conn)
{
    conn->state = STATE_READY;
    if (loop->handlers.ready != NULL)
        loop->handlers.ready(loop, conn);
}

void conn_pause(struct loop *loop, struct conn *conn, bool paused)
{
    conn->paused = paused;
    watch(loop, conn, EPOLL_CTL_MOD);
}

char *conn_reserve(struct loop *loop, struct conn *conn, size_t size)
{
    if (!conn->dirty) {
        if (loop->dirty_count == loop->dirty_room) {
            loop->dirty_room = loop->dirty_room > 0 ? loop->dirty_room * 2 : 256;
            loop->dirty = must_alloc(loop->dirty, loop->dirty_room * sizeof(struct conn *));
        }
        loop->dirty[loop->dirty_count++] = conn;
        conn->dirty = true;
    }
    if (conn->out_size + size > conn->out_room) {
        size_t room = conn->out_room > 0 ? conn->out_room : 256;
        while (room < conn->out_size + size)
            room *= 2;
        if (room > 64u * 1024u * 1024u)
            die("%s: more than 64 MB wait to be sent: the server does not read; lower --window or --rate",
                loop->options->dialect->name);
        conn->out = must_alloc(conn->out, room);
        conn->out_room = (uint32_t)room;
    }
    char *at = conn->out + conn->out_size;
    conn->out_size += (uint32_t)size;
    return at;
}

void conn_send(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    memcpy(conn_reserve(loop, conn, size), data, size);
}

static void write_out(struct loop *loop, struct conn *conn)
{
    while (conn->out_sent < conn->out_size) {
        ssize_t sent = send(conn->fd, conn->out + conn->out_sent, conn->out_size - conn->out_sent, MSG_NOSIGNAL);
        if (sent >= 0) {
            conn->out_sent += (uint32_t)sent;
            continue;
        }
        if (errno == EAGAIN || errno == EINTR) {
            if (!conn->blocked) {
                conn->blocked = true;
                watch(loop, conn, EPOLL_CTL_MOD);
            }
            return;
        }
        const char *why = strerror(errno);
        conn_lost(loop, conn, why, strlen(why));
        return;
    }
    conn->out_size = conn->out_sent = 0;
    if (conn->role != ROLE_PUBLISHER && conn->role != ROLE_CALLER) { /* idle connections keep nothing */
        free(conn->out);
        conn->out = NULL;
        conn->out_room = 0;
    }
    if (conn->blocked) {
        conn->blocked = false;
        watch(loop, conn, EPOLL_CTL_MOD);
    }
}

void loop_flush(struct loop *loop)
{
    for (size_t i = 0; i < loop->dirty_count; i++) {
        struct conn *conn = loop->dirty[i];
        conn->dirty = false;
        if (conn->state > STATE_CONNECTING && conn->state < STATE_CLOSED && !conn->blocked)
            write_out(loop, conn);
    }
    loop->dirty_count = 0;
}

void loop_refused(struct loop *loop, const char *text, size_t size)
{
    if (loop->refusals++ == 0)
        snprintf(loop->refusal, sizeof loop->refusal, "%.*s", (int)size, text);
}

bool conn_delivery(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    struct stamp stamp;
    if (!stamp_read(data, size, &loop->hint, &stamp))
        return false;
    if (conn->role != ROLE_LISTENER)
        return true; /* some servers send a publisher its own */
    if (stamp.channel != conn->channel)
        die("%s: a listener of channel %u was sent an event of channel %u", loop->options->dialect->name, conn->channel,
            stamp.channel);
    if (loop->handlers.event != NULL)
        loop->handlers.event(loop, conn, &stamp);
    return true;
}

/* A piece of a stream: handle the messages that are whole now, keep the rest for the next piece. */
static void hear_piece(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    const struct dialect *dialect = loop->options->dialect;
    bool kept = conn->piece_size > 0;
    if (kept) {
        if (conn->piece_size + size > TAIL_LARGEST)
            die("%s: a message of more than %u bytes", dialect->name, TAIL_LARGEST);
        conn->piece = must_alloc(conn->piece, conn->piece_size + size);
        memcpy(conn->piece + conn->piece_size, data, size);
        data = conn->piece;
        size += conn->piece_size;
    }
    for (size_t used; size > 0 && (used = dialect->split(data, size)) > 0;) {
        dialect->hear(loop, conn, data, used);
        if (conn->state == STATE_CLOSED)
            return;
        data += used;
        size -= used;
    }
    if (size > 0 && kept) {
        memmove(conn->piece, data, size);
    } else if (size > 0) {
        conn->piece = must_alloc(conn->piece, size);
        memcpy(conn->piece, data, size);
    } else {
        free(conn->piece);
        conn->piece = NULL;
    }
    conn->piece_size = (uint32_t)size;
}

/* The size of the first message, which is then handled; 0 if it is not whole. */
static size_t take(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    const struct dialect *dialect = loop->options->dialect;
    if (conn->state == STATE_UPGRADING) {
        size_t used = ws_answer(loop, conn, data, size);
        if (used > 0) {
            conn->state = STATE_GREETING;
            dialect->opened(loop, conn);
        }
        return used;
    }
    if (!dialect_is_websocket(dialect, conn)) {
        size_t used = dialect->split(data, size);
        if (used > 0)
            dialect->hear(loop, conn, data, used);
        return used;
    }
    const char *content;
    size_t content_size;
    int kind;
    size_t used = ws_split(data, size, &content, &content_size, &kind);
    if (used == 0)
        return 0;
    if (kind == WS_TEXT || kind == WS_BINARY) {
        if (dialect->stream)
            hear_piece(loop, conn, content, content_size);
        else
            dialect->hear(loop, conn, content, content_size);
    } else if (kind == WS_PING) {
        ws_send(loop, conn, WS_PONG, content, content_size);
    } else if (kind == WS_CLOSE) {
        char why[160];
        unsigned code = content_size >= 2 ? (unsigned)(unsigned char)content[0] << 8 | (unsigned char)content[1] : 1005;
        int text = content_size > 2 ? (int)content_size - 2 : 0;
        int length = snprintf(why, sizeof why, "close code %u %.*s", code, text, content + 2);
        conn_lost(loop, conn, why, (size_t)length < sizeof why ? (size_t)length : sizeof why - 1);
    }
    return used;
}

static void read_in(struct loop *loop, struct conn *conn)
{
    size_t have = conn->tail_size;
    if (have > 0) {
        memcpy(loop->buffer, conn->tail, have);
        conn->tail_size = 0;
    }
    ssize_t got = recv(conn->fd, loop->buffer + have, READ_SIZE, 0);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR)) {
            conn->tail_size = (uint32_t)have; /* the bytes are still there */
            return;
        }
        const char *why = got == 0 ? "closed" : strerror(errno);
        conn_lost(loop, conn, why, strlen(why));
        return;
    }
    loop->now = now_ns();
    if (conn->role == ROLE_LISTENER && conn->state == STATE_READY) {
        loop->reads++;
        loop->bytes += (uint64_t)got;
    }
    const char *data = loop->buffer;
    size_t size = have + (size_t)got;
    for (size_t used; size > 0 && (used = take(loop, conn, data, size)) > 0;) {
        if (conn->state == STATE_CLOSED || conn->state == STATE_CONNECTING)
            return; /* closed, perhaps opened again, by what was heard */
        data += used;
        size -= used;
    }
    if (size > 0) {
        if (size > TAIL_LARGEST)
            die("%s: a message of more than %u bytes", loop->options->dialect->name, TAIL_LARGEST);
        conn->tail = must_alloc(conn->tail, size);
        memcpy(conn->tail, data, size);
    } else if (conn->tail != NULL) {
        free(conn->tail);
        conn->tail = NULL;
    }
    conn->tail_size = (uint32_t)size;
}

static void connected(struct loop *loop, struct conn *conn)
{
    int error = 0;
    socklen_t size = sizeof error;
    getsockopt(conn->fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0)
        die("cannot connect to 127.0.0.1:%u: %s", port_of(loop, conn), strerror(error));
    const struct dialect *dialect = loop->options->dialect;
    conn->blocked = false;
    watch(loop, conn, EPOLL_CTL_MOD);
    if (dialect_is_websocket(dialect, conn)) {
        conn->state = STATE_UPGRADING;
        ws_ask(loop, conn);
    } else {
        conn->state = STATE_GREETING;
        dialect->opened(loop, conn);
    }
}

void loop_turn(struct loop *loop, int wait_ms)
{
    struct epoll_event events[EVENTS];
    loop_flush(loop);
    uint64_t began = now_ns();
    int count = epoll_wait(loop->epoll, events, EVENTS, loop->options->spin ? 0 : wait_ms);
    if (count < 0 && errno != EINTR)
        die("epoll: %s", strerror(errno));
    if (count == 0 || !loop->options->spin)
        loop->idle += now_ns() - began;
    for (int i = 0; i < count; i++) {
        struct conn *conn = events[i].data.ptr;
        if (conn->state == STATE_CONNECTING)
            connected(loop, conn);
        else if (conn->state != STATE_CLOSED && (events[i].events & EPOLLOUT) != 0)
            write_out(loop, conn);
        if (conn->state > STATE_CONNECTING && conn->state < STATE_CLOSED && (events[i].events & ~(uint32_t)EPOLLOUT) != 0)
            read_in(loop, conn);
    }
    loop_flush(loop);
}

void conn_open_all(struct loop *loop, struct conn *conns, size_t count, unsigned parallel)
{
    size_t opened = 0, first = 0;
    uint64_t progress = now_ns();
    while (first < count) {
        /* Those below `first` are all ready; what is between it and `opened` is at most `parallel` wide. */
        while (opened < count && opened - first < parallel)
            conn_open(loop, &conns[opened++]);
        loop_turn(loop, 10);
        size_t before = first;
        while (first < opened && conns[first].state == STATE_READY)
            first++;
        if (first > before)
            progress = now_ns();
        else if ((double)(now_ns() - progress) > loop->options->stall * 1e9 + 10e9)
            die("%s: connection %zu of %zu does not get ready: it is in %s step %u", loop->options->dialect->name, first + 1,
                count, conns[first].state < STATE_GREETING ? "the handshake," : "the greeting,", conns[first].step);
    }
}
