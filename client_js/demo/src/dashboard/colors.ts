/** The style sheet's colours and font as a canvas takes them. */

import { onTheme } from "../shared/theme.ts";

const known = new Map<string, string>();
onTheme(() => known.clear());

let probe: HTMLElement | null = null;

/** The colour of a custom property in the theme that shows, optionally see-through. */
export function color(name: `--${string}`, alpha = 1): string {
  const key = `${name} ${alpha}`;
  let found = known.get(key);
  if (found === undefined) {
    if (probe === null) {
      probe = document.createElement("span");
      probe.hidden = true;
      document.body.append(probe);
    }
    // The property's own text is a formula (`light-dark(…)`): only a used colour is resolved.
    probe.style.color =
      alpha === 1 ? `var(${name})` : `color-mix(in srgb, var(${name}) ${alpha * 100}%, transparent)`;
    found = getComputedStyle(probe).color;
    known.set(key, found);
  }
  return found;
}

/** The page's font at the size of an axis. */
export function canvasFont(scale = 1): string {
  return `${12 * scale}px ${getComputedStyle(document.body).fontFamily}`;
}
