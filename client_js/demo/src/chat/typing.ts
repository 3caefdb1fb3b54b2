/** Who types, as heard; and saying that this user types, no more often than needed. */

const SHOWN_MS = 5_000;
const SAID_EVERY_MS = 3_000;

/** The users who type in one channel. Each is forgotten after five seconds unless it is heard of again. */
export class Typists {
  readonly #changed: () => void;
  readonly #timers = new Map<string, ReturnType<typeof setTimeout>>();

  constructor(changed: () => void) {
    this.#changed = changed;
  }

  get users(): readonly string[] {
    return [...this.#timers.keys()];
  }

  started(user: string): void {
    clearTimeout(this.#timers.get(user));
    this.#timers.set(
      user,
      setTimeout(() => this.stopped(user), SHOWN_MS),
    );
    this.#changed();
  }

  stopped(user: string): void {
    clearTimeout(this.#timers.get(user));
    if (this.#timers.delete(user)) this.#changed();
  }

  clear(): void {
    for (const user of this.users) this.stopped(user);
  }
}

/** Says that this user types (`say(true)`) at most every three seconds, and once when that ends. */
export class TypingSignal {
  readonly #say: (going: boolean) => void;
  #saidAt: number | null = null;

  constructor(say: (going: boolean) => void) {
    this.#say = say;
  }

  /** The draft changed. */
  draft(text: string): void {
    if (text.trim() === "") {
      this.stop();
      return;
    }
    const now = performance.now();
    if (this.#saidAt !== null && now - this.#saidAt < SAID_EVERY_MS) return;
    this.#saidAt = now;
    this.#say(true);
  }

  /** The draft was cleared or left; nothing is said where nothing was said lately. */
  stop(): void {
    const due = this.#saidAt !== null && performance.now() - this.#saidAt < SHOWN_MS;
    this.#saidAt = null;
    if (due) this.#say(false);
  }

  /** The message was sent, which everybody hears. */
  sent(): void {
    this.#saidAt = null;
  }
}
