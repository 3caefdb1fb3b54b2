/** Promises that many may wait for and that are made only when somebody does. */
export class Waiters<T> {
  #waiters: { resolve(value: T): void; reject(error: unknown): void }[] = [];

  /** Rejects with the signal's reason when aborted. */
  wait(signal?: AbortSignal): Promise<T> {
    return new Promise((resolve, reject) => {
      if (signal === undefined) {
        this.#waiters.push({ resolve, reject });
        return;
      }
      if (signal.aborted) {
        reject(signal.reason);
        return;
      }
      const abort = () => {
        this.#waiters = this.#waiters.filter((other) => other !== waiter);
        reject(signal.reason);
      };
      const off = () => signal.removeEventListener("abort", abort);
      const waiter = {
        resolve(value: T) {
          off();
          resolve(value);
        },
        reject(error: unknown) {
          off();
          reject(error);
        },
      };
      signal.addEventListener("abort", abort, { once: true });
      this.#waiters.push(waiter);
    });
  }

  resolve(value: T): void {
    for (const waiter of this.#take()) waiter.resolve(value);
  }

  reject(error: Error): void {
    for (const waiter of this.#take()) waiter.reject(error);
  }

  #take(): readonly { resolve(value: T): void; reject(error: unknown): void }[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }
}
