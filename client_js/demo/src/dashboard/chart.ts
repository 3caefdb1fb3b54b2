/** One live chart: uPlot for the drawing, a legend of our own with the values under the cursor. */

import uPlot from "uplot";
import { h, setAttribute, setText } from "../shared/dom.ts";
import { joined, timeOfDay, timeWithSeconds } from "../shared/format.ts";
import { canvasFont, color } from "./colors.ts";
import type { ChartLine, ChartPanel } from "./panels.ts";
import { type Samples, SPAN } from "./samples.ts";

/** One cursor moves over all charts. */
const SYNC = "host";
/** Steps of the upright axis: round, and never a part of a thing that is counted. */
const STEPS = Array.from({ length: 12 }, (_, power) => [1, 2, 5].map((step) => step * 10 ** power)).flat();
/** The name for screen readers is brought up to date this seldom, in milliseconds. */
const NAMED_EVERY = 10_000;

export class Chart {
  readonly element: HTMLElement;
  readonly #panel: ChartPanel;
  readonly #samples: Samples;
  readonly #area = h("div", { class: "chart-area", role: "img" });
  readonly #legend = h("ul", { class: "legend" });
  readonly #when = h("span", { class: "chart-when" });
  #lines: readonly ChartLine[] = [];
  #values: HTMLElement[] = [];
  #plot: uPlot | null = null;
  /** The right edge, in seconds. */
  #now = 0;
  #namedAt = Number.NEGATIVE_INFINITY;

