/** One big number with its unit and a note. */

import { h, setText } from "../shared/dom.ts";
import type { TilePanel } from "./panels.ts";
import type { Sample } from "./samples.ts";

export class Tile {
  readonly element: HTMLElement;
  readonly #panel: TilePanel;
  readonly #value = h("span", { class: "tile-number" }, "–");
  readonly #unit = h("span", { class: "tile-unit" });
  readonly #note = h("dd", { class: "tile-note" }, "\u00a0");

  constructor(panel: TilePanel) {
    this.#panel = panel;
    this.element = h(
      "div",
      { class: "panel tile", "data-testid": `tile-${panel.id}` },
      h("dt", { class: "tile-title" }, panel.title),
      h("dd", { class: "tile-value" }, this.#value, this.#unit),
      this.#note,
    );
  }

  show(sample: Sample): void {
    const { value, unit } = this.#panel.value(sample);
    setText(this.#value, value);
    setText(this.#unit, unit);
    setText(this.#note, this.#panel.note(sample));
  }
}
