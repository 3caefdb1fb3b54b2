/** A bounded queue between a channel, which pushes, and a `for await` loop, which pulls. */

interface Waiter<T> {
  resolve(result: IteratorResult<T, undefined>): void;
  reject(error: unknown): void;
}

/**
 * What a `for await` loop reads. Past `limit` waiting items the loop reads what is queued and then
 * throws the overflow; so does an error. Leaving the loop calls `stop`.
 */
export class Queue<T> implements AsyncIterableIterator<T, undefined> {
  readonly #limit: number;
  readonly #overflow: () => Error;
  readonly #stop: () => void;
  #items: T[] = [];
  /** Items before this index are read; the array is cut when half of it is. */
  #head = 0;
  readonly #waiters: Waiter<T>[] = [];
  #ended = false;
  #error: Error | undefined;

  constructor(limit: number, overflow: () => Error, stop: () => void) {
    this.#limit = limit;
    this.#overflow = overflow;
    this.#stop = stop;
  }

  push(item: T): void {
    if (this.#ended) return;
    const waiter = this.#waiters.shift();
    if (waiter !== undefined) waiter.resolve({ done: false, value: item });
    else if (this.#items.length - this.#head < this.#limit) this.#items.push(item);
    else this.end(this.#overflow());
  }

  /** No more items come: the loop ends after what is queued, by throwing `error` if there is one. */
  end(error?: Error): void {
    if (this.#ended) return;
    this.#ended = true;
    this.#error = error;
    this.#stop();
    for (const waiter of this.#waiters.splice(0)) this.#finish(waiter);
  }

  next(): Promise<IteratorResult<T, undefined>> {
    return new Promise((resolve, reject) => {
      if (this.#head < this.#items.length) resolve({ done: false, value: this.#take() });
      else if (this.#ended) this.#finish({ resolve, reject });
      else this.#waiters.push({ resolve, reject });
    });
  }

  return(): Promise<IteratorResult<T, undefined>> {
    this.#items = [];
    this.#head = 0;
    this.end();
    return Promise.resolve({ done: true, value: undefined });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  #take(): T {
    const item = this.#items[this.#head++] as T;
    if (this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  #finish(waiter: Waiter<T>): void {
    const error = this.#error;
    this.#error = undefined;
    if (error === undefined) waiter.resolve({ done: true, value: undefined });
    else waiter.reject(error);
  }
}
