/** The lines of the conversation as elements. */

import { h, setAttribute, setText } from "../shared/dom.ts";
import { dayName, fullDateTime, timeOfDay } from "../shared/format.ts";
import { icon } from "../shared/icons.ts";
import { avatar, displayName } from "../shared/people.ts";
import type { Line } from "./lines.ts";
import { linkify } from "./linkify.ts";
import type { Entry } from "./timeline.ts";

export interface MessageActions {
  retry(key: string): void;
  discard(key: string): void;
}

const STATES: Record<Entry["state"], string> = { pending: "Sending…", sent: "", failed: "Not sent" };

/** Make the element of a line; `updateLine` keeps it right. `user` is whose page this is. */
export function lineElement(line: Line, user: string, actions: MessageActions): HTMLElement {
  if (line.kind === "day") {
    return h("li", { class: "day" }, h("span", {}, dayName(line.time)));
  }
  if (line.kind === "new")
    return h("li", { class: "new-mark", "data-testid": "new-mark" }, h("span", {}, "New"));
  const { entry } = line;
  const own = entry.user === user;
  return h(
    "li",
    { class: "message", "data-testid": "message", "data-own": String(own), "data-user": entry.user },
    own ? null : avatar(entry.user),
    h(
      "div",
      { class: "message-body" },
      h("span", { class: "message-author" }, displayName(entry.user)),
      h(
        "div",
        { class: "bubble" },
        h("span", { class: "message-text", "data-testid": "message-text" }, ...linkify(entry.text)),
        h("span", { class: "message-meta" }, h("span", { class: "message-state" }), h("time", {})),
      ),
      own
        ? h(
            "div",
            { class: "message-trouble", hidden: true },
            h("span", { class: "message-reason" }),
            h(
              "button",
              {
                type: "button",
                class: "link-button",
                "data-testid": "retry",
                on: { click: () => actions.retry(entry.key) },
              },
              icon("retry"),
              "Try again",
            ),
            h(
              "button",
              {
                type: "button",
                class: "link-button",
                "data-testid": "discard",
                on: { click: () => actions.discard(entry.key) },
              },
              "Discard",
            ),
          )
        : null,
    ),
  );
}

/** Make the element show the line as it is now. */
export function updateLine(element: HTMLElement, line: Line): void {
  if (line.kind === "day") setText(element.firstElementChild ?? element, dayName(line.time));
  if (line.kind !== "message") return;
  const { entry, opens, ends } = line;
  const shown = [entry.state, entry.seq, entry.time, entry.reason, opens, ends].join("|");
  if (element.dataset["shown"] === shown) return;
  element.dataset["shown"] = shown;
  setAttribute(element, "data-state", entry.state);
  setAttribute(element, "data-seq", entry.seq === null ? null : String(entry.seq));
  setAttribute(element, "data-id", entry.id);
  element.classList.toggle("opens", opens);
  element.classList.toggle("ends", ends);
  const time = element.querySelector("time");
  if (time !== null) {
    time.dateTime = new Date(entry.time).toISOString();
    time.title = fullDateTime(entry.time);
    setText(time, timeOfDay(entry.time));
    time.hidden = entry.state !== "sent";
  }
  const state = element.querySelector(".message-state");
  if (state !== null) setText(state, STATES[entry.state]);
  const trouble = element.querySelector<HTMLElement>(".message-trouble");
  if (trouble !== null) trouble.hidden = entry.state !== "failed";
  const reason = element.querySelector(".message-reason");
  if (reason !== null) setText(reason, entry.reason ?? "");
}
