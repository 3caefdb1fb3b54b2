/** Numbers, sizes and times as people read them, in the browser's own language where that matters. */

const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit" });
const clockSeconds = new Intl.DateTimeFormat(undefined, {
  hour: "2-digit",
  minute: "2-digit",
  second: "2-digit",
});
const fullTime = new Intl.DateTimeFormat(undefined, { dateStyle: "full", timeStyle: "medium" });
const dayThisYear = new Intl.DateTimeFormat(undefined, { weekday: "long", day: "numeric", month: "long" });
const dayOtherYear = new Intl.DateTimeFormat(undefined, { day: "numeric", month: "long", year: "numeric" });
const whole = new Intl.NumberFormat(undefined, { maximumFractionDigits: 0 });
const tenths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 1, maximumFractionDigits: 1 });
const hundredths = new Intl.NumberFormat(undefined, { minimumFractionDigits: 2, maximumFractionDigits: 2 });
const trimmed = new Intl.NumberFormat(undefined, { maximumFractionDigits: 1 });
const compact = new Intl.NumberFormat(undefined, { notation: "compact", maximumFractionDigits: 1 });

/** A number and its unit, kept apart so that a page can set them in different sizes. */
export interface Quantity {
  readonly value: string;
  readonly unit: string;
}

export const joined = ({ value, unit }: Quantity): string => (unit === "" ? value : `${value}\u00a0${unit}`);

/** `ms` is Unix milliseconds, as everywhere below. */
export const timeOfDay = (ms: number): string => clock.format(ms);
export const timeWithSeconds = (ms: number): string => clockSeconds.format(ms);
export const fullDateTime = (ms: number): string => fullTime.format(ms);

const startOfDay = (ms: number): number => new Date(ms).setHours(0, 0, 0, 0);

/** Whether two instants lie on one local day. */
export const sameDay = (a: number, b: number): boolean => startOfDay(a) === startOfDay(b);

/** `Today`, `Yesterday`, or the date. */
export function dayName(ms: number, now: number = Date.now()): string {
  // Rounded, because a day with a clock change has 23 or 25 hours.
  const ago = Math.round((startOfDay(now) - startOfDay(ms)) / 86_400_000);
  if (ago === 0) return "Today";
  if (ago === 1) return "Yesterday";
  return new Date(ms).getFullYear() === new Date(now).getFullYear()
    ? dayThisYear.format(ms)
    : dayOtherYear.format(ms);
}

export const percent = (value: number): Quantity => ({ value: tenths.format(value), unit: "%" });

/** A percentage on an axis, where the tenths say nothing. */
export const wholePercent = (value: number): Quantity => ({ value: whole.format(value), unit: "%" });

/** A whole number, or one with a decimal while it is small. */
export const rate = (value: number, unit: string): Quantity => ({
  value:
    value >= 1_000_000
      ? compact.format(value)
      : value > 0 && value < 100 && !Number.isInteger(value)
        ? tenths.format(value)
        : whole.format(value),
  unit,
});

function scaled(value: number, base: number, units: readonly string[], small = tenths): Quantity {
  let size = value;
  let step = 0;
  while (size >= base && step < units.length - 1) {
    size /= base;
    step += 1;
  }
  const number = step === 0 || size >= 100 ? whole : small;
  return { value: number.format(size), unit: units[step] ?? "" };
}

/** A load average. */
export const load = (value: number): string => hundredths.format(value);

/** A size of memory, in powers of 1,024. */
export const bytes = (value: number): Quantity => scaled(value, 1024, ["B", "KiB", "MiB", "GiB", "TiB"]);

const SPEEDS = ["B/s", "kB/s", "MB/s", "GB/s"];

/** A speed of a network, in powers of 1,000. */
export const byteRate = (value: number): Quantity => scaled(value, 1000, SPEEDS);

/** The same on an axis, whose numbers are round. */
export const roundByteRate = (value: number): Quantity => scaled(value, 1000, SPEEDS, trimmed);

/** `1 member`, `2 members`. */
export const counted = (count: number, one: string, many: string = `${one}s`): string =>
  `${whole.format(count)} ${count === 1 ? one : many}`;

/** `Ann`, `Ann and Bob`, `Ann, Bob and 3 others`. */
export function named(names: readonly string[], shown = 2): string {
  if (names.length <= 1) return names[0] ?? "";
  if (names.length === 2) return `${names[0] ?? ""} and ${names[1] ?? ""}`;
  const rest = names.length - shown;
  return `${names.slice(0, shown).join(", ")} and ${counted(rest, "other")}`;
}
