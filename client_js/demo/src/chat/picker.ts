/** The first screen: choose one of the ready-made users. */

import { h } from "../shared/dom.ts";
import { icon } from "../shared/icons.ts";
import { avatar, type DemoUser } from "../shared/people.ts";
import { demoUsers, rememberUser } from "../shared/session.ts";

const AGAIN_MS = 3_000;
const CARDS = 4;

/** Show the choice in `app`; resolves with the chosen user. */
export function pickUser(app: HTMLElement): Promise<string> {
  const body = h("div", { class: "picker-body", "aria-live": "polite" });
  app.replaceChildren(
    h(
      "main",
      { id: "main", class: "picker", tabindex: -1 },
      h("h1", {}, "Who are you today?"),
      h(
        "p",
        { class: "picker-lead" },
        "Choose a user for this tab. Open a second tab or window as somebody else, and talk.",
      ),
      body,
    ),
  );
  return new Promise((resolve) => {
    const choose = (user: string): void => {
      rememberUser(user);
      resolve(user);
    };
    const load = async (): Promise<void> => {
      try {
        body.replaceChildren(cards(await demoUsers(), choose));
      } catch {
        const timer = setTimeout(() => void load(), AGAIN_MS);
        const again = (): void => {
          clearTimeout(timer);
          body.replaceChildren(skeleton());
          void load();
        };
        body.replaceChildren(trouble(again));
      }
    };
    body.replaceChildren(skeleton());
    void load();
  });
}

function cards(users: readonly DemoUser[], choose: (user: string) => void): HTMLElement {
  return h(
    "ul",
    { class: "user-cards" },
    ...users.map(({ user, name }) =>
      h(
        "li",
        {},
        h(
          "button",
          {
            type: "button",
            class: "user-card",
            "data-testid": `user-card-${user}`,
            on: { click: () => choose(user) },
          },
          avatar(user, "large"),
          h("span", { class: "user-card-name" }, name),
          h("span", { class: "user-card-id" }, `@${user}`),
        ),
      ),
    ),
  );
}

function skeleton(): HTMLElement {
  return h(
    "div",
    { class: "user-cards", "aria-busy": "true" },
    h("span", { class: "visually-hidden" }, "Loading the users…"),
    ...Array.from({ length: CARDS }, () =>
      h(
        "div",
        { class: "user-card skeleton-card" },
        h("span", { class: "skeleton skeleton-avatar" }),
        h("span", { class: "skeleton skeleton-line" }),
      ),
    ),
  );
}

function trouble(again: () => void): HTMLElement {
  return h(
    "div",
    { class: "notice", role: "alert" },
    h("strong", {}, "The server does not answer."),
    h("p", {}, "Start it with ", h("code", {}, "./scripts/serve"), ". This page tries again by itself."),
    h("button", { type: "button", class: "button", on: { click: again } }, icon("retry"), "Try now"),
  );
}
