/**
 * A server that knows the protocol and nothing else, in this process and without time of its own.
 *
 * It does nothing by itself: a test accepts the socket that a client opens, takes the frames that came,
 * and sends frames. To extend it, add a helper to `Peer` that sends or takes one frame.
 */

import { expect } from "vitest";
import type { Emitter } from "../src/emitter.js";
import { Client, type ClientOptions, type Subscription, type WebSocketLike } from "../src/index.js";
import type { ClientFrame, ConnectedFrame, Limits, ServerFrame } from "../src/protocol.gen.js";

type Listener = (event: never) => void;
export type FrameOf<Type extends ClientFrame["type"]> = Extract<ClientFrame, { readonly type: Type }>;

export const LIMITS: Limits = {
  frame: 65536,
  nesting: 32,
  token: 8192,
  channels: 512,
  calls: 50,
  burst: 200,
  open_requests: 256,
  queued: 1048576,
  history: 1000,
  recovery: 500,
  connect: 10,
  call: 10,
};

/** The server's end of one WebSocket, and the client's end in one object. */
export class Peer implements WebSocketLike {
  binaryType = "blob";
  readonly url: string;
  readonly protocols: readonly string[];
  /** What came and was not taken yet. */
  readonly inbox: ClientFrame[] = [];
  /** How the client closed it. */
  closedBy: { code: number | undefined; reason: string | undefined } | undefined;
  #over = false;
  readonly #listeners = new Map<string, Listener[]>();

  constructor(url: string, protocols: readonly string[]) {
    this.url = url;
    this.protocols = protocols;
  }

  // The client's end

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(message: string | Uint8Array): void {
    if (this.#over) return;
    this.inbox.push(JSON.parse(String(message)) as ClientFrame);
  }

  close(code?: number, reason?: string): void {
    this.closedBy ??= { code, reason };
    this.#over = true;
  }

  // The server's end

  get open(): boolean {
    return !this.#over;
  }

  accept(): this {
    this.#emit("open", {});
    return this;
  }

  /** Send frames, as a real socket does: as text. */
  say(...frames: readonly ServerFrame[]): this {
    for (const frame of frames) this.sayRaw(JSON.stringify(frame));
    return this;
  }

  sayRaw(message: unknown): this {
    this.#emit("message", { data: message });
    return this;
  }

  /** Close, or lose the connection (1006). */
  end(code = 1006, reason = ""): void {
    this.#over = true;
    this.#emit("close", { code, reason });
  }

  /** Never open; as Node's emitters do it, an error that nobody listens to is thrown. */
  refuse(): void {
    if (!this.#listeners.has("error")) throw new Error("An error that nobody listens to.");
    this.#emit("error", {});
    this.end();
  }

  /** The next frame that came, which must be of this type. */
  take<Type extends ClientFrame["type"]>(type: Type): FrameOf<Type> {
    const frame = this.inbox.shift();
    expect(frame, `a ${type} frame should have come`).toMatchObject({ type });
    return frame as FrameOf<Type>;
  }

  /** Take `connect` and answer it. */
  welcome(fields: Partial<ConnectedFrame> = {}): FrameOf<"connect"> {
    const hello = this.take("connect");
    this.say({
      type: "connected",
      id: hello.id,
      session: "s-1",
      user: "alice",
      version: 1,
      time: Date.now(),
      ping: 25,
      grace: 10,
      limits: LIMITS,
      ...fields,
    });
    return hello;
  }

  /** Take `subscribe` and answer it. */
  admit(channel: string, offset = 0, epoch = "e1"): FrameOf<"subscribe"> {
    const frame = this.take("subscribe");
    expect(frame.channel).toBe(channel);
    const verdict = frame.since === undefined ? "new" : "recovered";
    this.say({ type: "subscribed", id: frame.id, channel, verdict, epoch, offset });
    return frame;
  }

  /** Send events with these offsets. */
  events(channel: string, ...offsets: readonly number[]): this {
    for (const offset of offsets) {
      this.say({ type: "event", channel, name: "message.created", data: { n: offset }, offset, time: 1 });
    }
    return this;
  }

  #emit(type: string, event: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }
}

export class FakeServer {
  /** Every socket that was opened, in order. */
  readonly peers: Peer[] = [];
  readonly WebSocket: new (
    url: string,
    protocols: string[],
  ) => Peer;

  constructor() {
    const { peers } = this;
    this.WebSocket = class extends Peer {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        peers.push(this);
      }
    };
  }

  /** The newest socket, which must be the `count`th. */
  peer(count: number): Peer {
    expect(this.peers.length, "sockets that were opened").toBe(count);
    return this.peers.at(-1) as Peer;
  }

  /** A client of this server: no jitter but half of each bound, no page. */
  client(options: ClientOptions = {}): Client {
    return new Client("ws://server/ws", {
      WebSocket: this.WebSocket,
      random: () => 0.5,
      page: null,
      ...options,
    });
  }
}

/** A connected client and its server's end. */
export function connected(options: ClientOptions = {}): { server: FakeServer; client: Client; peer: Peer } {
  const server = new FakeServer();
  const client = server.client(options);
  client.connect();
  const peer = server.peer(1).accept();
  peer.welcome();
  return { server, client, peer };
}

/** Everything that a source told under a name, from now on. */
export function record<Events, Name extends keyof Events>(
  source: Emitter<Events>,
  name: Name,
): Events[Name][] {
  const events: Events[Name][] = [];
  source.on(name, (event) => events.push(event));
  return events;
}

/** The offsets of all events of a channel, from now on. */
export function offsets(subscription: Subscription): (number | undefined)[] {
  const seen: (number | undefined)[] = [];
  subscription.on("event", (event) => seen.push(event.offset));
  return seen;
}

/** What a promise came to, as soon as it does; it never counts as unhandled. */
export function outcome<T>(promise: Promise<T>): { value?: T; error?: unknown } {
  const box: { value?: T; error?: unknown } = {};
  promise.then(
    (value) => {
      box.value = value;
    },
    (error: unknown) => {
      box.error = error;
    },
  );
  return box;
}
