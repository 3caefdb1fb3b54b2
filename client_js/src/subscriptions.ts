/** All subscriptions of a client: who asked for what, and what each connection says of it. */

import { type Backoff, backoffDelay } from "./backoff.js";
import { isRetryable } from "./codes.js";
import type { Connection } from "./connection.js";
import { type BackchannelError, Refused } from "./errors.js";
import type { SubscribeOptions } from "./options.js";
import type {
  EventFrame,
  GapFrame,
  Position,
  PresenceFrame,
  SubscribedFrame,
  SubscribeFrame,
  UnsubscribedFrame,
} from "./protocol.gen.js";
import type { Requests } from "./requests.js";
import { Subscription, type SubscriptionOwner } from "./subscription.js";
import type { Timers } from "./timers.js";

const QUEUE = 1000;

export class Subscriptions implements SubscriptionOwner {
  readonly timers: Timers;
  readonly #requests: Requests;
  readonly #random: () => number;
  readonly #backoff: Backoff;
  readonly #all = new Map<string, Subscription>();
  #connection: Connection | undefined;

  constructor(requests: Requests, timers: Timers, random: () => number, backoff: Backoff) {
    this.#requests = requests;
    this.timers = timers;
    this.#random = random;
    this.#backoff = backoff;
  }

  /** What all who ask for this channel share; asked for again where the server had refused it. */
  subscribe(channel: string, options: SubscribeOptions): Subscription {
    let subscription = this.#all.get(channel);
    if (subscription === undefined) {
      subscription = new Subscription(this, channel, options.since, options.queue ?? QUEUE);
      this.#all.set(channel, subscription);
      if (this.#connection !== undefined) this.#ask(subscription, this.#connection);
    } else if (subscription.state === "unsubscribed") {
      subscription.wait();
      if (this.#connection !== undefined) this.#ask(subscription, this.#connection);
    }
    subscription.users += 1;
    return subscription;
  }

  async release(subscription: Subscription): Promise<void> {
    const { channel } = subscription;
    if (this.#all.get(channel) !== subscription || subscription.users === 0) return;
    subscription.users -= 1;
    if (subscription.users > 0) return;
    this.#all.delete(channel);
    const told = subscription.source !== undefined || subscription.lastId !== 0;
    const listening = subscription.state !== "unsubscribed" && told;
    subscription.end();
    if (listening && this.#connection !== undefined) await this.#unsubscribe(channel);
  }

  /**
   * The positions for `connect`, and in `connection.resumed` whose they are.
   *
   * What has no room is subscribed afterwards.
   *
   * @param bytes how many they may take
   * @param channels how many there may be
   */
  resume(connection: Connection, bytes: number, channels: number): Record<string, Position> {
    const resume: Record<string, Position> = {};
    let room = bytes;
    for (const subscription of this.#all.values()) {
      if (connection.resumed.size >= channels) break;
      const position = subscription.state === "unsubscribed" ? undefined : subscription.ask();
      if (position === undefined) continue;
      // Channel names and epochs are ASCII; the rest is braces, quotes, words and an offset.
      room -= subscription.channel.length + position.epoch.length + 48;
      if (room < 0) break;
      resume[subscription.channel] = position;
      connection.resumed.add(subscription.channel);
    }
    return resume;
  }

  /** From now on this connection counts: what it does not resume is asked for. */
  attach(connection: Connection): void {
    this.#connection = connection;
    for (const [channel, subscription] of this.#all) {
      subscription.alarm.clear();
      if (connection.resumed.has(channel) || subscription.state === "unsubscribed") continue;
      if (subscription.users === 0) this.#all.delete(channel);
      else this.#ask(subscription, connection);
    }
  }

  lost(connection: Connection): void {
    if (this.#connection === connection) this.#connection = undefined;
    for (const subscription of this.#all.values()) {
      if (subscription.state === "unsubscribed") continue;
      if (subscription.source === connection) subscription.wait();
      if (this.#connection === undefined) subscription.alarm.clear();
    }
  }

  /** Whether a channel is still heard on this connection. */
  hearing(connection: Connection): boolean {
    for (const subscription of this.#all.values()) {
      if (subscription.source === connection) return true;
    }
    return false;
  }

  event(connection: Connection, frame: EventFrame): void {
    const subscription = this.#all.get(frame.channel);
    if (subscription?.source === connection) subscription.receive(frame);
  }

  gap(connection: Connection, frame: GapFrame): void {
    const subscription = this.#all.get(frame.channel);
    if (subscription?.source === connection) subscription.skip(frame);
  }

  presence(connection: Connection, frame: PresenceFrame): void {
    const subscription = this.#all.get(frame.channel);
    if (subscription?.source === connection) subscription.present(frame);
  }

  subscribed(connection: Connection, frame: SubscribedFrame): void {
    if (connection !== this.#connection) return;
    let subscription = this.#all.get(frame.channel);
    if (frame.id !== undefined) {
      // An answer to somebody who has let go meanwhile is followed by that to `unsubscribe`.
      if (subscription === undefined || frame.id < subscription.firstId) return;
    } else if (subscription === undefined) {
      if (connection.resumed.has(frame.channel)) {
        // Let go of between `connect` and this answer.
        void this.#unsubscribe(frame.channel);
        return;
      }
      // The server listens for us, to `user:<id>` for one: whoever subscribes later finds it running.
      subscription = new Subscription(this, frame.channel, undefined, QUEUE);
      this.#all.set(frame.channel, subscription);
    }
    subscription.subscribed(connection, frame);
  }

  unsubscribed(connection: Connection, frame: UnsubscribedFrame): void {
    const subscription = this.#all.get(frame.channel);
    if (subscription === undefined || connection !== this.#connection) return;
    this.#refused(subscription, frame.code, frame.message, isRetryable(frame.code), undefined);
  }

  /** The connection ended for good, but the client may connect again: nobody waits that long. */
  interrupt(error: BackchannelError): void {
    for (const subscription of this.#all.values()) {
      if (subscription.state !== "unsubscribed") subscription.interrupt(error, error);
    }
  }

  /** A new attempt after an interruption: everything is waited for again. */
  revive(): void {
    for (const subscription of this.#all.values()) {
      if (subscription.state !== "unsubscribed") subscription.wait();
    }
  }

  /** The client is closed. */
  close(error: BackchannelError): void {
    this.#connection = undefined;
    for (const subscription of [...this.#all.values()]) {
      subscription.end(undefined, error);
    }
    this.#all.clear();
  }

  #ask(subscription: Subscription, connection: Connection): void {
    const id = this.#requests.nextId();
    subscription.firstId = Math.min(subscription.firstId, id);
    subscription.lastId = id;
    const { channel } = subscription;
    const since = subscription.ask();
    const frame: SubscribeFrame = {
      type: "subscribe",
      id,
      channel,
      ...(since === undefined ? {} : { since }),
    };
    this.#requests.ask(frame, { again: false, urgent: true }).catch((error: unknown) => {
      // The success comes as a frame. A lost connection is no refusal: the next one asks anew.
      if (this.#all.get(channel) !== subscription || subscription.lastId !== id) return;
      if (this.#connection !== connection || !(error instanceof Refused)) return;
      this.#refused(subscription, error.code, error.message, error.retry, error.retryAfter);
    });
  }

  #refused(
    subscription: Subscription,
    code: string,
    message: string,
    retry: boolean,
    retryAfter: number | undefined,
  ): void {
    if (subscription.users === 0) {
      this.#all.delete(subscription.channel);
      subscription.end();
    } else if (retry) {
      subscription.wait();
      const delay = backoffDelay(subscription.refusals, this.#random(), this.#backoff);
      subscription.refusals += 1;
      subscription.alarm.set(Math.max(delay, (retryAfter ?? 0) * 1000), () => {
        if (this.#connection !== undefined) this.#ask(subscription, this.#connection);
      });
    } else subscription.refused(code, message);
  }

  async #unsubscribe(channel: string): Promise<void> {
    try {
      await this.#requests.ask(
        { type: "unsubscribe", id: this.#requests.nextId(), channel },
        { again: false, urgent: true },
      );
    } catch {
      // Refused, or the connection is gone: either way the server does not send it any more.
    }
  }
}
