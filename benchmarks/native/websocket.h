/* RFC 6455, the client's side, as little as a load needs: whole messages, masked with zeros. */
#ifndef BENCH_WEBSOCKET_H
#define BENCH_WEBSOCKET_H

#include "loop.h"

enum { WS_TEXT = 1, WS_BINARY = 2, WS_CLOSE = 8, WS_PING = 9, WS_PONG = 10 };

#define WS_HEAD_LARGEST 10

/* Ask for the upgrade. */
void ws_ask(struct loop *loop, struct conn *conn);

/* Read the answer: its size if it is whole and grants the upgrade, 0 if it is not whole. */
size_t ws_answer(struct loop *loop, struct conn *conn, const char *data, size_t size);

/* The size of the first frame in `data` (0 if it is not whole), where its content lies, and its kind. */
size_t ws_split(const char *data, size_t size, const char **content, size_t *content_size, int *kind);

/* Queue a message. */
void ws_send(struct loop *loop, struct conn *conn, int kind, const char *content, size_t size);

/* Queue a text message made of three parts, without putting them together first. */
void ws_send_parts(struct loop *loop, struct conn *conn, const char *head, size_t head_size, const char *body,
                   size_t body_size, const char *foot, size_t foot_size);

#endif
