import { describe, expect, it } from "vitest";
import { Progress } from "../src/position.js";

function at(offset: number): Progress {
  const progress = new Progress();
  progress.subscribed("new", "e1", offset);
  return progress;
}

describe("Progress", () => {
  it("takes each offset once and moves with it", () => {
    const progress = at(3);
    expect([4, 4, 3, 5].map((offset) => progress.accept(offset))).toEqual([true, false, false, true]);
    expect(progress.position).toEqual({ epoch: "e1", offset: 5 });
  });

  it("keeps its position when recovered, so that the missed events count (SUB-13)", () => {
    const progress = at(3);
    progress.ask();
    expect(progress.subscribed("recovered", "e1", 9)).toBeUndefined();
    expect(progress.accept(4)).toBe(true);
  });

  it("has no position on a channel without a log (SUB-3)", () => {
    const progress = new Progress();
    progress.subscribed("new", "", 0);
    expect(progress.position).toBeUndefined();
    expect(progress.ask()).toBeUndefined();
  });

  it("tells a gap from its own offset, goes on behind it, and resumes from before it (GAP-2)", () => {
    const progress = at(10);
    progress.ask();
    expect(progress.subscribed("gap", "e1", 20)).toEqual({
      from: 10,
      to: 20,
      epoch: "e1",
      reason: "trimmed",
    });
    progress.accept(21);
    expect(progress.position).toEqual({ epoch: "e1", offset: 21 });
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 10 });
  });

  it("resumes from its position again once the gap is dismissed", () => {
    const progress = at(10);
    progress.skip({ epoch: "e1", from: 10, to: 20, reason: "slow" });
    progress.dismiss();
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 20 });
  });

  it("takes what fills a gap, and nothing twice", () => {
    const progress = at(10);
    progress.skip({ epoch: "e1", from: 10, to: 12, reason: "slow" });
    progress.accept(13);
    progress.ask();
    expect(progress.subscribed("recovered", "e1", 14)).toBeUndefined();
    expect([11, 12, 13, 14].map((offset) => progress.accept(offset))).toEqual([true, true, false, true]);
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 14 });
  });

  it("does not hide what a gap within a gap leaves out", () => {
    const progress = at(10);
    progress.skip({ epoch: "e1", from: 10, to: 20, reason: "slow" });
    expect(progress.accept(11)).toBe(true);
    expect(progress.skip({ epoch: "e1", from: 11, to: 18, reason: "slow" })).toBeUndefined();
    expect([19, 20].map((offset) => progress.accept(offset))).toEqual([true, true]);
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 11 });
  });

  it("joins gaps that touch, and takes all of what they leave out", () => {
    const progress = at(10);
    progress.skip({ epoch: "e1", from: 10, to: 12, reason: "slow" });
    progress.skip({ epoch: "e1", from: 12, to: 14, reason: "slow" });
    progress.accept(15);
    expect([11, 12, 13, 14, 15].map((offset) => progress.accept(offset))).toEqual([
      true,
      true,
      true,
      true,
      false,
    ]);
  });

  it("tells an open gap again when a resume cannot fill it", () => {
    const progress = at(10);
    progress.skip({ epoch: "e1", from: 10, to: 20, reason: "slow" });
    progress.ask();
    expect(progress.subscribed("gap", "e1", 20)).toMatchObject({ from: 10, to: 20 });
    progress.ask();
    expect(progress.subscribed("gap", "e1", 25)).toMatchObject({ from: 10, to: 25 });
  });

  it("is told nothing missing when it has already come past the gap's end", () => {
    const progress = at(10);
    progress.ask();
    progress.accept(11);
    progress.accept(12);
    expect(progress.subscribed("gap", "e1", 11)).toBeUndefined();
    expect(progress.position?.offset).toBe(12);
    expect(progress.skip({ epoch: "e1", from: 9, to: 12, reason: "slow" })).toBeUndefined();
  });

  it("starts over in a new epoch, and asks from the void position until that is dealt with (GAP-5)", () => {
    const progress = at(311);
    expect(progress.skip({ epoch: "e2", from: 0, to: 0, reason: "reset" })).toEqual({
      from: 0,
      to: 0,
      epoch: "e2",
      reason: "reset",
    });
    expect(progress.accept(1)).toBe(true);
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 311 });
    expect(progress.subscribed("gap", "e2", 4)).toMatchObject({ from: 0, to: 4, reason: "reset" });
    progress.dismiss();
    expect(progress.ask()).toEqual({ epoch: "e2", offset: 4 });
  });

  it("tells a reset by a verdict in offsets of the new epoch (GAP-5)", () => {
    const progress = at(311);
    progress.ask();
    expect(progress.subscribed("gap", "e2", 3)).toEqual({ from: 0, to: 3, epoch: "e2", reason: "reset" });
    expect(progress.ask()).toEqual({ epoch: "e1", offset: 311 });
  });

  it("takes an offset past the log's head for void (SUB-2)", () => {
    const progress = at(30);
    progress.ask();
    expect(progress.subscribed("gap", "e1", 20)).toEqual({ from: 0, to: 20, epoch: "e1", reason: "reset" });
    expect(progress.accept(21)).toBe(true);
  });

  it("takes `new` at a known position for a gap, for nothing is lost in silence", () => {
    const progress = new Progress({ epoch: "e1", offset: 5 });
    progress.ask();
    expect(progress.subscribed("new", "e1", 9)).toMatchObject({ from: 5, to: 9 });
  });

  it("does not go back when it is subscribed twice (SUB-4)", () => {
    const progress = at(5);
    progress.accept(6);
    expect(progress.subscribed("recovered", "e1", 5)).toBeUndefined();
    expect(progress.position).toEqual({ epoch: "e1", offset: 6 });
  });
});
