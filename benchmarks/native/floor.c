/* The floor of fan-out: what is published is sent to every listener of its channel, by one send() per delivery or, with
 * --join K, by one for up to K that arrived together. TCP on loopback and nothing else: no protocol, no history, no
 * checks. The least that a server with these system calls can cost.
 *
 * A connection begins with three bytes: L or P, and a listener's channel (big endian); a listener is answered by an empty
 * frame. A publisher then sends the channel and a frame as WebSocket has it, again and again; the frame goes out as it is. */
#include <arpa/inet.h>
#include <errno.h>
#include <getopt.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "common.h"

#define CHANNELS 65536u
#define EVENTS 512
#define READ_SIZE (256u * 1024u)
#define HELLO 3u

struct channel {
    int *listeners;
    size_t count, room;
    char *pending; /* frames that wait to be sent together */
    size_t pending_size, pending_room, pending_count;
    bool touched;
};

struct client {
    int fd;
    char kind; /* 0 until its first bytes have come */
    uint32_t channel;
    char *data;
    size_t size;
};

static struct channel channels[CHANNELS];
static uint32_t touched[CHANNELS];
static size_t touched_count;
static size_t join = 1;

/* A socket that is full is waited for: the floor loses nothing, and a listener that does not read stops it. */
static void send_all(int fd, const char *data, size_t size)
{
    while (size > 0) {
        ssize_t sent = send(fd, data, size, MSG_NOSIGNAL);
        if (sent >= 0) {
            data += sent;
            size -= (size_t)sent;
        } else if (errno == EAGAIN) {
            struct pollfd full = {.fd = fd, .events = POLLOUT};
            poll(&full, 1, -1);
        } else if (errno != EINTR) {
            return; /* it is gone; reading says so too */
        }
    }
}

static void flush(struct channel *channel)
{
    for (size_t i = 0; i < channel->count; i++)
        send_all(channel->listeners[i], channel->pending, channel->pending_size);
    channel->pending_size = channel->pending_count = 0;
}

static void deliver(uint32_t number, const char *frame, size_t size)
{
    struct channel *channel = &channels[number];
    if (join == 1) {
        for (size_t i = 0; i < channel->count; i++)
            send_all(channel->listeners[i], frame, size);
        return;
    }
    if (channel->pending_size + size > channel->pending_room) {
        channel->pending_room = (channel->pending_size + size) * 2;
        channel->pending = must_alloc(channel->pending, channel->pending_room);
    }
    memcpy(channel->pending + channel->pending_size, frame, size);
    channel->pending_size += size;
    if (!channel->touched) {
        channel->touched = true;
        touched[touched_count++] = number;
    }
    if (++channel->pending_count == join)
        flush(channel);
}

/* Handle what is whole; the size of that. */
static size_t publish_all(const char *data, size_t size)
{
    size_t used = 0;
    while (size - used >= 4) {
        const unsigned char *at = (const unsigned char *)data + used;
        size_t head = at[3] < 126 ? 2 : 4;
        if (size - used < 2 + head)
            break;
        size_t frame = head + (head == 2 ? at[3] : (size_t)at[4] << 8 | at[5]);
        if (size - used < 2 + frame)
            break;
        deliver((uint32_t)at[0] << 8 | at[1], data + used + 2, frame);
        used += 2 + frame;
    }
    for (size_t i = 0; i < touched_count; i++) {
        channels[touched[i]].touched = false;
        flush(&channels[touched[i]]);
    }
    touched_count = 0;
    return used;
}

static void add_listener(struct client *client)
{
    struct channel *channel = &channels[client->channel];
    if (channel->count == channel->room) {
        channel->room = channel->room > 0 ? channel->room * 2 : 16;
        channel->listeners = must_alloc(channel->listeners, channel->room * sizeof(int));
    }
    channel->listeners[channel->count++] = client->fd;
    send_all(client->fd, "\x81\x00", 2);
}

