/** Which tiles and charts there are. */

import {
  byteRate,
  bytes,
  counted,
  joined,
  load,
  percent,
  type Quantity,
  rate,
  roundByteRate,
  wholePercent,
} from "../shared/format.ts";
import type { Sample } from "./samples.ts";

/** One big number. */
export interface TilePanel {
  readonly id: string;
  readonly title: string;
  readonly value: (sample: Sample) => Quantity;
  readonly note: (sample: Sample) => string;
}

/** One line of a chart. */
export interface ChartLine {
  readonly label: string;
  /** A custom property of the style sheet that holds its colour. */
  readonly color: `--${string}`;
  readonly value: (sample: Sample) => number | null;
  readonly dash?: readonly number[];
  readonly width?: number;
  readonly fill?: boolean;
  /** Left out of the legend: one of many. */
  readonly quiet?: boolean;
}

/** One chart; its lines depend on the sample only where the host does (its number of cores). */
export interface ChartPanel {
  readonly id: string;
  readonly title: string;
  readonly lines: (sample: Sample | undefined) => readonly ChartLine[];
  readonly format: (value: number) => Quantity;
  /** The numbers of the axis, where they differ from `format`. */
  readonly axis?: (value: number) => Quantity;
  /** Where the axis ends at least; `fixed` holds it there. */
  readonly top: number;
  readonly fixed?: boolean;
  /** How much of a row it takes on a wide screen. */
  readonly width: "whole" | "half" | "third";
}

/** With more cores than this, they are drawn in one quiet colour and not named. */
const NAMED_CORES = 4;
const CORE_LOOKS = [
  { color: "--series-2", dash: [6, 4] },
  { color: "--series-3", dash: [2, 3] },
  { color: "--series-4", dash: [9, 3, 2, 3] },
  { color: "--series-quiet", dash: [4, 2] },
] as const;

function cores(sample: Sample | undefined): ChartLine[] {
  const count = sample?.cpus.length ?? 0;
  return Array.from({ length: count }, (_, core): ChartLine => {
    const value = (one: Sample): number | null => one.cpus[core] ?? null;
    const look = count <= NAMED_CORES ? CORE_LOOKS[core] : undefined;
    return look === undefined
      ? { label: `Core ${core + 1}`, color: "--series-quiet", width: 0.75, quiet: true, value }
      : { label: `Core ${core + 1}`, ...look, width: 1.25, value };
  });
}

export const TILES: readonly TilePanel[] = [
  {
    id: "cpu",
    title: "CPU",
    value: ({ cpu }) => percent(cpu),
    note: ({ cpus }) => `of ${counted(cpus.length, "core")}`,
  },
  {
    id: "load",
    title: "Load, 1 min",
    value: ({ load: [minute = 0] }) => ({ value: load(minute), unit: "" }),
    note: ({ load: [, five = 0] }) => `5 min ${load(five)}`,
  },
  {
    id: "memory",
    title: "Memory",
    value: ({ memory }) => percent(memory),
    note: ({ memory_used: used, memory_total: total }) => `${joined(bytes(used))} of ${joined(bytes(total))}`,
  },
  { id: "net-in", title: "Network in", value: (sample) => byteRate(sample.net_in), note: () => "received" },
  { id: "net-out", title: "Network out", value: (sample) => byteRate(sample.net_out), note: () => "sent" },
  {
    id: "connections",
    title: "Connections",
    value: ({ connections }) => rate(connections, ""),
    note: ({ subscriptions }) => `${rate(subscriptions, "").value} subscriptions`,
  },
  {
    id: "deliveries",
    title: "Deliveries",
    value: ({ events }) => rate(events, "/s"),
    note: () => "to listeners",
  },
  { id: "calls", title: "Calls", value: ({ calls }) => rate(calls, "/s"), note: () => "to handlers" },
];

export const CHARTS: readonly ChartPanel[] = [
  {
    id: "cpu",
    title: "CPU",
    lines: (sample) => [
      { label: "Total", color: "--series-1", width: 2.25, fill: true, value: ({ cpu }) => cpu },
      ...cores(sample),
    ],
    format: percent,
    axis: wholePercent,
    top: 100,
    fixed: true,
    width: "whole",
  },
  {
    id: "memory",
    title: "Memory",
    width: "half",
    lines: () => [
      { label: "Used", color: "--series-1", width: 2, fill: true, value: ({ memory }) => memory },
    ],
    format: percent,
    axis: wholePercent,
    top: 100,
    fixed: true,
  },
  {
    id: "network",
    title: "Network",
    width: "half",
    lines: () => [
      { label: "In", color: "--series-1", width: 2, value: (sample) => sample.net_in },
      { label: "Out", color: "--series-2", width: 2, dash: [6, 4], value: (sample) => sample.net_out },
    ],
    format: byteRate,
    axis: roundByteRate,
    top: 1000,
  },
  {
    id: "connections",
    title: "Connections",
    width: "third",
    lines: () => [
      { label: "Connections", color: "--series-1", width: 2, value: ({ connections }) => connections },
      {
        label: "Subscriptions",
        color: "--series-2",
        width: 2,
        dash: [6, 4],
        value: ({ subscriptions }) => subscriptions,
      },
    ],
    format: (value) => rate(value, ""),
    top: 4,
  },
  {
    id: "deliveries",
    title: "Deliveries",
    width: "third",
    lines: () => [
      { label: "Deliveries", color: "--series-3", width: 2, fill: true, value: ({ events }) => events },
    ],
    format: (value) => rate(value, "/s"),
    top: 4,
  },
  {
    id: "calls",
    title: "Calls",
    width: "third",
    lines: () => [{ label: "Calls", color: "--series-4", width: 2, fill: true, value: ({ calls }) => calls }],
    format: (value) => rate(value, "/s"),
    top: 4,
  },
];
