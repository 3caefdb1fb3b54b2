/** One channel that the app listens to, across all reconnects. */

import type { Connection } from "./connection.js";
import type { ChannelEvent } from "./contract.js";
import { Emitter } from "./emitter.js";
import { type BackchannelError, QueueOverflow, Refused } from "./errors.js";
import type { WaitOptions } from "./options.js";
import { type Gap, Progress } from "./position.js";
import type {
  EventFrame,
  GapFrame,
  Member,
  Position,
  PresenceFrame,
  SubscribedFrame,
  Verdict,
} from "./protocol.gen.js";
import { Queue } from "./queue.js";
import { Alarm, type Timers } from "./timers.js";
import { Waiters } from "./waiters.js";

export type SubscriptionState = "unsubscribed" | "subscribing" | "subscribed";

/** How a subscription started. With `recovered`, every missed event follows; `offset` is the last of them. */
export interface Subscribed {
  readonly verdict: Verdict;
  readonly epoch: string;
  readonly offset: number;
}

/** Who is present now: everybody in `members`, or the change since the last revision. */
export interface PresenceChange {
  readonly joined: readonly Member[];
  readonly left: readonly string[];
  readonly count: number;
  readonly revision: number;
  /** Everybody; replaces what was known before. */
  readonly members?: readonly Member[];
}

/** The server ended or refused the subscription. */
export interface Unsubscribed {
  readonly code: string;
  readonly message: string;
}

/** What a subscription tells; `E` is what may happen on its channel. */
export interface SubscriptionEvents<E extends ChannelEvent = ChannelEvent> {
  /** An event of the channel, in offset order, none twice. Those that fill a gap come late. */
  readonly event: E;
  /** Listening, for the first time or again. */
  readonly subscribed: Subscribed;
  /** Events are missing: load them or a snapshot, then call `dismissGap()`. */
  readonly gap: Gap;
  readonly presence: PresenceChange;
  /** Over, and not asked for again: `forbidden`, `not_found` and the like. */
  readonly unsubscribed: Unsubscribed;
  readonly state: { readonly state: SubscriptionState };
}

/** What a subscription needs of the collection that it is in. */
export interface SubscriptionOwner {
  readonly timers: Timers;
  /** One who subscribed lets go. Resolves when the server no longer sends the channel's events. */
  release(subscription: Subscription): Promise<void>;
}

const NOBODY: readonly [] = [];

/**
 * Listens to one channel. `client.subscribe()` makes it and gives the same object to all who ask for the
 * channel; the server is told when the last of them has called `unsubscribe()`.
 */
