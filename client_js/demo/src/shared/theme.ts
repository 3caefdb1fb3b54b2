/** Light or dark: the system's choice, until the person makes one with the toggle. */

import { h, setAttribute } from "./dom.ts";
import { icon } from "./icons.ts";

export type Theme = "light" | "dark";

const STORED = "backchannel.theme"; // also read by public/theme.js
const system = matchMedia("(prefers-color-scheme: dark)");
const listeners = new Set<() => void>();

/** The theme that shows now. */
export function theme(): Theme {
  const chosen = document.documentElement.dataset["theme"];
  if (chosen === "light" || chosen === "dark") return chosen;
  return system.matches ? "dark" : "light";
}

/** Hear of a change, whoever made it. */
export function onTheme(listener: () => void): void {
  listeners.add(listener);
}

function changed(): void {
  for (const listener of listeners) listener();
}

system.addEventListener("change", changed);

/** The button that switches between the two. */
export function themeToggle(): HTMLButtonElement {
  const button = h("button", {
    type: "button",
    class: "icon-button",
    "data-testid": "theme-toggle",
    on: {
      click: () => {
        const next: Theme = theme() === "dark" ? "light" : "dark";
        document.documentElement.dataset["theme"] = next;
        try {
          localStorage.setItem(STORED, next);
        } catch {
          // Storage is switched off: the choice holds until the page is left.
        }
        changed();
      },
    },
  });
  const show = (): void => {
    const next = theme() === "dark" ? "light" : "dark";
    button.replaceChildren(icon(next === "light" ? "sun" : "moon"));
    setAttribute(button, "aria-label", `Switch to the ${next} theme`);
    setAttribute(button, "title", `Switch to the ${next} theme`);
  };
  onTheme(show);
  show();
  return button;
}
