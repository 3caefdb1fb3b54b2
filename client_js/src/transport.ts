/** How messages travel: an interface, and the WebSocket that implements it. */

import type { Message } from "./codec.js";
import { ABNORMAL } from "./codes.js";

/** What a transport tells. Nothing more is told after `closed`, or after its `close()` was called. */
export interface TransportEvents {
  opened(): void;
  message(message: unknown): void;
  closed(code: number, reason: string): void;
}

/** One open (or opening) two-way stream of messages. */
export interface Transport {
  send(message: Message): void;
  /** Close at once, without waiting for the other side. */
  close(code: number, reason: string): void;
}

/** Opens a transport that speaks `subprotocol`. May throw; then nothing was opened. */
export type OpenTransport = (url: string, subprotocol: string, events: TransportEvents) => Transport;

interface SocketEvents {
  open: unknown;
  error: unknown;
  message: { readonly data: unknown };
  close: { readonly code: number; readonly reason: string };
}

/** The part of the WebSocket interface that is used; browsers, Node and the `ws` package have it. */
export interface WebSocketLike {
  binaryType: string;
  send(data: Message): void;
  close(code?: number, reason?: string): void;
  addEventListener<Name extends keyof SocketEvents>(
    type: Name,
    listener: (event: SocketEvents[Name]) => void,
  ): void;
}

/** Makes a WebSocket, as the global `WebSocket` does. */
export type WebSocketConstructor = new (url: string, protocols: string[]) => WebSocketLike;

/** Opens WebSockets with the given constructor. */
export function webSockets(WebSocket: WebSocketConstructor): OpenTransport {
  return (url, subprotocol, events) => {
    const socket = new WebSocket(url, [subprotocol]);
    socket.binaryType = "arraybuffer";
    let live = true;
    socket.addEventListener("open", () => {
      if (live) events.opened();
    });
    // `close` follows and tells all there is. The `ws` package ends the process if nobody listens to this.
    socket.addEventListener("error", () => undefined);
    socket.addEventListener("message", (event) => {
      if (live) events.message(event.data);
    });
    socket.addEventListener("close", ({ code, reason }) => {
      if (!live) return;
      live = false;
      events.closed(
        code,
        reason || (code === ABNORMAL ? "The connection was lost or could not be opened." : ""),
      );
    });
    return {
      send: (message) => socket.send(message),
      close(code, reason) {
        live = false;
        socket.close(code, reason);
      },
    };
  };
}

/**
 * The platform's WebSocket.
 *
 * Throws `TypeError` where there is none (Node before 22).
 */
export function platformWebSocket(): WebSocketConstructor {
  const found = (globalThis as { WebSocket?: WebSocketConstructor }).WebSocket;
  if (found === undefined) {
    throw new TypeError(
      "This platform has no WebSocket. Use Node 22 or newer, or pass one: " +
        'new Client(url, { WebSocket: (await import("ws")).WebSocket }).',
    );
  }
  return found;
}
