/**
 * The messages of one channel as this page knows them: an unbroken run by `seq`, and behind it what
 * is on its way. A message is never there twice, in whatever order reply, event and page arrive.
 */

import type { Message, Pending } from "./types.ts";

export type EntryState = "pending" | "sent" | "failed";

/** One line of the conversation. */
export interface Entry {
  /** Stays the same from the first keystroke's Enter to the settled message. */
  readonly key: string;
  readonly state: EntryState;
  readonly user: string;
  readonly text: string;
  readonly time: number;
  readonly id: string | null;
  readonly seq: number | null;
  readonly reason: string | null;
}

interface Waiting extends Pending {
  failed: string | null;
  /** The message that an event without a key is thought to have settled this with. */
  claimed: string | null;
}

/** A message this much older than what is on its way is another one; clocks may differ by less. */
const CLAIM_WITHIN_MS = 60_000;

export class Timeline {
  readonly #user: string;
  #messages: Message[] = [];
  #waiting: Waiting[] = [];
  /** Which key the user's own messages were sent with, by message id. */
  readonly #keys = new Map<string, string>();

  /** `user` is whose page this is. */
  constructor(user: string) {
    this.#user = user;
  }

  get first(): Message | undefined {
    return this.#messages[0];
  }

  get last(): Message | undefined {
    return this.#messages.at(-1);
  }

  get pending(): readonly Pending[] {
    return this.#waiting;
  }

  /** Everything to show, oldest first; what is on its way comes last. */
  entries(): Entry[] {
    const sent = this.#messages.map(
      ({ id, seq, user, text, time }): Entry => ({
        key: this.#keys.get(id) ?? id,
        state: "sent",
        user,
        text,
        time,
        id,
        seq,
        reason: null,
      }),
    );
    const open = this.#waiting
      .filter((waiting) => waiting.claimed === null)
      .map(
        ({ key, text, time, failed }): Entry => ({
          key,
          state: failed === null ? "pending" : "failed",
          user: this.#user,
          text,
          time,
          id: null,
          seq: null,
          reason: failed,
        }),
      );
    return [...sent, ...open];
  }

  /** Take messages in. A message that is there already changes nothing. Answers how many were new. */
  add(messages: readonly Message[]): number {
    let added = 0;
    for (const message of messages) {
      let at = this.#messages.length;
      while (at > 0 && (this.#messages[at - 1]?.seq ?? 0) > message.seq) at -= 1;
      if (this.#messages[at - 1]?.seq === message.seq) continue;
      this.#claim(message, CLAIM_WITHIN_MS);
      this.#messages.splice(at, 0, message);
      added += 1;
    }
    return added;
  }

  /** Take a message in that an event brought, with the key of the command where the event told it. */
  hear(message: Message, key: string | undefined): boolean {
    const mine = this.#waiting.find((waiting) => waiting.key === key);
    if (mine !== undefined) this.#forget(mine, message);
    else if (key === undefined) this.#claim(message, Number.POSITIVE_INFINITY);
    return this.add([message]) > 0;
  }

  /**
   * A page or a replayed event does not tell the key that a message was sent with. If it is the user's
   * own, the oldest equal text on its way is hidden until its answer settles it: should that be another
   * message after all, both are there in the end, and until then neither is there twice.
   */
  #claim(message: Message, within: number): void {
    if (message.user !== this.#user || this.#keys.has(message.id)) return;
    const alike = this.#waiting.find(
      ({ text, time, claimed, failed }) =>
        claimed === null && failed === null && text === message.text && time - message.time < within,
    );
    if (alike === undefined) return;
    alike.claimed = message.id;
    this.#keys.set(message.id, alike.key);
  }

  /** Show a message that is on its way. */
  propose(pending: Pending): void {
    this.#waiting.push({ ...pending, failed: null, claimed: null });
  }

  /** The answer came: the message with this key is this one. */
  settle(key: string, message: Message): void {
    const waiting = this.#waiting.find((one) => one.key === key);
    if (waiting !== undefined) this.#forget(waiting, message);
    this.add([message]);
  }

  /** The message could not be sent; it stays, with the reason. */
  fail(key: string, reason: string): void {
    const waiting = this.#waiting.find((one) => one.key === key);
    if (waiting === undefined) return;
    this.#release(waiting);
    waiting.failed = reason;
  }

  /** A failed message is on its way again. */
  retry(key: string): void {
    const waiting = this.#waiting.find((one) => one.key === key);
    if (waiting !== undefined) waiting.failed = null;
  }

  /** Give a message up that could not be sent. */
  discard(key: string): void {
    this.#waiting = this.#waiting.filter((waiting) => waiting.key !== key);
  }

  /** Forget the messages, not what is on its way. */
  clear(): void {
    this.#messages = [];
  }

  /** Keep the newest messages only. Answers whether some were let go. */
  trim(kept: number): boolean {
    if (this.#messages.length <= kept) return false;
    this.#messages = this.#messages.slice(-kept);
    return true;
  }

  #forget(waiting: Waiting, message: Message): void {
    if (waiting.claimed !== null && waiting.claimed !== message.id) this.#release(waiting);
    this.#keys.set(message.id, waiting.key);
    this.discard(waiting.key);
  }

  #release(waiting: Waiting): void {
    if (waiting.claimed !== null) this.#keys.delete(waiting.claimed);
    waiting.claimed = null;
  }
}
