import { describe, expect, it } from "vitest";
import { type Sample, Samples, SPAN } from "../src/dashboard/samples.ts";

const at = (seconds: number, cpu = 10): Sample => ({
  time: seconds * 1000,
  cpu,
  cpus: [cpu],
  memory: 0,
  memory_used: 0,
  memory_total: 0,
  net_in: 0,
  net_out: 0,
  load: [],
  connections: 0,
  subscriptions: 0,
  events: 0,
  calls: 0,
});

const cpu = (sample: Sample): number => sample.cpu;

describe("Samples", () => {
  it("merges the history and the stream, each sample once, in the order of time", () => {
    const samples = new Samples();
    for (const seconds of [3, 1, 2, 3]) samples.add(at(seconds, seconds));
    expect(samples.columns([cpu])).toEqual([
      [1, 2, 3],
      [1, 2, 3],
    ]);
  });

  it("breaks the line where samples are missing, and not for one that is late", () => {
    const samples = new Samples();
    for (const seconds of [1, 3, 9]) samples.add(at(seconds));
    expect(samples.columns([cpu])).toEqual([
      [1, 3, 6, 9],
      [10, 10, null, 10],
    ]);
    expect(samples.holes()).toEqual([[3, 9]]);
  });

  it("forgets what is older than the charts show", () => {
    const samples = new Samples();
    for (let seconds = 1; seconds <= SPAN * 3; seconds += 1) samples.add(at(seconds));
    expect(samples.size).toBeLessThanOrEqual(SPAN + 6);
    expect(samples.last?.time).toBe(SPAN * 3 * 1000);
  });
});
