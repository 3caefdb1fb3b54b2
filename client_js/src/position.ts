/**
 * How far a channel's events have come, and which of them are missing. Pure: no clock, no wire.
 *
 * A position is the offset of the last event that was delivered, in its epoch. A gap is an interval
 * (from, to] that did not come. Until the app has filled or dismissed it, a resume starts at its `from`,
 * so that the server either brings the missing events after all, or says again that it cannot.
 */

import type { GapReason, Position, Verdict } from "./protocol.gen.js";

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

  /** Take over the answer to a subscribe or a resume. Returns the gap to tell, if there is one. */
  subscribed(verdict: Verdict, epoch: string, offset: number): Gap | undefined {
    // A channel without a log has an empty epoch.
    if (epoch === "") {
      this.#forget();
      return undefined;
    }
    const asked = this.resume;
    if (asked === undefined || (verdict === "recovered" && epoch !== this.#epoch)) {
      this.#forget();
      this.#epoch = epoch;
      this.#offset = offset;
      return undefined;
    }
    if (verdict === "recovered") return undefined;
    // `new` where a position was known: what lies between is as missing as with `gap`.
    return this.#jump(epoch, offset, epoch === asked.epoch ? "trimmed" : "reset", true);
  }

  /** Take over a `gap` frame. Returns the gap to tell, if it is news. */
  skip(epoch: string, to: number, reason: GapReason): Gap | undefined {
    return this.#jump(epoch, to, reason, false);
  }

  /** Whether something is missing that the app has neither filled nor dismissed. */
  get broken(): boolean {
    return this.#missing.length > 0 || this.#void !== undefined;
  }

  /** Forget what is missing: a resume starts at the position again. */
  dismiss(): void {
    this.#missing = [];
    this.#void = undefined;
  }

  #forget(): void {
    this.dismiss();
    this.#epoch = undefined;
    this.#offset = 0;
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

  #jump(epoch: string, to: number, reason: GapReason, answersResume: boolean): Gap | undefined {
    const before = this.resume;
    if (epoch !== this.#epoch) {
      this.#missing = [];
      this.#void = before;
      this.#epoch = epoch;
      this.#offset = to;
      return { from: before?.offset ?? 0, to, epoch, reason: "reset" };
    }
    const from = this.#offset;
    if (to > from) {
      const last = this.#missing.at(-1);
      if (last !== undefined && last.to === from) last.to = to;
      else if (this.#void === undefined) this.#missing.push({ from, to });
      this.#offset = to;
      return { from: answersResume ? (before?.offset ?? from) : from, to, epoch, reason };
    }
    this.#split(to);
    // A resume that could not fill an open gap tells it again; a `gap` inside an open one is no news.
    return answersResume && before !== undefined && this.broken
      ? { from: before.offset, to: from, epoch, reason }
      : undefined;
  }

  /** Part the open gap around `to`, so that events behind it do not hide what is missing before it. */
  #split(to: number): void {
    const index = this.#missing.findIndex((gap) => gap.from < to && to < gap.to);
    const gap = this.#missing[index];
    if (gap === undefined) return;
    this.#missing.splice(index, 1, { from: gap.from, to }, { from: to, to: gap.to });
  }
}
