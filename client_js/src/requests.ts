/** Open requests: ids, answers, time-outs, and what is sent again on the next connection. */

import { byteLength, type Codec, type Message } from "./codec.js";
import type { Connection } from "./connection.js";
import { type BackchannelError, Refused } from "./errors.js";
import type { ClientFrame, ErrorFrame, Limits, ServerFrame } from "./protocol.gen.js";
import { Alarm, type Timers } from "./timers.js";

/** A frame that asks for an answer. */
export type RequestFrame = Extract<ClientFrame, { readonly id?: number }> & { readonly id: number };

export interface RequestOptions {
  /** Whether a second sending can do no harm: a request with a key, or one that only reads. */
  readonly again: boolean;
  /** Whether the server is told when nobody waits any more. */
  readonly cancel?: boolean;
  /** Whether it goes before everything that waits to be sent. */
  readonly urgent?: boolean;
  /** Seconds for one attempt; the client's `timeout` if absent. */
  readonly attempt?: number;
  /** Seconds over all attempts; six attempts if absent. */
  readonly deadline?: number;
  readonly signal?: AbortSignal | undefined;
}

interface Open {
  readonly id: number;
  /** Encoded once: what the app does to its data later must not change a second sending. */
  readonly message: Message;
  readonly again: boolean;
  readonly cancel: boolean;
  readonly urgent: boolean;
  /** Milliseconds for one attempt. */
  readonly attempt: number;
  /** The instant at which it is given up. */
  readonly deadline: number;
  readonly alarm: Alarm;
  /** Where it waits for its answer; undefined while it waits to be sent. */
  connection: Connection | undefined;
  /** Whether it was ever sent, and so may have taken effect. */
  sent: boolean;
  /** Whether an earlier sending may have taken effect, of which a later one's refusal may know nothing. */
  uncertain: boolean;
  /** How often it was answered that its outcome is unknown. */
  unknowns: number;
  resolve(frame: ServerFrame): void;
  reject(error: unknown): void;
}

/** All requests of a client that are not answered yet, over all its connections. */
export class Requests {
  readonly #codec: Codec;
  readonly #timers: Timers;
  readonly #timeout: number;
  readonly #pause: (pauses: number) => number;
  readonly #open = new Map<number, Open>();
  /** Those that wait to be sent, by rising id, and those that go before them. */
  readonly #urgent = new Set<Open>();
  #waiting = new Set<Open>();
  /** Those that wait until it is time to send them again. */
  readonly #paused = new Set<Open>();
  #connection: Connection | undefined;
  #limits: Limits | undefined;
  #lastId = 0;

  /**
   * @param timeout seconds for one attempt
   * @param pause milliseconds to wait before a request is sent again, after so many such waits
   */
  constructor(codec: Codec, timers: Timers, timeout: number, pause: (pauses: number) => number) {
    this.#codec = codec;
    this.#timers = timers;
    this.#timeout = timeout;
    this.#pause = pause;
  }

  /** A number that no request had before. */
  nextId(): number {
    this.#lastId += 1;
    return this.#lastId;
  }

