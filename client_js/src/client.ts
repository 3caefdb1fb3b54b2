/** The client: one connection kept alive, and everything that is asked and heard on it. */

import { attemptsAfter, type Backoff, backoffDelay, DEFAULT_BACKOFF, moveDelay } from "./backoff.js";
import { type Codec, json } from "./codec.js";
import { EXPIRED, isFinalClose, NORMAL, UNAUTHENTICATED } from "./codes.js";
import { Connection, type ConnectionListeners, type Reason } from "./connection.js";
import { Emitter, type Off } from "./emitter.js";
import { ConnectionClosed, Refused } from "./errors.js";
import type { CallOptions, ClientOptions, HistoryOptions, PublishOptions, SubscribeOptions } from "./options.js";
import { platformPage, watchPage } from "./page.js";
import type {
  ConnectedFrame,
  ConnectFrame,
  ErrorFrame,
  HistoryReply,
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
import { Alarm, systemTimers, type Timers } from "./timers.js";
import { Refresher, type TokenOption } from "./token.js";
import { type OpenTransport, platformWebSocket, webSockets } from "./transport.js";
import { Waiters } from "./waiters.js";

export type ClientState = "disconnected" | "connecting" | "connected";

/** The connection's state, why it is not another, and when the next attempt is made. */
export interface StateChange {
  readonly state: ClientState;
  readonly reason?: Reason;
  /** Milliseconds until the next attempt. */
  readonly retryIn?: number;
}

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
/** What a server takes in one frame at least, before it has told. */
const FRAME = 64 * 1024;
const READ: RequestOptions = { again: true };

/**
 * Keeps one connection to a Backchannel server. Nothing happens before `connect()`; from then on the
 * connection is renewed until `disconnect()`, `close()`, or a close code that says not to.
 */
export class Client extends Emitter<ClientEvents> {
  readonly #url: string;
  readonly #options: ClientOptions;
  readonly #open: OpenTransport;
  readonly #codec: Codec;
  readonly #timers: Timers;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #timeout: number;
  readonly #token: TokenOption | undefined;
  readonly #requests: Requests;
  readonly #subscriptions: Subscriptions;
  readonly #ready = new Waiters<void>();
  readonly #unwatch: Off | undefined;
  readonly #listeners: ConnectionListeners;
  /** Opens the next connection: after a wait, or when a `move` is due. */
  readonly #next: Alarm;
  /** The end of the time that a `move` gave. */
  readonly #moveEnd: Alarm;

  /** Whether there should be a connection. */
  #wanted = false;
  #state: ClientState = "disconnected";
  /** The connection that counts. */
  #active: Connection | undefined;
  /** The one that is being opened: to be the first, or to take over from the active one. */
  #opening: Connection | undefined;
  /** The one that the active one takes over from. */
  #retiring: Connection | undefined;
  #refresher: Refresher | undefined;
  #attempts = 0;
  /** Whether a refused token was replaced by a fresh one already. */
  #tokenRenewed = false;
  #hidden = false;
  /** Why there will be no connection before the next `connect()`. */
  #final: ConnectionClosed | undefined;
  #closed = false;
  #connected: ConnectedFrame | undefined;

  /**
   * @param url `ws://` or `wss://`
   * Throws `TypeError` for another address, and where there is no WebSocket to use.
   */
  constructor(url: string, options: ClientOptions = {}) {
    super();
    if (!/^wss?:\/\//i.test(url)) throw new TypeError(`Not the address of a WebSocket, ws:// or wss://: ${url}`);
    this.#url = url;
    this.#options = options;
    this.#open = webSockets(options.WebSocket ?? platformWebSocket());
    this.#codec = options.codec ?? json;
    this.#timers = options.timers ?? systemTimers;
    this.#random = options.random ?? Math.random;
    this.#backoff = { ...DEFAULT_BACKOFF, ...options.backoff };
    this.#timeout = options.timeout ?? TIMEOUT;
    this.#token = options.token;
    this.#requests = new Requests(this.#codec, this.#timers, this.#timeout);
    this.#subscriptions = new Subscriptions(this.#requests, this.#timers, this.#random, this.#backoff);
    this.#next = new Alarm(this.#timers);
    this.#moveEnd = new Alarm(this.#timers);
    this.#listeners = {
      hello: (connection, token) => this.#hello(connection, token),
      connected: (connection, frame) => this.#onConnected(connection, frame),
      frame: (connection, frame) => this.#onFrame(connection, frame),
      closed: (connection, reason, error) => this.#onClosed(connection, reason, error),
      failed: (error) => this.#fail(error),
    };
    const page = options.page === undefined ? platformPage() : options.page;
    if (page !== null) this.#unwatch = watchPage(page, this.#pageListeners());
  }

  get state(): ClientState {
    return this.#state;
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
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempts = 0;
    this.#tokenRenewed = false;
    if (this.#final !== undefined) {
      this.#final = undefined;
      this.#subscriptions.revive();
    }
    this.#openConnection();
  }

  /** Want no connection, until the next `connect()`. What can be sent again waits for it, until its deadline. */
  disconnect(): void {
    if (!this.#wanted) return;
    this.#drop();
    this.#setState({ state: "disconnected" });
  }

  /** The end: everything that waits is refused, loops end, and nothing can be asked any more. */
  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#drop();
    this.#unwatch?.();
    const message = "The client was closed.";
    const error = new ConnectionClosed(NORMAL, message);
    this.#final = error;
    this.#requests.end((sent) => new ConnectionClosed(NORMAL, message, sent ? "unknown" : "none"));
    this.#subscriptions.close(error);
    this.#ready.reject(error);
    if (this.#state !== "disconnected") this.#setState({ state: "disconnected" });
  }

  /** Resolves when connected, at once if it is. Rejects with `ConnectionClosed` when the closing is final. */
  ready(): Promise<void> {
    if (this.#state === "connected") return Promise.resolve();
    if (this.#final !== undefined) return Promise.reject(this.#final);
    return this.#ready.wait();
  }

  // Asking

  /**
   * Ask a command or a query. It is sent again, with the same key, on the next connection.
   *
   * Rejects with `Refused` where the server refuses, and with its code `unavailable` where no answer came
   * in time; its `outcome` says whether the command may have taken effect. An aborted call rejects with
   * the signal's reason; its outcome is unknown.
   */
  async call<R>(name: string, data: unknown = {}, options: CallOptions = {}): Promise<R> {
    return (await this.request<R>(name, data, options)).data;
  }

  /** As `call`, with the offsets that the answer includes. */
  async request<R>(name: string, data: unknown = {}, options: CallOptions = {}): Promise<Answer<R>> {
    const { timeout, signal } = options;
    const key = options.key === undefined ? randomKey() : options.key;
    const frame = await this.#ask(
      {
        type: "call",
        id: this.#requests.nextId(),
        name,
        data,
        ...(key === null ? {} : { key }),
        ...(timeout === undefined ? {} : { timeout }),
      },
      {
        again: key !== null,
        cancel: true,
        signal,
        ...(timeout === undefined ? {} : { attempt: timeout, deadline: timeout }),
      },
    );
    return { data: dataOf<R>(frame), positions: (frame.type === "reply" ? frame.positions : undefined) ?? {} };
  }

  /** Publish an event on a live or ephemeral channel, where its namespace lets clients do so. */
  async publish(
    channel: string,
    name: string,
    data: unknown,
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
  async history(channel: string, options: HistoryOptions = {}): Promise<HistoryReply> {
    const { since, before, limit = HISTORY } = options;
    const frame = await this.#ask(
      {
        type: "history",
        id: this.#requests.nextId(),
        channel,
        limit,
        ...(since === undefined ? {} : { since }),
        ...(before === undefined ? {} : { before }),
      },
      READ,
    );
    return dataOf<HistoryReply>(frame);
  }

  /** Who is present on a channel. */
  async presence(channel: string): Promise<PresenceList> {
    const frame = await this.#ask({ type: "presence", id: this.#requests.nextId(), channel }, READ);
    const { members = [], count = 0, revision } = frame.type === "presence" ? frame : dataOf<PresenceList>(frame);
    return { members, count, revision };
  }

  // Listening

  /**
   * Listen to a channel, across all reconnects. Whoever asks for the same channel shares one
   * `Subscription`; each calls its `unsubscribe()` once.
   */
  subscribe(channel: string, options: SubscribeOptions = {}): Subscription {
    if (this.#closed) throw new ConnectionClosed(NORMAL, "The client was closed; make a new one.");
    return this.#subscriptions.subscribe(channel, options);
  }

  // Connections

  #openConnection(): void {
    this.#next.clear();
    if (this.#active === undefined) this.#setState({ state: "connecting" });
    const connection = new Connection({
      url: this.#url,
      open: this.#open,
      codec: this.#codec,
      timers: this.#timers,
      timeout: this.#timeout,
      token: () => (typeof this.#token === "function" ? this.#token() : this.#token),
      listeners: this.#listeners,
    });
    this.#opening = connection;
    connection.start();
  }

  #hello(connection: Connection, token: string | undefined): ConnectFrame {
    const { client } = this.#options;
    const spent = (token?.length ?? 0) + 1024;
    const resume = this.#subscriptions.resume(connection, (this.limits?.frame ?? FRAME) - spent);
    return {
      type: "connect",
      id: this.#requests.nextId(),
      ...(token === undefined ? {} : { token }),
      ...(client === undefined ? {} : { client }),
      ...(connection.resumed.size === 0 ? {} : { resume }),
    };
  }

  #onConnected(connection: Connection, frame: ConnectedFrame): void {
    this.#opening = undefined;
    this.#retiring = this.#active;
    this.#active = connection;
    this.#connected = frame;
    this.#refresh(frame, connection);
    this.#subscriptions.attach(connection);
    this.#requests.attach(connection, frame.limits);
    this.#setState({ state: "connected" });
    this.emit("connected", frame);
    this.#ready.resolve();
    this.#retire();
  }

  #onFrame(connection: Connection, frame: ServerFrame): void {
    switch (frame.type) {
      case "event":
        this.#subscriptions.event(connection, frame);
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
      case "gap":
        this.#subscriptions.gap(connection, frame);
        return;
      case "presence":
        if (frame.id === undefined) this.#subscriptions.presence(connection, frame);
        else this.#requests.answer(frame.id, frame);
        return;
      case "move":
        this.#move(connection, frame);
        return;
      default:
        // A frame of a newer server: ignored, as the protocol demands.
        return;
    }
    if (this.#retiring !== undefined) this.#retire();
  }

  #onClosed(connection: Connection, reason: Reason, error?: ErrorFrame): void {
    this.#requests.lost(connection);
    this.#subscriptions.lost(connection);
    if (connection === this.#retiring) {
      this.#retired();
      return;
    }
    const opening = connection === this.#opening;
    if (opening) this.#opening = undefined;
    else {
      this.#active = undefined;
      this.#refresher?.stop();
      this.#dropRetiring();
    }
    if (this.#hidden) {
      if (!opening) this.#state = "connecting";
      return;
    }
    if (connection.up > 0 && attemptsAfter(1, connection.up) === 0) this.#tokenRenewed = false;
    this.#attempts = attemptsAfter(this.#attempts, connection.up);

    const final = typeof reason.code === "number" ? isFinalClose(reason.code) : error !== undefined && !error.retry;
    if (opening && this.#active !== undefined) {
      // A move that fails: the active connection goes on until its server closes it.
      if (!final) this.#openLater(this.#delay(error));
      return;
    }
    const refused = reason.code === UNAUTHENTICATED || reason.code === "unauthenticated";
    if (refused && typeof this.#token === "function" && !this.#tokenRenewed) {
      this.#tokenRenewed = true;
      this.#reconnect(reason, 0);
    } else if (final) this.#stop(reason);
    // What is being opened for a move becomes the connection to wait for.
    else if (this.#opening !== undefined) this.#setState({ state: "connecting", reason });
    else if (reason.code === EXPIRED && this.#attempts === 0) {
      this.#attempts = 1;
      this.#reconnect(reason, 0);
    } else this.#reconnect(reason, this.#delay(error));
  }

  /** Milliseconds to wait, by the backoff or longer where the server says so. */
  #delay(error: ErrorFrame | undefined): number {
    const delay = backoffDelay(this.#attempts, this.#random(), this.#backoff);
    this.#attempts += 1;
    return delay + (error?.retry_after ?? 0) * 1000;
  }

  #reconnect(reason: Reason, retryIn: number): void {
    this.#openLater(retryIn);
    this.#setState({ state: "connecting", reason, retryIn });
  }

  #openLater(ms: number): void {
    this.#next.set(ms, () => this.#openConnection());
  }

  /** The server says that trying again is no use. */
  #stop(reason: Reason): void {
    this.#drop();
    const error = new ConnectionClosed(reason.code, reason.message);
    this.#final = error;
    this.#requests.end((sent) => new ConnectionClosed(reason.code, reason.message, sent ? "unknown" : "none"));
    this.#subscriptions.interrupt(error);
    this.#setState({ state: "disconnected", reason });
    this.#ready.reject(error);
  }

  /** Let go of every connection and of every wait for one. */
  #drop(): void {
    this.#wanted = false;
    this.#next.clear();
    this.#refresher?.stop();
    this.#dropRetiring();
    for (const connection of [this.#active, this.#opening]) {
      if (connection === undefined) continue;
      connection.close();
      this.#requests.lost(connection);
      this.#subscriptions.lost(connection);
    }
    this.#active = undefined;
    this.#opening = undefined;
  }

  // Moving

  #move(connection: Connection, frame: MoveFrame): void {
    if (connection !== this.#active || this.#opening !== undefined || this.#next.armed) return;
    this.#moveEnd.set(frame.after * 1000, () => this.#dropRetiring());
    this.#openLater(moveDelay(frame.after, this.#random()));
    this.emit("move", frame);
  }

  /** Let go of the old connection when every channel is heard on the new one, and only then ask there again. */
  #retire(): void {
    const { active, retiring } = { active: this.#active, retiring: this.#retiring };
    if (retiring === undefined || active === undefined || this.#subscriptions.hearing(retiring)) return;
    this.#requests.sendAgain(retiring);
    // What has no key cannot be asked twice: its answer is waited for, as long as the old server lives.
    if (!this.#requests.bound(retiring)) this.#dropRetiring();
  }

  #dropRetiring(): void {
    const retiring = this.#retiring;
    if (retiring === undefined) return;
    retiring.close();
    this.#requests.lost(retiring);
    this.#subscriptions.lost(retiring);
    this.#retired();
  }

  #retired(): void {
    this.#retiring = undefined;
    this.#moveEnd.clear();
  }

  // The rest

  #refresh(frame: ConnectedFrame, connection: Connection): void {
    this.#refresher?.stop();
    this.#refresher = undefined;
    if (typeof this.#token !== "function" || frame.expires === undefined) return;
    this.#refresher = new Refresher(this.#token, frame.time, this.#timers, {
      refresh: async (token) => {
        if (connection !== this.#active) return undefined;
        const answer = await this.#requests.ask(
          { type: "refresh", id: this.#requests.nextId(), token },
          { again: false },
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

  #pageListeners(): Parameters<typeof watchPage>[1] {
    return {
      hidden: () => {
        this.#hidden = true;
      },
      shown: () => {
        if (!this.#hidden) return;
        this.#hidden = false;
        if (this.#wanted && this.#active === undefined && this.#opening === undefined) this.#openConnection();
      },
      awake: () => {
        if (!this.#hidden && this.#active === undefined && this.#next.armed) this.#openConnection();
      },
    };
  }

  #fail(error: unknown): void {
    this.emit("error", error instanceof Error ? error : new Error(String(error)));
  }

  #setState(change: StateChange): void {
    if (change.state === this.#state && change.state === "connected") return;
    this.#state = change.state;
    this.emit("state", change);
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