  constructor(panel: ChartPanel, samples: Samples) {
    this.#panel = panel;
    this.#samples = samples;
    this.element = h(
      "figure",
      {
        class: "panel chart",
        "data-testid": `chart-${panel.id}`,
        "data-width": panel.width,
      },
      h("figcaption", { class: "chart-head" }, h("h2", {}, panel.title), this.#when, this.#legend),
      this.#area,
    );
    new ResizeObserver(() => this.#resize()).observe(this.#area);
  }

  /** Draw the samples up to `now` (Unix milliseconds). */
  draw(now: number): void {
    this.#now = now / 1000;
    const lines = this.#panel.lines(this.#samples.last);
    if (this.#plot === null || lines.length !== this.#lines.length) this.#build(lines);
    this.#plot?.setData(this.#data(), true);
    this.#showValues();
    this.#name();
  }

  /** Take on the colours of the theme. */
  restyle(): void {
    if (this.#plot !== null) this.#build(this.#lines);
  }

  #data(): uPlot.AlignedData {
    return this.#samples.columns(this.#lines.map(({ value }) => value)) as uPlot.AlignedData;
  }

  #build(lines: readonly ChartLine[]): void {
    this.#lines = lines;
    this.#plot?.destroy();
    const width = this.#area.clientWidth;
    const height = this.#area.clientHeight;
    this.#plot = width === 0 ? null : new uPlot(this.#options(width, height), this.#data(), this.#area);
    this.#values = lines.map(() => h("span", { class: "legend-value" }));
    const shown = lines
      .map((line, index) => ({ line, value: this.#values[index] ?? "" }))
      .filter(({ line }) => line.quiet !== true);
    const many = lines.length - shown.length;
    this.#legend.replaceChildren(
      ...shown.map(({ line, value }) =>
        h("li", {}, swatch(line), h("span", { class: "legend-label" }, line.label), value),
      ),
      ...(many > 0
        ? [h("li", {}, swatch(lines.at(-1)), h("span", { class: "legend-label" }, `${many} cores`))]
        : []),
    );
  }

  #options(width: number, height: number): uPlot.Options {
    const { fixed, top, format, axis: onAxis = format } = this.#panel;
    const axis = { stroke: color("--muted"), font: canvasFont(), ticks: { show: false }, gap: 6 };
    const grid = { stroke: color("--line"), width: 1 };
    return {
      width,
      height,
      legend: { show: false },
      padding: [10, 8, 0, 0],
      cursor: { sync: { key: SYNC }, y: false, drag: { x: false, y: false }, points: { size: 7 } },
      scales: {
        x: { time: true, range: () => [this.#now - SPAN, this.#now] },
        y: { range: (_plot, _low, high) => [0, fixed === true ? top : Math.max(top, (high ?? 0) * 1.12)] },
      },
      axes: [
        {
          ...axis,
          grid: { show: false },
          size: 26,
          space: 80,
          values: (_plot, splits) =>
            splits.map((seconds) => (seconds % 60 === 0 ? timeOfDay(seconds * 1000) : "")),
          incrs: [60, 120, 180, 300],
        },
        {
          ...axis,
          grid,
          size: (plot, values, index, cycle) => {
            const known = (plot.axes[index] as { _size?: number } | undefined)?._size ?? 40;
            if (cycle > 1) return known;
            const longest = (values ?? []).reduce(
              (most, value) => (value.length > most.length ? value : most),
              "",
            );
            plot.ctx.font = canvasFont(devicePixelRatio);
            return Math.ceil(plot.ctx.measureText(longest).width / devicePixelRatio) + 14;
          },
          space: 34,
          incrs: [...STEPS],
          values: (_plot, splits) => splits.map((value) => joined(onAxis(value))),
        },
      ],
      series: [
        {},
        ...this.#lines.map(
          ({ color: name, width: thick, dash, fill, label }): uPlot.Series => ({
            label,
            stroke: color(name),
            width: thick ?? 1.5,
            ...(dash === undefined ? {} : { dash: [...dash] }),
            ...(fill === true ? { fill: color(name, 0.12) } : {}),
            points: { show: false },
            spanGaps: false,
          }),
        ),
      ],
      hooks: {
        drawClear: [(plot) => this.#shadeHoles(plot)],
        setCursor: [() => this.#showValues()],
      },
    };
  }

  /** What was not measured is hatched, so that a hole is seen for what it is. */
  #shadeHoles(plot: uPlot): void {
    const { ctx, bbox } = plot;
    const last = this.#samples.last;
    const holes = this.#samples.holes();
    // Behind the last sample, what does not come yet is a hole as well.
    if (last !== undefined && this.#now - last.time / 1000 > 3) holes.push([last.time / 1000, this.#now]);
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.strokeStyle = color("--line");
    ctx.lineWidth = devicePixelRatio;
    // The dashes of the line that was drawn last would still hold.
    ctx.setLineDash([]);
    for (const [from, to] of holes) {
      const left = Math.max(bbox.left, plot.valToPos(from, "x", true));
      const right = Math.min(bbox.left + bbox.width, plot.valToPos(to, "x", true));
      if (right <= left) continue;
      ctx.save();
      ctx.beginPath();
      ctx.rect(left, bbox.top, right - left, bbox.height);
      ctx.clip();
      ctx.beginPath();
      for (let x = left - bbox.height; x < right; x += 7 * devicePixelRatio) {
        ctx.moveTo(x, bbox.top + bbox.height);
        ctx.lineTo(x + bbox.height, bbox.top);
      }
      ctx.stroke();
      ctx.restore();
    }
    ctx.restore();
  }

  /** The legend tells the values under the cursor, else the newest. */
  #showValues(): void {
    const plot = this.#plot;
    const index = plot?.cursor.idx ?? null;
    const at = index === null ? undefined : plot?.data[0][index];
    setText(this.#when, at === undefined ? "" : timeWithSeconds(at * 1000));
    this.#lines.forEach((line, position) => {
      const last = this.#samples.last;
      const value =
        at === undefined
          ? last === undefined
            ? null
            : line.value(last)
          : plot?.data[position + 1]?.[index ?? 0];
      const element = this.#values[position];
      if (element !== undefined)
        setText(element, value === null || value === undefined ? "–" : joined(this.#panel.format(value)));
    });
  }

  #name(): void {
    if (performance.now() - this.#namedAt < NAMED_EVERY) return;
    this.#namedAt = performance.now();
    const last = this.#samples.last;
    const said = this.#lines
      .filter(({ quiet }) => quiet !== true)
      .map((line) => {
        const value = last === undefined ? null : line.value(last);
        if (value === null) return `${line.label}: no value`;
        const peak = this.#samples.peak((sample) => line.value(sample) ?? 0);
        return `${line.label} ${joined(this.#panel.format(value))}, at most ${joined(this.#panel.format(peak))}`;
      });
    setAttribute(
      this.#area,
      "aria-label",
      `${this.#panel.title}, the last five minutes. ${said.join("; ")}.`,
    );
  }

  #resize(): void {
    const width = this.#area.clientWidth;
    const height = this.#area.clientHeight;
    if (width === 0) return;
    if (this.#plot === null) {
      if (this.#now > 0) this.draw(this.#now * 1000);
    } else if (this.#plot.width !== width || this.#plot.height !== height) {
      this.#plot.setSize({ width, height });
    }
  }
}

/** A short piece of the line itself: its colour and its dashes. */
function swatch(line: ChartLine | undefined): SVGSVGElement {
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  svg.setAttribute("class", "swatch");
  svg.setAttribute("viewBox", "0 0 22 8");
  svg.setAttribute("aria-hidden", "true");
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", "M1 4h20");
  path.setAttribute("class", `swatch${line?.color.slice(1) ?? ""}`);
  if (line?.dash !== undefined) path.setAttribute("stroke-dasharray", line.dash.join(" "));
  svg.append(path);
  return svg;
}
