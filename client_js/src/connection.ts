/** One connection: opens the transport, says `connect`, answers pings, notices silence. */

import type { Codec, Message } from "./codec.js";
import { NORMAL, PROTOCOL_ERROR, SILENT } from "./codes.js";
import type { ClientFrame, ConnectedFrame, ConnectFrame, ErrorFrame, ServerFrame } from "./protocol.gen.js";
import { Alarm, type Timers } from "./timers.js";
import type { OpenTransport, Transport } from "./transport.js";

/** Why a connection ended: a WebSocket close code, or the word of an error, and a sentence. */
export interface Reason {
  readonly code: number | string;
  readonly message: string;
}

/** What a connection tells. */
export interface ConnectionListeners {
  /** The frame that opens the session; asked for when the transport is open. */
  hello(connection: Connection, token: string | undefined): ConnectFrame;
  connected(connection: Connection, frame: ConnectedFrame): void;
  /** Every frame behind `connected`, except `ping`. */
  frame(connection: Connection, frame: ServerFrame): void;
  /** Told once, and never after `close()`. `error` is the answer that refused the session. */
  closed(connection: Connection, reason: Reason, error?: ErrorFrame): void;
  /** Something failed that the reason of the closing does not tell in full. */
  failed(error: unknown): void;
}

export interface ConnectionSetup {
  readonly url: string;
  readonly open: OpenTransport;
  readonly codec: Codec;
  readonly timers: Timers;
  /** Seconds until `connected` must be there. */
  readonly timeout: number;
  readonly token: () => string | Promise<string> | undefined;
  readonly listeners: ConnectionListeners;
}

/** Milliseconds in which a server that is asked for a sign of life gives one. */
const PROBE = 3_000;
/** How late a timer may run, in milliseconds, before it shows that the page was asleep. */
const LATE = 1_000;
/** Nobody listens to this channel: to unsubscribe from it is answered (UNSUB-1) and changes nothing. */
const NO_CHANNEL = "-:-";

/** From `start()` until `closed`; it is never opened twice. */
export class Connection {
  /** The channels whose positions went with `connect`. */
  readonly resumed: Set<string> = new Set<string>();
  readonly #setup: ConnectionSetup;
  readonly #alarm: Alarm;
  #transport: Transport | undefined;
  #connectId = 0;
  #connectedAt: number | undefined;
  #closed = false;
  /** When the last frame came. */
  #heard = 0;
  /** Milliseconds without a frame after which the server counts as dead. */
  #silence = 0;
  /** Whether a sign of life was asked for and is still awaited. */
  #probing = false;
  #began = 0;

  constructor(setup: ConnectionSetup) {
    this.#setup = setup;
    this.#alarm = new Alarm(setup.timers);
  }

  /** Seconds since `connected`; 0 before. */
  get up(): number {
    return this.#connectedAt === undefined ? 0 : (this.#setup.timers.now() - this.#connectedAt) / 1000;
  }

  /** Milliseconds since `start()`. */
  get age(): number {
    return this.#setup.timers.now() - this.#began;
  }

  start(): void {
    const { timeout, timers } = this.#setup;
    this.#began = timers.now();
    this.#alarm.set(timeout * 1000, () => {
      this.#fail({ code: "unavailable", message: `The connection was not open after ${timeout} s.` });
    });
    let token: string | Promise<string> | undefined;
    try {
      token = this.#setup.token();
    } catch (error) {
      this.#noToken(error);
      return;
    }
    if (token === undefined || typeof token === "string") this.#open(token);
    else
      token.then(
        (fresh) => this.#open(fresh),
        (error: unknown) => this.#noToken(error),
      );
  }

  /** Encode and send. A transport that is just closing may drop it: then `closed` follows. */
  send(frame: ClientFrame): void {
    this.sendMessage(this.#setup.codec.encode(frame));
  }

  sendMessage(message: Message): void {
    this.#transport?.send(message);
  }

  /** Ask the server for a sign of life: without one the connection ends within seconds. */
  probe(): void {
    if (this.#connectedAt === undefined || this.#closed || this.#probing) return;
    this.#probing = true;
    // The id of `connect` is free again since that was answered.
    this.send({ type: "unsubscribe", id: this.#connectId, channel: NO_CHANNEL });
    this.#watch(this.#setup.timers.now());
  }

  /** Close without a word to the listeners. */
  close(code: number = NORMAL, message = ""): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#alarm.clear();
    this.#transport?.close(code, message);
  }

  #open(token: string | undefined): void {
    if (this.#closed) return;
    const { url, open, codec } = this.#setup;
    try {
      this.#transport = open(url, codec.subprotocol, {
        opened: () => this.#hello(token),
        message: (message) => this.#receive(message),
        closed: (code, reason) => this.#ended({ code, message: reason }),
      });
    } catch (error) {
      this.#setup.listeners.failed(error);
      this.#fail({ code: "unavailable", message: "The connection could not be opened." });
    }
  }

  #hello(token: string | undefined): void {
    const frame = this.#setup.listeners.hello(this, token);
    this.#connectId = frame.id;
    this.send(frame);
  }

  #noToken(error: unknown): void {
    if (this.#closed) return;
    this.#setup.listeners.failed(error);
    this.#fail({ code: "unavailable", message: "The token could not be fetched." });
  }

  #receive(message: unknown): void {
    this.#heard = this.#setup.timers.now();
    let frame: ServerFrame;
    try {
      frame = this.#setup.codec.decode(message);
    } catch (error) {
      // It may have been an event: only a resume can tell.
      this.#setup.listeners.failed(error);
      this.#fail({ code: PROTOCOL_ERROR, message: "The server sent what cannot be read." });
      return;
    }
    if (frame.type === "ping") this.send({ type: "pong" });
    else if (this.#probing && "id" in frame && frame.id === this.#connectId) {
      this.#probing = false;
      this.#watch(this.#heard);
    } else if (this.#connectedAt !== undefined) this.#setup.listeners.frame(this, frame);
    else if (frame.type === "connected") this.#connected(frame);
    else if (frame.type === "error" && (frame.id === undefined || frame.id === this.#connectId)) {
      this.#fail({ code: frame.code, message: frame.message }, frame);
    }
  }

  #connected(frame: ConnectedFrame): void {
    this.#connectedAt = this.#heard;
    this.#silence = (frame.ping + frame.grace) * 1000;
    this.#watch(this.#heard);
    this.#setup.listeners.connected(this, frame);
  }

  /** One timer a while, not one a frame: it looks when the last frame came. */
  #watch(since: number): void {
    const { timers } = this.#setup;
    const span = this.#probing ? PROBE : this.#silence;
    this.#alarm.set(since + span - timers.now(), () => {
      const now = timers.now();
      if (now < this.#heard + span) this.#watch(this.#heard);
      else if (now - since - span < LATE) {
        this.#fail({
          code: SILENT,
          message: this.#probing ? "The server does not answer." : "The server has been silent for too long.",
        });
      }
      // The page slept, or its timers did, and what came meanwhile may still wait to be read.
      else if (this.#probing) this.#watch(now);
      else this.probe();
    });
  }

  #fail(reason: Reason, error?: ErrorFrame): void {
    if (this.#closed) return;
    // A browser takes only 1000 and 3000-4999 from a script.
    this.#transport?.close(typeof reason.code === "number" && reason.code >= 3000 ? reason.code : NORMAL, "");
    this.#ended(reason, error);
  }

  #ended(reason: Reason, error?: ErrorFrame): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#alarm.clear();
    this.#setup.listeners.closed(this, reason, error);
  }
}
