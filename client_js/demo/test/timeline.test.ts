import { describe, expect, it } from "vitest";
import { Timeline } from "../src/chat/timeline.ts";
import type { Message } from "../src/chat/types.ts";

const message = (seq: number, user = "bob", text = `text ${seq}`): Message => ({
  id: `m${seq}`,
  channel: "chat:x",
  seq,
  user,
  text,
  time: 1_000_000 + seq,
});

const pending = (key: string, text: string) => ({ key, text, time: 1_000_000 });

const shown = (timeline: Timeline): string[] =>
  timeline.entries().map(({ state, text }) => `${state} ${text}`);

describe("Timeline", () => {
  it("keeps messages in the order of their seq, whatever the order they come in", () => {
    const timeline = new Timeline("alice");
    timeline.add([message(3), message(1)]);
    timeline.add([message(2)]);
    expect(timeline.entries().map(({ seq }) => seq)).toEqual([1, 2, 3]);
  });

  it("takes a message in once, from a page and from an event", () => {
    const timeline = new Timeline("alice");
    expect(timeline.add([message(1), message(2)])).toBe(2);
    expect(timeline.hear(message(2), undefined)).toBe(false);
    expect(timeline.entries()).toHaveLength(2);
  });

  it.each(["reply first", "event first"])("settles what is on its way once: %s", (order) => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    expect(shown(timeline)).toEqual(["pending hello"]);
    const steps = [
      () => timeline.settle("k", message(1, "alice", "hello")),
      () => timeline.hear(message(1, "alice", "hello"), "k"),
    ];
    for (const step of order === "reply first" ? steps : steps.reverse()) {
      step();
      expect(shown(timeline)).toEqual(["sent hello"]);
    }
  });

  it("keeps the line's key when it is settled, so that its element stays", () => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    const [before] = timeline.entries();
    timeline.hear(message(1, "alice", "hello"), "k");
    expect(timeline.entries()[0]?.key).toBe(before?.key);
  });

  it("does not show a message twice when a replayed event does not tell its key", () => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    timeline.hear(message(1, "alice", "hello"), undefined);
    expect(shown(timeline)).toEqual(["sent hello"]);
    timeline.settle("k", message(1, "alice", "hello"));
    expect(shown(timeline)).toEqual(["sent hello"]);
  });

  it("shows both in the end when the equal text was another message of the same user", () => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    timeline.hear(message(1, "alice", "hello"), undefined);
    timeline.settle("k", message(2, "alice", "hello"));
    expect(shown(timeline)).toEqual(["sent hello", "sent hello"]);
    expect(new Set(timeline.entries().map(({ key }) => key)).size).toBe(2);
  });

  it("does not take another user's equal text for its own", () => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    timeline.hear(message(1, "bob", "hello"), undefined);
    expect(shown(timeline)).toEqual(["sent hello", "pending hello"]);
  });

  it("shows a failed message with its reason, also one that was thought to be settled", () => {
    const timeline = new Timeline("alice");
    timeline.propose(pending("k", "hello"));
    timeline.hear(message(1, "alice", "hello"), undefined);
    timeline.fail("k", "No.");
    expect(shown(timeline)).toEqual(["sent hello", "failed hello"]);
    expect(timeline.entries()[1]?.reason).toBe("No.");
    timeline.retry("k");
    expect(shown(timeline)).toEqual(["sent hello", "pending hello"]);
    timeline.discard("k");
    expect(shown(timeline)).toEqual(["sent hello"]);
  });

  it("keeps what is on its way when the messages are replaced by a snapshot", () => {
    const timeline = new Timeline("alice");
    timeline.add([message(1)]);
    timeline.propose(pending("k", "hello"));
    timeline.clear();
    timeline.add([message(7)]);
    expect(shown(timeline)).toEqual(["sent text 7", "pending hello"]);
  });
});
