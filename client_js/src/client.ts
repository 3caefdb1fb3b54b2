/** The client: one connection kept alive, and everything that is asked and heard on it. */

import { backoffDelay, DEFAULT_BACKOFF } from "./backoff.js";
import { json } from "./codec.js";
import { NORMAL } from "./codes.js";
import type { Connection, Reason } from "./connection.js";
import { type ClientState, Connector, type StateChange } from "./connector.js";
import type {
  Arguments,
  ChannelName,
  Contract,
  EventName,
  EventOf,
  HistoryPage,
  PresenceChannelName,
  ReplyOf,
  RequestName,
} from "./contract.js";
import { Emitter, type Off } from "./emitter.js";
import { ConnectionClosed, Refused } from "./errors.js";
import type {
  CallOptions,
  ClientOptions,
  HistoryOptions,
  PublishOptions,
  SubscribeOptions,
  WaitOptions,
} from "./options.js";
import { platformPage, watchPage } from "./page.js";
import type {
  ClientInfo,
  ConnectedFrame,
  ConnectFrame,
  Limits,
  Member,
  MoveFrame,
  PublishReply,
  RefreshReply,
  ServerFrame,
} from "./protocol.gen.js";
import { type RequestFrame, type RequestOptions, Requests } from "./requests.js";
import type { Subscription } from "./subscription.js";
import { Subscriptions } from "./subscriptions.js";
import { systemTimers, type Timers } from "./timers.js";
import { Refresher, type TokenOption } from "./token.js";
import { platformWebSocket, webSockets } from "./transport.js";
import { Waiters } from "./waiters.js";

/** What a client tells. */
export interface ClientEvents {
  readonly state: StateChange;
  readonly connected: ConnectedFrame;
  /** The server drains; the client moves to another without a break. */
  readonly move: MoveFrame;
  /** Something failed that nobody waits for: a token that could not be fetched, a frame that cannot be read. */
  readonly error: Error;
}

/** The answer to a call. */
export interface Answer<R> {
  readonly data: R;
  /** For each channel the offset that `data` includes: drop the events at or below it. */
  readonly positions: Readonly<Record<string, number>>;
}

/** Who is present on a channel. */
export interface PresenceList {
  readonly members: readonly Member[];
  readonly count: number;
  readonly revision: number;
}

const TIMEOUT = 10;
const HISTORY = 100;
/** What a server takes by default, before it has told what holds. */
const DEFAULT_LIMITS = { frame: 64 * 1024, channels: 512 } satisfies Partial<Limits>;
/** The longest `timeout` that the protocol has a place for, in seconds. */
const LONGEST = 3600;

/**
 * Keeps one connection to a Backchannel server. Nothing happens before `connect()`; from then on the
 * connection is renewed until `disconnect()`, `close()`, or a close code that says not to.
 *
 * `C` is the app's contract, as `backchannel schema typescript` writes it; without it every name is taken
 * and nothing is known of what comes back.
 */
export class Client<C extends Contract = Contract> extends Emitter<ClientEvents> {
  readonly #info: ClientInfo | undefined;
  readonly #token: TokenOption | undefined;
  readonly #timers: Timers;
  readonly #requests: Requests;
  readonly #subscriptions: Subscriptions;
  readonly #connector: Connector;
  readonly #unwatch: Off | undefined;
  readonly #ready = new Waiters<void>();
  #refresher: Refresher | undefined;
  #connected: ConnectedFrame | undefined;
  /** The token by which a guest stays the same guest. */
  #guest: string | undefined;
  /** Why there will be no connection before the next `connect()`. */
  #final: ConnectionClosed | undefined;
  #closed = false;

