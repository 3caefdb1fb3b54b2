/** What is known about the network and about who looks: where a browser tells, the client acts at once. */

import type { Off } from "./emitter.js";

/** The part of a window, or of a worker's global scope, that is used. */
export interface PageEvents {
  addEventListener(type: string, listener: () => void): void;
  removeEventListener(type: string, listener: () => void): void;
  /** Whether somebody can see the page now; absent where nobody ever looks, as in a worker. */
  readonly visible?: boolean;
}

export interface PageListeners {
  /** The page is left, perhaps to be shown again. */
  left(): void;
  /** The page is shown again out of the browser's cache. */
  shown(): void;
  /** The network is said to be gone; it need not be the one to the server. */
  offline(): void;
  /** The network is back; what was begun before may lead nowhere. */
  online(): void;
  /** Somebody looks at the page again. */
  visible(): void;
}

/** The window, or the worker's global scope, where there is one. */
export function platformPage(): PageEvents | null {
  if (typeof globalThis.addEventListener !== "function") return null;
  return {
    addEventListener: (type, listener) => globalThis.addEventListener(type, listener),
    removeEventListener: (type, listener) => globalThis.removeEventListener(type, listener),
    get visible() {
      return (globalThis as { document?: Document }).document?.visibilityState === "visible";
    },
  };
}

/** Listen to the page; the result stops it. */
export function watchPage(page: PageEvents, listeners: PageListeners): Off {
  const table = [
    ["pagehide", () => listeners.left()],
    ["pageshow", () => listeners.shown()],
    ["offline", () => listeners.offline()],
    ["online", () => listeners.online()],
    // A tab that goes into the background is left alone.
    ["visibilitychange", () => page.visible && listeners.visible()],
  ] as const;
  for (const [type, listener] of table) page.addEventListener(type, listener);
  return () => {
    for (const [type, listener] of table) page.removeEventListener(type, listener);
  };
}
