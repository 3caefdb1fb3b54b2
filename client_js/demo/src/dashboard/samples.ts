/** The last five minutes of `metrics:host`, and the holes in them. */

/** What `metrics.sampled` carries, once a second. Instants are Unix milliseconds, sizes bytes. */
export interface Sample {
  readonly time: number;
  /** Percent of all cores together, and of each. */
  readonly cpu: number;
  readonly cpus: readonly number[];
  readonly memory: number;
  readonly memory_used: number;
  readonly memory_total: number;
  /** Bytes per second. */
  readonly net_in: number;
  readonly net_out: number;
  /** Load averages over 1, 5 and 15 minutes. */
  readonly load: readonly number[];
  readonly connections: number;
  readonly subscriptions: number;
  /** Deliveries per second. */
  readonly events: number;
  readonly calls: number;
}

/** The span that the charts show, in seconds; the channel's history is as long. */
export const SPAN = 300;

/** Two samples further apart than this have a hole between them. One late sample is none. */
const HOLE_MS = 2_600;

export class Samples {
  readonly #samples: Sample[] = [];

  get last(): Sample | undefined {
    return this.#samples.at(-1);
  }

  get size(): number {
    return this.#samples.length;
  }

  /** Take a sample in, live or from the history; one that is there already changes nothing. */
  add(sample: Sample): void {
    let at = this.#samples.length;
    while (at > 0 && (this.#samples[at - 1]?.time ?? 0) > sample.time) at -= 1;
    if (this.#samples[at - 1]?.time === sample.time) return;
    this.#samples.splice(at, 0, sample);
    const oldest = (this.last?.time ?? 0) - (SPAN + 5) * 1000;
    const from = this.#samples.findIndex(({ time }) => time >= oldest);
    if (from > 0) this.#samples.splice(0, from);
  }

  /**
   * The columns of a chart: instants in seconds, then one column per line. A hole is a `null`, so that
   * the line breaks instead of bridging what nobody measured.
   */
  columns(lines: readonly ((sample: Sample) => number | null)[]): (number | null)[][] {
    const columns: (number | null)[][] = [[], ...lines.map(() => [])];
    let previous: number | undefined;
    const push = (seconds: number, values: readonly (number | null)[]): void => {
      columns[0]?.push(seconds);
      for (const [index, value] of values.entries()) columns[index + 1]?.push(value);
    };
    for (const sample of this.#samples) {
      if (previous !== undefined && sample.time - previous > HOLE_MS) {
        push(
          (previous + sample.time) / 2000,
          lines.map(() => null),
        );
      }
      push(
        sample.time / 1000,
        lines.map((line) => line(sample)),
      );
      previous = sample.time;
    }
    return columns;
  }

  /** The holes as [from, to] in seconds. */
  holes(): [number, number][] {
    const holes: [number, number][] = [];
    let previous: number | undefined;
    for (const { time } of this.#samples) {
      if (previous !== undefined && time - previous > HOLE_MS) holes.push([previous / 1000, time / 1000]);
      previous = time;
    }
    return holes;
  }

  /** The highest value of a line. */
  peak(line: (sample: Sample) => number): number {
    return this.#samples.reduce((highest, sample) => Math.max(highest, line(sample)), 0);
  }
}
