import { describe, expect, it } from "vitest";
import { layOut } from "../src/chat/lines.ts";
import type { Entry } from "../src/chat/timeline.ts";

const MINUTE = 60_000;
const NOON = new Date(2026, 4, 6, 12).getTime();

const entry = (seq: number, user: string, time: number): Entry => ({
  key: `m${seq}`,
  state: "sent",
  user,
  text: "",
  time,
  id: `m${seq}`,
  seq,
  reason: null,
});

const sketch = (entries: Entry[], readUpTo: number | null = null): string[] =>
  layOut(entries, "alice", readUpTo).map((line) =>
    line.kind === "message"
      ? `${line.key}${line.opens ? " opens" : ""}${line.ends ? " ends" : ""}`
      : line.kind,
  );

describe("layOut", () => {
  it("groups one user's messages that follow within five minutes", () => {
    const entries = [
      entry(1, "bob", NOON),
      entry(2, "bob", NOON + MINUTE),
      entry(3, "carol", NOON + 2 * MINUTE),
      entry(4, "carol", NOON + 9 * MINUTE),
    ];
    expect(sketch(entries)).toEqual(["day", "m1 opens", "m2 ends", "m3 opens ends", "m4 opens ends"]);
  });

  it("separates days, and groups never cross one", () => {
    const midnight = new Date(2026, 4, 7).getTime();
    const entries = [entry(1, "bob", midnight - MINUTE), entry(2, "bob", midnight + MINUTE)];
    expect(sketch(entries)).toEqual(["day", "m1 opens ends", "day", "m2 opens ends"]);
  });

  it("marks what is new once, before the first unread message of somebody else", () => {
    const entries = [
      entry(1, "bob", NOON),
      entry(2, "alice", NOON + MINUTE),
      entry(3, "bob", NOON + 2 * MINUTE),
      entry(4, "bob", NOON + 3 * MINUTE),
    ];
    expect(sketch(entries, 1)).toEqual([
      "day",
      "m1 opens ends",
      "m2 opens ends",
      "new",
      "m3 opens",
      "m4 ends",
    ]);
    expect(sketch(entries, null)).not.toContain("new");
  });
});
