/** Short notes in the corner: what went wrong and what to do, or what was done. */

import { byId, h } from "./dom.ts";
import { icon } from "./icons.ts";

export interface Toast {
  readonly kind: "error" | "info";
  readonly title: string;
  /** What the person can do now. */
  readonly cure?: string;
  readonly action?: { readonly label: string; readonly run: () => void };
}

const SHOWN_MS = { error: 12_000, info: 5_000 };
const AT_MOST = 3;

/** Show a toast. It goes by itself, later while it is hovered or focused, or with its close button. */
export function toast({ kind, title, cure, action }: Toast): void {
  const region = byId("toasts");
  const close = (): void => {
    clearTimeout(timer);
    element.remove();
  };
  const element = h(
    "div",
    {
      class: "toast",
      "data-kind": kind,
      "data-testid": "toast",
      role: kind === "error" ? "alert" : "status",
    },
    h("div", { class: "toast-text" }, h("strong", {}, title), cure !== undefined && h("span", {}, cure)),
    action !== undefined &&
      h(
        "button",
        {
          type: "button",
          class: "button button-quiet",
          on: {
            click: () => {
              close();
              action.run();
            },
          },
        },
        action.label,
      ),
    h(
      "button",
      { type: "button", class: "icon-button", "aria-label": "Dismiss", on: { click: close } },
      icon("close"),
    ),
  );
  let timer = setTimeout(close, SHOWN_MS[kind]);
  const hold = (): void => clearTimeout(timer);
  const release = (): void => {
    clearTimeout(timer);
    timer = setTimeout(close, SHOWN_MS[kind]);
  };
  element.addEventListener("pointerenter", hold);
  element.addEventListener("pointerleave", release);
  element.addEventListener("focusin", hold);
  element.addEventListener("focusout", release);
  region.append(element);
  while (region.childElementCount > AT_MOST) region.firstElementChild?.remove();
}
