/** How far the user has read in each channel, kept for all tabs of this browser. */

export class ReadMarks {
  readonly #stored: string;

  constructor(user: string) {
    this.#stored = `backchannel.read.${user}`;
  }

  /** The `seq` of the last message read; 0 where nothing was. */
  get(channel: string): number {
    return this.#read()[channel] ?? 0;
  }

  /** Read up to here. Answers whether that is news. */
  set(channel: string, seq: number): boolean {
    // Read again each time: another tab may have gone further.
    const marks = this.#read();
    if (seq <= (marks[channel] ?? 0)) return false;
    marks[channel] = seq;
    try {
      localStorage.setItem(this.#stored, JSON.stringify(marks));
    } catch {
      // Storage is full or switched off: the dots come back after a reload.
    }
    return true;
  }

  #read(): Record<string, number> {
    try {
      return JSON.parse(localStorage.getItem(this.#stored) ?? "{}") as Record<string, number>;
    } catch {
      return {};
    }
  }
}
