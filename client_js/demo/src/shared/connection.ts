/** The connection's state, always in sight: connected, connecting, back in N seconds, or offline. */

import type { Client } from "@backchannel/client";
import { announce } from "./announce.ts";
import { h, setAttribute, setText } from "./dom.ts";

/** What the pill shows; `reconnecting` is waiting for, or in, another try. */
export type Shown = "connecting" | "connected" | "reconnecting" | "offline";

/** Follows a client and counts down to its next try. */
export class ConnectionWatch {
  shown: Shown = "connecting";
  /** Why the connection was lost, where the client said so. */
  reason = "";
  #retryAt = 0;
  /** Whether this client was connected before, or failed to be: any other try is another one. */
  #again = false;
  #timer: ReturnType<typeof setInterval> | undefined;
  readonly #listeners = new Set<() => void>();

  constructor(client: Client) {
    client.on("state", ({ state, reason, retryIn }) => {
      if (state === "connected") this.reason = "";
      else if (reason !== undefined) this.reason = reason.message;
      this.#again ||= state === "connected" || retryIn !== undefined;
      this.#retryAt = retryIn === undefined ? 0 : performance.now() + retryIn;
      this.#show(this.#meaning(state));
    });
  }

  /** Whole seconds until the next try; 0 while one is under way. */
  get seconds(): number {
    return Math.max(0, Math.ceil((this.#retryAt - performance.now()) / 1000));
  }

  watch(listener: () => void): void {
    this.#listeners.add(listener);
  }

  #meaning(state: Client["state"]): Shown {
    if (state === "connected") return "connected";
    if (state === "disconnected") return "offline";
    return this.#again ? "reconnecting" : "connecting";
  }

  #show(shown: Shown): void {
    this.shown = shown;
    clearInterval(this.#timer);
    if (this.seconds > 0) this.#timer = setInterval(() => this.#notify(), 250);
    this.#notify();
  }

  #notify(): void {
    if (this.seconds === 0) clearInterval(this.#timer);
    for (const listener of this.#listeners) listener();
  }
}

const LABELS: Record<Shown, string> = {
  connecting: "Connecting…",
  connected: "Connected",
  reconnecting: "Reconnecting…",
  offline: "Offline",
};

/** The state in words, with the countdown where there is one. */
export function connectionText(watch: ConnectionWatch): string {
  return watch.shown === "reconnecting" && watch.seconds > 0
    ? `Reconnecting in ${watch.seconds} s`
    : LABELS[watch.shown];
}

const watches = new WeakMap<Client, ConnectionWatch>();

/** The one watch of a client. */
export function watchOf(client: Client): ConnectionWatch {
  let watch = watches.get(client);
  if (watch === undefined) {
    watch = new ConnectionWatch(client);
    watches.set(client, watch);
  }
  return watch;
}

/** The pill in the header, with a button for whoever does not want to wait. */
export function connectionState(client: Client): HTMLElement {
  const watch = watchOf(client);
  const text = h("span", { class: "connection-words" });
  const wait = h("span", {});
  const again = h("button", {
    type: "button",
    class: "connection-again",
    "data-testid": "connection-again",
    on: { click: () => client.reconnect() },
  });
  const pill = h(
    "div",
    { class: "connection", "data-testid": "connection-state" },
    h("span", { class: "connection-dot", "aria-hidden": "true" }),
    h("span", { class: "connection-text" }, text, wait),
    again,
  );
  let spoken: Shown = "connecting";
  const show = (): void => {
    const [words, seconds = ""] = connectionText(watch).split(/(?= \d)/);
    setText(text, words ?? "");
    setText(wait, seconds);
    setAttribute(pill, "data-state", watch.shown);
    setAttribute(pill, "title", watch.reason === "" ? null : watch.reason);
    // Nothing to press while an attempt is under way.
    again.hidden = watch.shown !== "offline" && watch.seconds === 0;
    setText(again, watch.shown === "offline" ? "Connect" : "Try now");
    // Each change once, and never the ticks of the countdown.
    if (spoken !== watch.shown) announce(LABELS[watch.shown].replace("…", "."));
    spoken = watch.shown;
  };
  watch.watch(show);
  show();
  return pill;
}