  /**
   * Throws `TypeError` for an address that is none, and where the platform has no WebSocket.
   *
   * @param url `ws://` or `wss://`
   */
  constructor(url: string, options: ClientOptions = {}) {
    super();
    if (!/^wss?:\/\//i.test(url))
      throw new TypeError(`Not the address of a WebSocket (ws:// or wss://): ${url}`);
    const {
      client,
      token,
      timeout = TIMEOUT,
      codec = json,
      random = Math.random,
      timers = systemTimers,
    } = options;
    const backoff = { ...DEFAULT_BACKOFF, ...options.backoff };
    this.#info = client;
    this.#token = token;
    this.#timers = timers;
    this.#requests = new Requests(codec, timers, timeout, (pauses) =>
      backoffDelay(pauses, random(), backoff),
    );
    this.#subscriptions = new Subscriptions(this.#requests, timers, random, backoff);
    this.#connector = new Connector({
      url,
      open: webSockets(options.WebSocket ?? platformWebSocket()),
      codec,
      timers,
      timeout,
      random,
      backoff,
      token: () => (typeof token === "function" ? token() : token),
      renew: () => this.#renew(),
      listeners: {
        hello: (connection, fresh) => this.#hello(connection, fresh),
        connected: (connection, frame, moved) => this.#onConnected(connection, frame, moved),
        frame: (connection, frame) => this.#onFrame(connection, frame),
        failed: (error) => this.#fail(error),
        lost: (connection) => {
          this.#requests.lost(connection);
          this.#subscriptions.lost(connection);
        },
        released: (connection) =>
          !this.#subscriptions.hearing(connection) && !this.#requests.awaiting(connection),
        state: (change) => this.#onState(change),
        stopped: (reason) => this.#onStopped(reason),
      },
    });
    const page = options.page === undefined ? platformPage() : options.page;
    if (page !== null) this.#unwatch = watchPage(page, this.#connector.page);
  }

  get state(): ClientState {
    return this.status.state;
  }

  /** The last change of the state, with its reason; the same object until the next change. */
  get status(): StateChange {
    return this.#connector.status;
  }

  /** Who the server takes this client for; like `session` and `limits`, undefined before the first connection. */
  get user(): string | undefined {
    return this.#connected?.user;
  }

  /** The id of the last session, for logs and support. */
  get session(): string | undefined {
    return this.#connected?.session;
  }

  get limits(): Limits | undefined {
    return this.#connected?.limits;
  }

  // Lifecycle

  /** Want a connection, from now on. Does nothing where one is wanted already. */
  connect(): void {
    if (this.#closed) throw new ConnectionClosed(NORMAL, "The client was closed; make a new one.");
    if (this.#final !== undefined) {
      this.#final = undefined;
      this.#subscriptions.revive();
    }
    this.#connector.start();
  }

  /**
   * Try now, without waiting for the next attempt to be due; connect where no connection is wanted. A
   * connection that seems open is asked for a sign of life, and renewed if none comes within seconds.
   */
  reconnect(): void {
    this.connect();
    this.#connector.tryNow();
  }

  /** Want no connection, until the next `connect()`. What can be sent again waits for it, until its deadline. */
  disconnect(): void {
    this.#connector.stop();
  }

  /** The end: everything that waits is refused, loops end, and nothing can be asked any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#unwatch?.();
    const reason = { code: NORMAL, message: "The client was closed." };
    const error = this.#end(reason);
    this.#subscriptions.close(error);
    this.#connector.stop();
  }

  /**
   * Resolves when connected, at once if it is. Rejects with `ConnectionClosed` when the closing is final, and
   * with the signal's reason when aborted, which ends the waiting only.
   */
  ready({ signal }: WaitOptions = {}): Promise<void> {
    if (this.state === "connected") return Promise.resolve();
    if (this.#final !== undefined) return Promise.reject(this.#final);
    return this.#ready.wait(signal);
  }

  // Asking

  /**
   * Ask a command or a query. It is sent again, with the same key, on the next connection, and after a while
   * where the server says that it may have taken effect and can be tried again.
   *
   * Rejects with `Refused` where the server refuses, with its code `unavailable` where no answer came in
   * time, and `invalid` for numbers that cannot be sent; its `outcome` says whether the command may have
   * taken effect. An aborted call rejects with the signal's reason; its outcome is unknown.
   */
  async call<R = unknown, Name extends RequestName<C> = RequestName<C>>(
    name: Name,
    ...rest: Arguments<C, Name, CallOptions>
  ): Promise<ReplyOf<C, Name, R>> {
    return (await this.request<R, Name>(name, ...rest)).data;
  }

  /** As `call`, with the offsets that the answer includes. */
  async request<R = unknown, Name extends RequestName<C> = RequestName<C>>(
    name: Name,
    ...rest: Arguments<C, Name, CallOptions>
  ): Promise<Answer<ReplyOf<C, Name, R>>> {
    const [data = {}, options = {}]: [data?: unknown, options?: CallOptions] = rest;
    const { timeout, signal } = options;
    const key = options.key === undefined ? randomKey() : options.key;
    const frame = await this.#ask(
      {
        type: "call",
        id: this.#requests.nextId(),
        name,
        data,
        ...(key === null ? {} : { key }),
        ...(timeout === undefined ? {} : { timeout: Math.min(timeout, LONGEST) }),
      },
      {
        again: key !== null,
        cancel: true,
        signal,
        ...(timeout === undefined ? {} : { attempt: timeout, deadline: timeout }),
      },
    );
    return {
      data: dataOf<ReplyOf<C, Name, R>>(frame),
      positions: (frame.type === "reply" ? frame.positions : undefined) ?? {},
    };
  }

  /** Publish an event on a live or ephemeral channel, where its namespace lets clients do so. */
  async publish<Channel extends string, Name extends EventName<C, Channel>>(
    channel: ChannelName<C, Channel>,
    name: Name,
    data: C["events"][Name],
    options: PublishOptions = {},
  ): Promise<PublishReply> {
    const key = options.key === undefined ? randomKey() : options.key;
    const frame = await this.#ask(
      {
        type: "publish",
        id: this.#requests.nextId(),
        channel,
        name,
        data,
        ...(key === null ? {} : { key }),
      },
      { again: key !== null, signal: options.signal },
    );
    return dataOf<PublishReply>(frame);
  }

  /** Read a page of a channel's log. */
  async history<Channel extends string>(
    channel: ChannelName<C, Channel>,
    options: HistoryOptions = {},
  ): Promise<HistoryPage<EventOf<C, Channel>>> {
    const { since, before, limit = HISTORY, signal } = options;
    const frame = await this.#ask(
      {
        type: "history",
        id: this.#requests.nextId(),
        channel,
        limit,
        ...(since === undefined ? {} : { since }),
        ...(before === undefined ? {} : { before }),
      },
      { again: true, signal },
    );
    return dataOf<HistoryPage<EventOf<C, Channel>>>(frame);
  }

  /** Who is present on a channel. */
  async presence<Channel extends string>(
    channel: PresenceChannelName<C, Channel>,
    { signal }: WaitOptions = {},
  ): Promise<PresenceList> {
    const frame = await this.#ask(
      { type: "presence", id: this.#requests.nextId(), channel },
      { again: true, signal },
    );
    const {
      members = [],
      count = 0,
      revision,
    } = frame.type === "presence" ? frame : dataOf<PresenceList>(frame);
    return { members, count, revision };
  }

  // Listening

  /**
   * Listen to a channel, across all reconnects. Whoever asks for the same channel shares one
   * `Subscription`; each calls its `unsubscribe()` once.
   */
  subscribe<Channel extends string>(
    channel: ChannelName<C, Channel>,
    options: SubscribeOptions = {},
  ): Subscription<EventOf<C, Channel>> {
    if (this.#closed) throw new ConnectionClosed(NORMAL, "The client was closed; make a new one.");
    return this.#subscriptions.subscribe(channel, options) as Subscription<EventOf<C, Channel>>;
  }

  // The connection

  #hello(connection: Connection, given: string | undefined): ConnectFrame {
    const token = given ?? this.#guest;
    const { frame, channels } = this.limits ?? DEFAULT_LIMITS;
    const room = frame - (token?.length ?? 0) - 1024;
    const resume = this.#subscriptions.resume(connection, room, channels);
    return {
      type: "connect",
      id: this.#requests.nextId(),
      ...(token === undefined ? {} : { token }),
      ...(this.#info === undefined ? {} : { client: this.#info }),
      ...(connection.resumed.size === 0 ? {} : { resume }),
    };
  }

  #onConnected(connection: Connection, frame: ConnectedFrame, moved: boolean): void {
    this.#connected = frame;
    this.#guest = frame.token ?? this.#guest;
    this.#refresh(frame, connection);
    // Channels before what waits to be asked: history and presence are for who listens.
    this.#requests.hold();
    this.#subscriptions.attach(connection);
    this.#requests.attach(connection, frame.limits);
    if (!moved) this.emit("state", this.status);
    this.emit("connected", frame);
    this.#ready.resolve();
  }

  #onState(change: StateChange): void {
    this.#refresher?.stop();
    this.emit("state", change);
  }

  #onStopped(reason: Reason): void {
    this.#subscriptions.interrupt(this.#end(reason));
  }

  /** There is no connection to wait for: what waits is refused. */
  #end({ code, message }: Reason): ConnectionClosed {
    const error = new ConnectionClosed(code, message);
    this.#final = error;
    this.#requests.end((sent) => new ConnectionClosed(code, message, sent ? "unknown" : "none"));
    this.#ready.reject(error);
    return error;
  }

  #onFrame(connection: Connection, frame: ServerFrame): void {
    switch (frame.type) {
      case "event":
        this.#subscriptions.event(connection, frame);
        return;
      case "gap":
        this.#subscriptions.gap(connection, frame);
        return;
      case "reply":
        this.#requests.answer(frame.id, frame);
        break;
      case "error":
        if (frame.id === undefined) this.emit("error", Refused.of(frame));
        else this.#requests.answer(frame.id, frame);
        break;
      case "subscribed":
        this.#subscriptions.subscribed(connection, frame);
        if (frame.id !== undefined) this.#requests.answer(frame.id, frame);
        break;
      case "unsubscribed":
        this.#subscriptions.unsubscribed(connection, frame);
        break;
      case "presence":
        if (frame.id === undefined) this.#subscriptions.presence(connection, frame);
        else this.#requests.answer(frame.id, frame);
        break;
      case "move":
        if (this.#connector.move(connection, frame)) this.emit("move", frame);
        return;
      default:
        // A frame of a newer server (ENC-12).
        return;
    }
    this.#connector.retire();
  }

  /** The token was refused. A guest whose own has expired comes back as another guest. */
  #renew(): boolean {
    if (typeof this.#token === "function") return true;
    const guest = this.#token === undefined && this.#guest !== undefined;
    this.#guest = undefined;
    return guest;
  }

  #refresh(frame: ConnectedFrame, connection: Connection): void {
    this.#refresher?.stop();
    this.#refresher = undefined;
    if (typeof this.#token !== "function" || frame.expires === undefined) return;
    this.#refresher = new Refresher(this.#token, frame.time, this.#timers, {
      refresh: async (token) => {
        if (connection !== this.#connector.active) return undefined;
        const answer = await this.#requests.ask(
          { type: "refresh", id: this.#requests.nextId(), token },
          { again: false, urgent: true },
        );
        return dataOf<RefreshReply>(answer).expires;
      },
      failed: (error) => this.#fail(error),
    });
    this.#refresher.schedule(frame.expires);
  }

  #ask(frame: RequestFrame, options: RequestOptions): Promise<ServerFrame> {
    if (this.#final !== undefined) return Promise.reject(this.#final);
    return this.#requests.ask(frame, options);
  }

  #fail(error: unknown): void {
    this.emit("error", error instanceof Error ? error : new Error(String(error)));
  }
}

function dataOf<T>(frame: ServerFrame): T {
  // The contract of a name is the app's to know: its type is believed here.
  return (frame.type === "reply" ? frame.data : undefined) as T;
}

/** 128 random bits in 32 characters; unlike `randomUUID` also there on a page without TLS. */
function randomKey(): string {
  let key = "";
  for (const byte of crypto.getRandomValues(new Uint8Array(16))) key += byte.toString(16).padStart(2, "0");
  return key;
}