export class Subscription<E extends ChannelEvent = ChannelEvent>
  extends Emitter<SubscriptionEvents<E>>
  implements AsyncIterable<E, undefined>
{
  readonly channel: string;
  readonly #owner: SubscriptionOwner;
  readonly #progress: Progress;
  readonly #queueLimit: number;
  readonly #queues = new Set<Queue<E>>();
  readonly #waiters = new Waiters<Subscribed>();
  #state: SubscriptionState = "subscribing";
  #start: Subscribed | undefined;
  /** Why nobody can wait for it at present: what `ready()` rejects with, and what loops throw, if anything. */
  #ending: { readonly waiters: BackchannelError; readonly loops: BackchannelError | undefined } | undefined;

  /** How many asked for this channel; 0 where only the server did. @internal */
  users = 0;
  /** The connection whose frames count. @internal */
  source: Connection | undefined;
  /** The first of the requests of this object; answers to earlier ones were for another. @internal */
  firstId: number = Number.POSITIVE_INFINITY;
  /** The last of them. @internal */
  lastId = 0;
  /** How often the server has said `unavailable` in a row. @internal */
  refusals = 0;
  /** Asks again after a refusal. @internal */
  readonly alarm: Alarm;

  /** @internal */
  constructor(owner: SubscriptionOwner, channel: string, since: Position | undefined, queueLimit: number) {
    super();
    this.#owner = owner;
    this.channel = channel;
    this.#progress = new Progress(since);
    this.#queueLimit = queueLimit;
    this.alarm = new Alarm(owner.timers);
  }

  /** `subscribing` covers the time without a connection, too. */
  get state(): SubscriptionState {
    return this.#state;
  }

  /** The last event that was delivered. Undefined before the first `subscribed` and for a channel without a log. */
  get position(): Position | undefined {
    return this.#progress.position;
  }

  /** How the subscription started, the last time it did. */
  get verdict(): Verdict | undefined {
    return this.#start?.verdict;
  }

  /**
   * Resolves when the channel is listened to, at once if it is. Rejects with `Refused` where the server
   * refuses, with `ConnectionClosed` where the client is closed, and with the signal's reason when aborted,
   * which ends the waiting only.
   */
  ready({ signal }: WaitOptions = {}): Promise<Subscribed> {
    if (this.#state === "subscribed" && this.#start !== undefined) return Promise.resolve(this.#start);
    if (this.#ending !== undefined) return Promise.reject(this.#ending.waiters);
    return this.#waiters.wait(signal);
  }

  /** The gap is dealt with: from now on a reconnect resumes from the position, not from the gap's `from`. */
  dismissGap(): void {
    this.#progress.dismiss();
  }

  /** Stop listening, once for each `client.subscribe()`. Loops over this subscription end with the last one. */
  unsubscribe(): Promise<void> {
    return this.#owner.release(this);
  }

  /**
   * The events from now on. The loop ends when the subscription is unsubscribed or the client closed; it
   * throws `QueueOverflow` when it reads too slowly, `Refused` when the server ends the subscription, and
   * `ConnectionClosed` when the server closes the connection for good. Leaving the loop does not unsubscribe.
   */
  [Symbol.asyncIterator](): AsyncIterableIterator<E, undefined> {
    const queue: Queue<E> = new Queue(
      this.#queueLimit,
      () => new QueueOverflow(this.channel, this.#queueLimit),
      () => this.#queues.delete(queue),
    );
    if (this.#ending !== undefined) queue.end(this.#ending.loops);
    else this.#queues.add(queue);
    return queue;
  }

  /** Where a resume or a subscribe that is sent now has to start. @internal */
  ask(): Position | undefined {
    return this.#progress.ask();
  }

  /** @internal */
  receive(frame: EventFrame): void {
    // A field is left out where it has its default: for `time` that is 1970, before any event. What a name's
    // data is, is the app's contract: it is believed.
    const event = frame as E;
    if (event.offset !== undefined && !this.#progress.accept(event.offset)) return;
    this.emit("event", event);
    for (const queue of this.#queues) queue.push(event);
  }

  /** @internal */
  subscribed(source: Connection, { verdict, epoch, offset }: SubscribedFrame): void {
    this.source = source;
    this.refusals = 0;
    this.#ending = undefined;
    this.alarm.clear();
    const gap = this.#progress.subscribed(verdict, epoch, offset);
    this.#start = { verdict, epoch, offset };
    this.#setState("subscribed");
    this.emit("subscribed", this.#start);
    this.#waiters.resolve(this.#start);
    if (gap !== undefined) this.emit("gap", gap);
  }

  /** @internal */
  skip(frame: GapFrame): void {
    const gap = this.#progress.skip(frame);
    if (gap !== undefined) this.emit("gap", gap);
  }

  /** @internal */
  present({ joined, left, members, count, revision }: PresenceFrame): void {
    this.emit("presence", {
      joined: joined ?? NOBODY,
      left: left ?? NOBODY,
      count: count ?? 0,
      revision,
      ...(members === undefined ? {} : { members }),
    });
  }

  /** Wanted, but not listened to at the moment. @internal */
  wait(): void {
    this.source = undefined;
    this.#ending = undefined;
    this.#setState("subscribing");
  }

  /** The server refused or ended it. @internal */
  refused(code: string, message: string): void {
    this.end(new Refused(code, message));
    this.emit("unsubscribed", { code, message });
  }

  /** Over. Loops end, by throwing the error if there is one. @internal */
  end(loops?: BackchannelError, waiters?: BackchannelError): void {
    this.source = undefined;
    this.alarm.clear();
    this.interrupt(waiters ?? loops ?? new Refused("cancelled", `${this.channel} was unsubscribed.`), loops);
    this.#setState("unsubscribed");
  }

  /** Nobody waits any longer, though it may yet come back: by `wait()` or `subscribed()`. @internal */
  interrupt(waiters: BackchannelError, loops: BackchannelError | undefined): void {
    this.#ending = { waiters, loops };
    this.#waiters.reject(waiters);
    for (const queue of [...this.#queues]) queue.end(loops);
  }

  #setState(state: SubscriptionState): void {
    if (state === this.#state) return;
    this.#state = state;
    this.emit("state", { state });
  }
}
