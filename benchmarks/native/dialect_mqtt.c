/* MQTT 3.1.1, quality of service 0, inside WebSocket messages for listeners and on TCP for publishers. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "common.h"
#include "dialect.h"

enum { CONNECT = 0x10, CONNACK = 0x20, PUBLISH = 0x30, SUBSCRIBE = 0x82, SUBACK = 0x90 };

static size_t split(const char *data, size_t size)
{
    size_t length = 0;
    for (size_t i = 1; i < size && i < 5; i++) { /* 7 bits a byte, the lowest first (section 2.2.3) */
        length |= (size_t)(data[i] & 0x7f) << (7 * (i - 1));
        if ((data[i] & 0x80) == 0)
            return i + 1 + length <= size ? i + 1 + length : 0;
    }
    return 0;
}

/* Write a packet's head; its size. */
static size_t head(char *out, int kind, size_t length)
{
    size_t used = 1;
    out[0] = (char)kind;
    do {
        out[used] = (char)(length & 0x7f);
        length >>= 7;
        if (length > 0)
            out[used] |= (char)0x80;
        used++;
    } while (length > 0);
    return used;
}

/* A text behind its size in two bytes. */
static size_t text(char *out, const char *value)
{
    size_t size = strlen(value);
    out[0] = (char)(size >> 8);
    out[1] = (char)size;
    memcpy(out + 2, value, size);
    return size + 2;
}

static void opened(struct loop *loop, struct conn *conn)
{
    static unsigned client;
    char name[32], packet[96];
    snprintf(name, sizeof name, "load-%d-%u", (int)getpid(), client++); /* unique: a second one would end the first */
    size_t used = head(packet, CONNECT, 10 + 2 + strlen(name));
    used += text(packet + used, "MQTT");
    memcpy(packet + used, "\x04\x02\x00\x00", 4); /* version 4, clean session, no keep-alive */
    used += 4;
    used += text(packet + used, name);
    dialect_send(loop, conn, packet, used);
}

static void subscribe(struct loop *loop, struct conn *conn)
{
    char topic[24], packet[64];
    snprintf(topic, sizeof topic, "c/%u", conn->channel);
    size_t used = head(packet, SUBSCRIBE, 2 + 2 + strlen(topic) + 1);
    memcpy(packet + used, "\x00\x01", 2);
    used += 2;
    used += text(packet + used, topic);
    packet[used++] = 0; /* quality of service */
    dialect_send(loop, conn, packet, used);
}

static void hear(struct loop *loop, struct conn *conn, const char *data, size_t size)
{
    switch ((unsigned char)data[0] & 0xf0) {
    case PUBLISH:
        conn_delivery(loop, conn, data, size);
        break;
    case CONNACK:
        if (size < 4 || data[3] != 0)
            die("mqtt: the server refused the connection with code %d", size < 4 ? -1 : data[3]);
        if (conn->role == ROLE_LISTENER)
            subscribe(loop, conn);
        else
            conn_ready(loop, conn);
        break;
    case SUBACK:
        if ((unsigned char)data[size - 1] == 0x80)
            die("mqtt: the server refused the subscription to c/%u", conn->channel);
        conn_ready(loop, conn);
        break;
    default:
        break;
    }
}

static void publish(struct loop *loop, struct conn *conn, uint32_t channel, const char *payload, size_t size)
{
    char topic[24], start[48];
    snprintf(topic, sizeof topic, "c/%u", channel);
    size_t used = head(start, PUBLISH, 2 + strlen(topic) + size);
    used += text(start + used, topic);
    conn_send(loop, conn, start, used);
    conn_send(loop, conn, payload, size);
}

const struct dialect dialect_mqtt = {
    .name = "mqtt",
    .websocket = true,
    .tcp_publisher = true,
    .stream = true,
    .publisher_port = 1,
    .sub_path = "/mqtt",
    .pub_path = "/mqtt",
    .call_path = "/mqtt",
    .subprotocol = "mqtt",
    .opened = opened,
    .split = split,
    .hear = hear,
    .publish = publish,
};
