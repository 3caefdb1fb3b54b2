/** The page's life: a page that is left neither reports a lost connection nor opens a new one. */

import type { Off } from "./emitter.js";

/** The part of a window that is used. */
export interface PageEvents {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
}

export interface PageListeners {
  /** The page is left, perhaps to be shown again. */
  hidden(): void;
  /** The page is shown again out of the browser's cache. */
  shown(): void;
  /** Trying again is worth while now: the network is back, or somebody looks at the page. */
  awake(): void;
}

/** The window, where there is one. */
export function platformPage(): PageEvents | null {
  return typeof globalThis.addEventListener === "function" && typeof globalThis.document === "object"
    ? globalThis
    : null;
}

/** Listen to the page; the result stops it. */
export function watchPage(page: PageEvents, listeners: PageListeners): Off {
  const table = [
    ["pagehide", () => listeners.hidden()],
    ["pageshow", () => listeners.shown()],
    ["online", () => listeners.awake()],
    ["visibilitychange", () => listeners.awake()],
  ] as const;
  for (const [type, listener] of table) page.addEventListener(type, listener);
  return () => {
    for (const [type, listener] of table) page.removeEventListener(type, listener);
  };
}
