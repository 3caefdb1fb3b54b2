/** Time, as something that can be replaced: by a test, or where the platform's timers are not wanted. */
export interface Timers {
  /** Run once, `ms` milliseconds from now. The result is given back to `clearTimeout`. */
  setTimeout(run: () => void, ms: number): unknown;
  clearTimeout(timer: unknown): void;
  /** Milliseconds since some fixed instant. */
  now(): number;
}

/** Browsers fire a longer timer at once (the delay is a signed 32-bit number). */
const LONGEST = 2 ** 31 - 1;

/** The platform's timers. They are looked up at each use, so that fake timers work. */
export const systemTimers: Timers = {
  setTimeout: (run, ms) => globalThis.setTimeout(run, Math.min(ms, LONGEST)),
  clearTimeout: (timer) => {
    globalThis.clearTimeout(timer as Parameters<typeof globalThis.clearTimeout>[0]);
  },
  // The wall clock goes on while a laptop sleeps: the silence of that time must be seen on waking.
  now: () => Date.now(),
};

/** One timer that can be set again and again; setting it forgets what it was set for. */
export class Alarm {
  readonly #timers: Timers;
  #timer: unknown;

  constructor(timers: Timers) {
    this.#timers = timers;
  }

  get armed(): boolean {
    return this.#timer !== undefined;
  }

  set(ms: number, run: () => void): void {
    this.clear();
    this.#timer = this.#timers.setTimeout(
      () => {
        this.#timer = undefined;
        run();
      },
      Math.max(0, ms),
    );
  }

  clear(): void {
    if (this.#timer === undefined) return;
    this.#timers.clearTimeout(this.#timer);
    this.#timer = undefined;
  }
}