  /**
   * Send a request now or when there is a connection, and wait for its answer. Rejects with `Refused`
   * for an `error`, unless it leaves the outcome unknown and there is time to send it again (CALL-6); with
   * `Refused("unavailable")` when time is over, `Refused("invalid")` for numbers that cannot be sent, the
   * signal's reason when aborted, and `TypeError` for data that cannot be encoded.
   */
  ask(frame: RequestFrame, options: RequestOptions): Promise<ServerFrame> {
    return new Promise((resolve, reject) => {
      const { signal } = options;
      if (signal?.aborted === true) {
        reject(signal.reason);
        return;
      }
      const attempt = (options.attempt ?? this.#timeout) * 1000;
      const open: Open = {
        id: frame.id,
        message: this.#encode(frame),
        again: options.again,
        cancel: options.cancel ?? false,
        urgent: options.urgent ?? false,
        attempt,
        deadline:
          this.#timers.now() + (options.deadline === undefined ? attempt * 6 : options.deadline * 1000),
        alarm: new Alarm(this.#timers),
        connection: undefined,
        sent: false,
        uncertain: false,
        unknowns: 0,
        resolve,
        reject,
      };
      if (signal !== undefined) {
        const abort = () => this.#giveUp(open, signal.reason);
        signal.addEventListener("abort", abort, { once: true });
        const off = () => signal.removeEventListener("abort", abort);
        open.resolve = (answer) => {
          off();
          resolve(answer);
        };
        open.reject = (error) => {
          off();
          reject(error);
        };
      }
      this.#open.set(open.id, open);
      this.#wait(open);
      this.#flush();
    });
  }

  /** Take the answer to a request. Answers that nobody waits for any more are ignored. */
  answer(id: number, answer: ServerFrame): void {
    const open = this.#open.get(id);
    if (open?.connection === undefined) return;
    // Who turned this sending away for now was not asked about the one before.
    const unsure = answer.type === "error" && open.uncertain && answer.retry;
    const frame: ServerFrame = unsure ? { ...answer, outcome: "unknown" } : answer;
    if (frame.type !== "error" || !this.#againLater(open, frame)) {
      this.#forget(open);
      if (frame.type === "error") open.reject(Refused.of(frame));
      else open.resolve(frame);
    }
    this.#flush();
  }

  /** Send nothing until the next `attach`. */
  hold(): void {
    this.#connection = undefined;
  }

  /** From now on requests go to this connection; those that waited go first. */
  attach(connection: Connection, limits: Limits): void {
    this.#connection = connection;
    this.#limits = limits;
    this.#flush();
  }

  /** The connection is gone: what can be sent again waits, the rest is refused, its outcome unknown. */
  lost(connection: Connection): void {
    if (this.#connection === connection) this.#connection = undefined;
    const open = [...this.#open.values()].filter((request) => request.connection === connection);
    if (open.length === 0) return;
    for (const request of open) {
      if (request.again) {
        request.uncertain = true;
        this.#wait(request);
        continue;
      }
      this.#forget(request);
      request.reject(
        new Refused("unavailable", "The connection was lost before the answer came.", {
          retry: true,
          outcome: "unknown",
        }),
      );
    }
    this.#sort();
    this.#flush();
  }

  /** Whether an answer is awaited on this connection. */
  awaiting(connection: Connection): boolean {
    for (const open of this.#open.values()) {
      if (open.connection === connection) return true;
    }
    return false;
  }

  /** Nothing will be sent or answered any more. `error` is asked with whether a request had been sent. */
  end(error: (sent: boolean) => BackchannelError): void {
    this.#connection = undefined;
    for (const open of [...this.#open.values()]) {
      this.#forget(open);
      open.reject(error(open.sent));
    }
  }

  #encode(frame: RequestFrame): Message {
    try {
      return this.#codec.encode(frame);
    } catch (error) {
      throw error instanceof RangeError ? new Refused("invalid", error.message) : error;
    }
  }

  /**
   * CALL-6: what may have happened is sent again, where that does no harm. Returns whether there is time for it.
   * What did not happen is refused: whether to try again is the app's decision.
   */
  #againLater(open: Open, { retry, outcome, retry_after = 0 }: ErrorFrame): boolean {
    if (!open.again || !retry || outcome !== "unknown") return false;
    const pause = retry_after * 1000 + this.#pause(open.unknowns);
    if (this.#timers.now() + pause >= open.deadline) return false;
    open.unknowns += 1;
    open.uncertain = true;
    open.connection = undefined;
    this.#paused.add(open);
    open.alarm.set(pause, () => {
      this.#paused.delete(open);
      this.#wait(open);
      this.#sort();
      this.#flush();
    });
    return true;
  }

  /** What is sent again belongs before what came later. */
  #sort(): void {
    this.#waiting = new Set([...this.#waiting].sort((one, other) => one.id - other.id));
  }

  #wait(open: Open): void {
    open.connection = undefined;
    (open.urgent ? this.#urgent : this.#waiting).add(open);
    open.alarm.set(open.deadline - this.#timers.now(), () => this.#timeOut(open, open.deadline));
  }

  #flush(): void {
    if (this.#connection === undefined || this.#limits === undefined) return;
    for (const queue of [this.#urgent, this.#waiting]) {
      for (const open of queue) {
        const sent = this.#open.size - this.#urgent.size - this.#waiting.size - this.#paused.size;
        if (sent >= this.#limits.open_requests) return;
        queue.delete(open);
        this.#send(open, this.#connection, this.#limits.frame);
      }
    }
  }

  #send(open: Open, connection: Connection, limit: number): void {
    // Sent, it would cost the connection, and then the next one. UTF-8 needs at most 3 bytes a unit.
    if (open.message.length * 3 > limit && byteLength(open.message) > limit) {
      this.#forget(open);
      open.reject(
        new Refused("too_large", `The request is over ${limit} bytes, the server's limit for a frame.`),
      );
      return;
    }
    open.connection = connection;
    open.sent = true;
    const until = Math.min(open.deadline, this.#timers.now() + open.attempt);
    open.alarm.set(until - this.#timers.now(), () => this.#timeOut(open, until));
    connection.sendMessage(open.message);
  }

  #timeOut(open: Open, until: number): void {
    const why = open.connection === undefined ? "There was no connection" : "No answer came";
    this.#giveUp(
      open,
      new Refused("unavailable", `${why} ${until === open.deadline ? "before the deadline" : "in time"}.`, {
        retry: true,
        outcome: open.sent ? "unknown" : "none",
      }),
    );
  }

  #giveUp(open: Open, error: unknown): void {
    this.#forget(open);
    if (open.cancel) open.connection?.send({ type: "cancel", id: open.id });
    open.reject(error);
    this.#flush();
  }

  #forget(open: Open): void {
    this.#open.delete(open.id);
    this.#urgent.delete(open);
    this.#waiting.delete(open);
    this.#paused.delete(open);
    open.alarm.clear();
  }
}