static void leave(struct client *client)
{
    if (client->kind == 'L') {
        struct channel *channel = &channels[client->channel];
        for (size_t i = 0; i < channel->count; i++)
            if (channel->listeners[i] == client->fd)
                channel->listeners[i--] = channel->listeners[--channel->count];
    }
    close(client->fd);
    free(client->data);
    free(client);
}

static void read_from(struct client *client)
{
    static char buffer[READ_SIZE * 2];
    if (client->size > 0)
        memcpy(buffer, client->data, client->size);
    ssize_t got = recv(client->fd, buffer + client->size, READ_SIZE, 0);
    if (got <= 0) {
        if (got == 0 || (errno != EAGAIN && errno != EINTR))
            leave(client);
        return;
    }
    size_t size = client->size + (size_t)got, used = 0;
    if (client->kind == 0 && size >= HELLO) {
        client->kind = buffer[0];
        client->channel = (uint32_t)(unsigned char)buffer[1] << 8 | (unsigned char)buffer[2];
        used = HELLO;
        if (client->kind == 'L')
            add_listener(client);
        else
            send_all(client->fd, "\x81\x00", 2);
    }
    if (client->kind == 'P')
        used += publish_all(buffer + used, size - used);
    else if (client->kind != 0)
        used = size; /* a listener has nothing to say */
    client->size = size - used;
    if (client->size > READ_SIZE)
        die("a publish of more than %u bytes", READ_SIZE);
    if (client->size > 0) {
        client->data = must_alloc(client->data, client->size);
        memcpy(client->data, buffer + used, client->size);
    }
}

static void accept_all(int epoll, int listening)
{
    for (int fd; (fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        int yes = 1;
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
        struct client *client = must_zero(1, sizeof *client);
        client->fd = fd;
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = client};
        epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event);
    }
}

static int listen_on(unsigned port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0), yes = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof yes);
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof at;
    if (fd < 0 || bind(fd, (struct sockaddr *)&at, size) != 0 || listen(fd, 16384) != 0 ||
        getsockname(fd, (struct sockaddr *)&at, &size) != 0)
        die("cannot listen on 127.0.0.1:%u: %s", port, strerror(errno));
    printf("listening on 127.0.0.1:%u\n", ntohs(at.sin_port));
    fflush(stdout);
    return fd;
}

static void help(void)
{
    puts("floor: the least that fan-out costs, on TCP and loopback; see benchmarks/native/README.md\n"
         "\n"
         "  --port P     where to listen; 0, the default, takes a free port. It is printed: listening on 127.0.0.1:P\n"
         "  --join K     up to K deliveries in one send; default 1\n"
         "  --cpu N      pin to this core\n"
         "  --limit S    end after S seconds; default 3600\n");
}

int main(int count, char **words)
{
    static const struct option known[] = {
        {"port", required_argument, NULL, 'p'}, {"join", required_argument, NULL, 'j'}, {"cpu", required_argument, NULL, 'c'},
        {"limit", required_argument, NULL, 'l'}, {"help", no_argument, NULL, 'h'},      {NULL, 0, NULL, 0},
    };
    unsigned port = 0, limit = 3600;
    for (int option; (option = getopt_long(count, words, "", known, NULL)) != -1;) {
        unsigned long value = optarg != NULL ? strtoul(optarg, NULL, 10) : 0;
        if (option == 'p' && value < 65536)
            port = (unsigned)value;
        else if (option == 'j' && value > 0)
            join = value;
        else if (option == 'c')
            pin_to((int)value);
        else if (option == 'l' && value > 0)
            limit = (unsigned)value;
        else if (option == 'h')
            return help(), 0;
        else
            die("see floor --help");
    }
    alarm(limit);
    need_files(0);
    int epoll = epoll_create1(EPOLL_CLOEXEC), listening = listen_on(port);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (epoll < 0 || epoll_ctl(epoll, EPOLL_CTL_ADD, listening, &event) != 0)
        die("epoll: %s", strerror(errno));
    for (;;) {
        struct epoll_event events[EVENTS];
        int ready = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < ready; i++) {
            if (events[i].data.ptr == NULL)
                accept_all(epoll, listening);
            else
                read_from(events[i].data.ptr);
        }
    }
}
