/** What the conversation shows, line by line: days, the mark of what is new, and grouped messages. */

import { sameDay } from "../shared/format.ts";
import type { Entry } from "./timeline.ts";

export type Line =
  | { readonly kind: "day"; readonly key: string; readonly time: number }
  | { readonly kind: "new"; readonly key: string }
  | {
      readonly kind: "message";
      readonly key: string;
      readonly entry: Entry;
      /** Whether it opens a group of one user's messages, and whether it ends one. */
      readonly opens: boolean;
      readonly ends: boolean;
    };

/** Messages of one user that follow within this time are one group. */
const GROUP_MS = 5 * 60_000;

/** Lay the entries out. `readUpTo` is the `seq` that was read before the room was opened; `null` marks nothing. */
export function layOut(entries: readonly Entry[], user: string, readUpTo: number | null): Line[] {
  const lines: Line[] = [];
  let previous: Entry | undefined;
  let marked = readUpTo === null;
  entries.forEach((entry, index) => {
    const newDay = previous === undefined || !sameDay(previous.time, entry.time);
    if (newDay)
      lines.push({ kind: "day", key: `day ${new Date(entry.time).toDateString()}`, time: entry.time });
    let broken = newDay;
    if (!marked && entry.user !== user && entry.seq !== null && entry.seq > (readUpTo ?? 0)) {
      lines.push({ kind: "new", key: "new" });
      marked = true;
      broken = true;
    }
    const next = entries[index + 1];
    lines.push({
      kind: "message",
      key: entry.key,
      entry,
      opens: broken || !together(previous, entry),
      ends: next === undefined || !together(entry, next),
    });
    previous = entry;
  });
  return lines;
}

function together(one: Entry | undefined, next: Entry): boolean {
  return (
    one !== undefined &&
    one.user === next.user &&
    next.time - one.time < GROUP_MS &&
    sameDay(one.time, next.time)
  );
}
