/** Tokens: where they come from, and a fresh one before the old one expires. */

import { Alarm, type Timers } from "./timers.js";

/** A token, or a function that fetches one. */
export type TokenOption = string | (() => string | Promise<string>);

/** A refresh starts this long before the token expires, in milliseconds, or at 4/5 of its life. */
const EARLY = 30_000;
/** A failed refresh is tried again after this many milliseconds, while the token is still good. */
const AGAIN = 5_000;

export interface RefreshListeners {
  /** Send the token; resolves with the instant it expires, Unix milliseconds by the server's clock. */
  refresh(token: string): Promise<number | undefined>;
  failed(error: unknown): void;
}

/** Asks for a token shortly before the one in use expires, and hands it on. One per connection. */
export class Refresher {
  readonly #alarm: Alarm;
  readonly #timers: Timers;
  readonly #listeners: RefreshListeners;
  readonly #provider: () => string | Promise<string>;
  /** The server's clock minus ours, in milliseconds. */
  readonly #skew: number;
  #stopped = false;

  /** @param serverTime the server's clock now, Unix milliseconds */
  constructor(
    provider: () => string | Promise<string>,
    serverTime: number,
    timers: Timers,
    listeners: RefreshListeners,
  ) {
    this.#provider = provider;
    this.#skew = serverTime - timers.now();
    this.#timers = timers;
    this.#alarm = new Alarm(timers);
    this.#listeners = listeners;
  }

  /** Refresh before `expires` (Unix milliseconds, the server's clock). */
  schedule(expires: number): void {
    const left = expires - this.#skew - this.#timers.now();
    this.#alarm.set(left - Math.min(EARLY, left / 5), () => {
      void this.#run(expires);
    });
  }

  stop(): void {
    this.#stopped = true;
    this.#alarm.clear();
  }

  async #run(expires: number): Promise<void> {
    let next: number | undefined;
    try {
      const token = await this.#provider();
      if (this.#stopped) return;
      next = await this.#listeners.refresh(token);
    } catch (error) {
      if (this.#stopped) return;
      this.#listeners.failed(error);
      const left = expires - this.#skew - this.#timers.now();
      // Past its end the server closes with EXPIRED, and connecting again fetches a token anyway.
      if (left > AGAIN) this.#alarm.set(AGAIN, () => void this.#run(expires));
      return;
    }
    if (!this.#stopped && next !== undefined) this.schedule(next);
  }
}
