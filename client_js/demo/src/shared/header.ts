/** The header of both pages: the mark, the way between the pages, connection, theme, user. */

import type { Client } from "@backchannel/client";
import { connectionState } from "./connection.ts";
import { byId, h } from "./dom.ts";
import { icon, mark } from "./icons.ts";
import { avatar, displayName } from "./people.ts";
import { forgetUser } from "./session.ts";
import { themeToggle } from "./theme.ts";

export type Page = "chat" | "dashboard";

/** Fill the header. Without a client (nobody is chosen yet) it shows neither connection nor user. */
export function showHeader(page: Page, client?: Client, user?: string): void {
  const link = (target: Page, href: string, label: string): HTMLElement =>
    h(
      "a",
      {
        href,
        class: "nav-link",
        "data-testid": `nav-${target}`,
        "aria-current": target === page ? "page" : null,
      },
      icon(target === "chat" ? "chat" : "chart"),
      h("span", {}, label),
    );
  byId("header").replaceChildren(
    h(
      "a",
      { class: "brand", href: "/", "aria-label": "Backchannel, to the chat" },
      mark(),
      h("span", { class: "brand-name" }, "Backchannel"),
    ),
    h(
      "nav",
      { class: "nav", "aria-label": "Pages" },
      link("chat", "/", "Chat"),
      link("dashboard", "/dashboard/", "Dashboard"),
    ),
    h(
      "div",
      { class: "header-end" },
      client === undefined ? null : connectionState(client),
      themeToggle(),
      user === undefined
        ? null
        : h(
            "button",
            {
              type: "button",
              class: "user-button",
              "data-testid": "switch-user",
              title: `You are ${displayName(user)}. Switch user`,
              on: { click: forgetUser },
            },
            avatar(user, "small"),
            h("span", { class: "visually-hidden" }, "You are "),
            h("span", { class: "user-name" }, displayName(user)),
            h("span", { class: "visually-hidden" }, ". Switch user"),
            icon("switch"),
          ),
    ),
  );
}
