/** Promises that many may wait for and that are made only when somebody does. */
export class Waiters<T> {
  #waiters: { resolve(value: T): void; reject(error: Error): void }[] = [];

  wait(): Promise<T> {
    return new Promise((resolve, reject) => this.#waiters.push({ resolve, reject }));
  }

  resolve(value: T): void {
    for (const waiter of this.#take()) waiter.resolve(value);
  }

  reject(error: Error): void {
    for (const waiter of this.#take()) waiter.reject(error);
  }

  #take(): { resolve(value: T): void; reject(error: Error): void }[] {
    const waiters = this.#waiters;
    this.#waiters = [];
    return waiters;
  }
}
