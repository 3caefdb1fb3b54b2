/**
 * How far a channel's events have come, and which of them are missing. Pure: no clock, no wire.
 *
 * A position is the offset of the last event that was delivered, in its epoch. A gap is an interval
 * (from, to] that did not come. Until the app has filled or dismissed it, a resume starts at its `from`,
 * so that the server either brings the missing events after all, or says again that it cannot.
 */

import type { GapFrame, GapReason, Position, Verdict } from "./protocol.gen.js";

/** The events after `from` up to and including `to` did not come; the stream goes on in `epoch`. */
export interface Gap {
  readonly from: number;
  readonly to: number;
  readonly epoch: string;
  /** `reset`: all earlier positions are void. */
  readonly reason: GapReason;
}

interface Interval {
  from: number;
  to: number;
}

/** The place of one subscription in its channel's log. */
export class Progress {
  #epoch: string | undefined;
  #offset = 0;
  /** What is missing at or below `#offset`, rising, without overlaps. */
  #missing: Interval[] = [];
  /** The position that a new epoch made void, until the app has loaded a snapshot. */
  #void: Position | undefined;
  /** Where the resume started that is not answered yet. */
  #asked: Position | undefined;

  constructor(since?: Position) {
    this.#epoch = since?.epoch;
    this.#offset = since?.offset ?? 0;
  }

  /** The last event that was delivered; undefined before the first `subscribed`, and without a log. */
  get position(): Position | undefined {
    return this.#epoch === undefined ? undefined : { epoch: this.#epoch, offset: this.#offset };
  }

  /** Where a resume has to start. */
  get resume(): Position | undefined {
    if (this.#void !== undefined) return this.#void;
    const first = this.#missing[0];
    return first === undefined || this.#epoch === undefined
      ? this.position
      : { epoch: this.#epoch, offset: first.from };
  }

  /** Whether the event at `offset` is to be delivered: it is new, or was missing until now. */
  accept(offset: number): boolean {
    if (offset > this.#offset) {
      this.#offset = offset;
      return true;
    }
    return this.#missing.length > 0 && this.#fill(offset);
  }

  /** Where a resume that is sent now has to start; its answer is judged by it. */
  ask(): Position | undefined {
    this.#asked = this.resume;
    return this.#asked;
  }

  /** Take over the answer to a subscribe or a resume. Returns the gap to tell, if there is one. */
  subscribed(verdict: Verdict, epoch: string, offset: number): Gap | undefined {
    const asked = this.#asked;
    this.#asked = undefined;
    // SUB-3: a channel without a log has an empty epoch.
    if (epoch === "") {
      this.#start(undefined, 0);
      return undefined;
    }
    const before = this.resume;
    if (before === undefined || (verdict === "recovered" && epoch !== this.#epoch)) {
      this.#start(epoch, offset);
      return undefined;
    }
    if (verdict === "recovered") return undefined;
    // `new` where a position was known, and what a later version may say, misses as much as `gap`.
    if (epoch !== this.#epoch || (asked?.epoch === epoch && offset < asked.offset)) {
      // SUB-2: an offset past the head is void, as one of another epoch is.
      return this.#reset(epoch, offset);
    }
    const from = this.#offset;
    this.#jump(offset);
    // What is still missing is told again: this resume could not bring it.
    if (offset <= from && !this.#broken) return undefined;
    return this.#void === undefined
      ? { from: before.offset, to: this.#offset, epoch, reason: "trimmed" }
      : resetGap(this.#offset, epoch);
  }

  /** Take over a `gap` frame. Returns the gap to tell, if it is news. */
  skip(frame: Pick<GapFrame, "epoch" | "from" | "to" | "reason">): Gap | undefined {
    const { epoch, to, reason } = frame;
    if (epoch !== this.#epoch) return this.#reset(epoch, to);
    const from = this.#offset;
    if (to > from) {
      this.#jump(to);
      return { from, to, epoch, reason };
    }
    // It lies within a gap that was told: part that, so that events behind do not hide what is missing.
    const index = this.#missing.findIndex((gap) => gap.from < to && to < gap.to);
    const gap = this.#missing[index];
    if (gap !== undefined) this.#missing.splice(index, 1, { from: gap.from, to }, { from: to, to: gap.to });
    return undefined;
  }

  /** Forget what is missing: a resume starts at the position again. */
  dismiss(): void {
    this.#missing = [];
    this.#void = undefined;
  }

  get #broken(): boolean {
    return this.#missing.length > 0 || this.#void !== undefined;
  }

  #start(epoch: string | undefined, offset: number): void {
    this.dismiss();
    this.#epoch = epoch;
    this.#offset = offset;
  }

  #fill(offset: number): boolean {
    const index = this.#missing.findIndex((gap) => gap.from < offset && offset <= gap.to);
    const gap = this.#missing[index];
    if (gap === undefined) return false;
    // The server sends in offset order and says what it leaves out, so nothing below will follow.
    gap.from = offset;
    if (gap.from === gap.to) this.#missing.splice(index, 1);
    return true;
  }

  /** Earlier positions are void. The resume goes on asking from there, to be told so, until it is dismissed. */
  #reset(epoch: string, to: number): Gap {
    const before = this.resume;
    this.#start(epoch, to);
    this.#void = before;
    return resetGap(to, epoch);
  }

  /** The events up to `to` do not come. */
  #jump(to: number): void {
    const from = this.#offset;
    if (to <= from) return;
    this.#offset = to;
    // Behind a reset all is missing anyway.
    if (this.#void !== undefined) return;
    const last = this.#missing.at(-1);
    if (last?.to === from) last.to = to;
    else this.#missing.push({ from, to });
  }
}

/** GAP-5: its offsets are of the new epoch, of which nothing was heard yet. */
function resetGap(to: number, epoch: string): Gap {
  return { from: 0, to, epoch, reason: "reset" };
}
