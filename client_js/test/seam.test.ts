/**
 * The promise of the log, under everything that can happen to connections: every event is delivered once,
 * in order, or lies in a gap that was told; what comes late fills a gap.
 *
 * A small model of the server keeps one log and a cursor per connection. Each run is drawn from its seed,
 * which a failure names.
 */

import { expect, it, vi } from "vitest";
import type { Client, Gap, Subscription } from "../src/index.js";
import type { ServerFrame } from "../src/protocol.gen.js";
import { FakeServer, type Peer } from "./fake_server.js";
import { useFakeTime } from "./time.js";

useFakeTime();

const CHANNEL = "chat:a";
const RECOVERY = 12;

/** Mulberry32: a small generator with good spread. */
function generator(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

/** One connection as the server sees it: frames on their way, then events from its cursor on. */
interface Link {
  readonly peer: Peer;
  readonly queue: ServerFrame[];
  cursor: number | undefined;
}

class World {
  readonly random: () => number;
  readonly server = new FakeServer();
  readonly client: Client;
  readonly subscription: Subscription;
  readonly delivered: number[] = [];
  readonly gaps: Gap[] = [];
  links: Link[] = [];
  head = 0;
  #accepted = 0;

  constructor(seed: number) {
    this.random = generator(seed);
    this.client = this.server.client({ random: this.random });
    this.subscription = this.client.subscribe(CHANNEL, { since: { epoch: "e1", offset: 0 } });
    this.subscription.on("event", ({ offset = 0 }) => this.hear(offset));
    this.subscription.on("gap", (gap) => this.gaps.push(gap));
    this.client.connect();
  }

  hear(offset: number): void {
    expect(this.delivered, `${offset} twice`).not.toContain(offset);
    const late = this.delivered.some((other) => other > offset);
    if (late) expect(this.told(offset), `${offset} late, in no gap`).toBe(true);
    this.delivered.push(offset);
  }

  told(offset: number): boolean {
    return this.gaps.some(({ from, to }) => from < offset && offset <= to);
  }

  pick<T>(items: readonly T[]): T | undefined {
    return items[Math.floor(this.random() * items.length)];
  }

  act(): void {
    const dice = this.random();
    if (dice < 0.3) this.head += 1;
    else if (dice < 0.75) this.step(this.pick(this.links));
    else if (dice < 0.85) this.answer();
    else if (dice < 0.88) this.kill(this.pick(this.links));
    else if (dice < 0.91) this.pick(this.links)?.queue.push({ type: "move", after: 10 });
    else if (dice < 0.93) this.skip(this.pick(this.links));
    else if (dice < 0.95) this.subscription.dismissGap();
    else vi.advanceTimersByTime(this.random() * 4000);
  }

  /** Accept what the client opened, and answer what it asked. */
  answer(): void {
    for (const peer of this.server.peers.slice(this.#accepted)) {
      this.#accepted += 1;
      if (!peer.open) continue;
      const link: Link = { peer, queue: [], cursor: undefined };
      this.links.push(link);
      const since = peer.accept().welcome().resume?.[CHANNEL]?.offset;
      expect(since, "a position to resume from").toBeDefined();
      const recovered = this.head - (since ?? 0) <= RECOVERY;
      link.cursor = recovered ? since : this.head;
      link.queue.push({
        type: "subscribed",
        channel: CHANNEL,
        verdict: recovered ? "recovered" : "gap",
        epoch: "e1",
        offset: this.head,
      });
    }
    this.links = this.links.filter(({ peer }) => peer.open);
  }

  /** Let one frame arrive. Returns whether there was one. */
  step(link: Link | undefined): boolean {
    if (link === undefined || !link.peer.open || link.cursor === undefined) return false;
    const frame = link.queue.shift();
    if (frame !== undefined) link.peer.say(frame);
    else if (link.cursor < this.head) {
      link.cursor += 1;
      link.peer.events(CHANNEL, link.cursor);
    } else return false;
    return true;
  }

  /** The client reads too slowly: leave some events out, and say so. */
  skip(link: Link | undefined): void {
    if (link?.cursor === undefined || link.queue.length > 0 || link.cursor >= this.head) return;
    const from = link.cursor;
    link.cursor = from + 1 + Math.floor(this.random() * (this.head - from));
    link.peer.say({ type: "gap", channel: CHANNEL, epoch: "e1", from, to: link.cursor, reason: "slow" });
  }

  kill(link: Link | undefined): void {
    if (link?.peer.open === true) link.peer.end();
  }

  /** No more faults: everything arrives. */
  heal(): void {
    for (let round = 0; round < 50; round++) {
      vi.advanceTimersByTime(2000);
      this.answer();
      for (const link of this.links) while (this.step(link));
    }
  }
}

it("delivers every event once and in order, or tells the gap, whatever happens", () => {
  let total = 0;
  let filled = 0;
  for (let seed = 1; seed <= 300; seed++) {
    const world = new World(seed);
    try {
      for (let n = 0; n < 200; n++) world.act();
      world.heal();
      expect(world.client.state).toBe("connected");
      const seen = new Set(world.delivered);
      for (let offset = 1; offset <= world.head; offset++) {
        expect(seen.has(offset) || world.told(offset), `${offset} neither delivered nor told`).toBe(true);
      }
      expect(world.subscription.position?.offset).toBe(world.head);
    } catch (error) {
      throw new Error(`seed ${seed}`, { cause: error });
    }
    total += world.delivered.length;
    filled += world.delivered.filter((offset) => world.told(offset)).length;
    world.client.close();
  }
  // The runs are worth something only if events arrive, and gaps get filled.
  expect(total).toBeGreaterThan(5_000);
  expect(filled).toBeGreaterThan(100);
});
