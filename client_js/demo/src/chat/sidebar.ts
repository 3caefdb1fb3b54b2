/** The list of channels: the user's own with their unread dots, and the public ones to join. */

import { h, KeyedList, roveFocus, setAttribute, setText } from "../shared/dom.ts";
import { counted } from "../shared/format.ts";
import { icon } from "../shared/icons.ts";
import type { Chat } from "./chat.ts";
import type { ChannelInfo } from "./types.ts";

const MOST_SHOWN = 99;

export class Sidebar {
  readonly element: HTMLElement;
  readonly #chat: Chat;
  readonly #open: (channel: string) => void;
  readonly #mine = h("ul", { class: "channel-list", "aria-labelledby": "mine-title" });
  readonly #others = h("ul", { class: "channel-list", "aria-labelledby": "others-title" });
  readonly #othersTitle = h("h2", { id: "others-title", class: "sidebar-title" }, "Public channels");
  readonly #state = h("div", { class: "sidebar-state" });
  readonly #title = h("h1", { class: "visually-hidden", hidden: true }, "Channels");
  readonly #lists: readonly [KeyedList<ChannelInfo>, KeyedList<ChannelInfo>];
  readonly #settleFocus: () => void;
  #shownState = "";

  constructor(chat: Chat, open: (channel: string) => void, create: () => void) {
    this.#chat = chat;
    this.#open = open;
    const scroller = h(
      "div",
      { class: "sidebar-scroll" },
      this.#state,
      this.#mine,
      this.#othersTitle,
      this.#others,
    );
    const nav = h(
      "nav",
      { class: "sidebar-nav", "aria-label": "Channels", "data-testid": "channel-list" },
      h(
        "div",
        { class: "sidebar-head" },
        h("h2", { id: "mine-title", class: "sidebar-title" }, "Your channels"),
        h(
          "button",
          {
            type: "button",
            class: "icon-button",
            "data-testid": "new-channel",
            "aria-label": "New channel",
            title: "New channel",
            on: { click: create },
          },
          icon("add"),
        ),
      ),
      scroller,
    );
    this.element = h("div", { class: "sidebar" }, this.#title, nav);
    const view = {
      key: ({ channel }: ChannelInfo) => channel,
      create: (info: ChannelInfo) => this.#item(info),
      update: (item: HTMLElement, info: ChannelInfo) => this.#update(item, info),
    };
    this.#lists = [new KeyedList(this.#mine, view), new KeyedList(this.#others, view)];
    this.#settleFocus = roveFocus(scroller, ".channel-item");
  }

  /** On a phone the list is a screen of its own, and then the page's main part. */
  standAlone(alone: boolean): void {
    setAttribute(this.element, "role", alone ? "main" : null);
    this.#title.hidden = !alone;
  }

  render(): void {
    const { mine, others, ready, trouble } = this.#chat;
    this.#lists[0].render(mine);
    this.#lists[1].render(others);
    this.#othersTitle.hidden = others.length === 0;
    this.#renderState(
      ready ? (mine.length === 0 ? "empty" : "") : trouble === null ? "loading" : `trouble ${trouble.title}`,
    );
    this.#settleFocus();
  }

  #renderState(state: string): void {
    if (state === this.#shownState && this.#state.childElementCount > 0) return;
    this.#shownState = state;
    if (state === "") this.#state.replaceChildren();
    else if (state === "loading") {
      this.#state.replaceChildren(
        h("span", { class: "visually-hidden" }, "Loading the channels…"),
        ...Array.from({ length: 4 }, () => h("div", { class: "skeleton skeleton-channel" })),
      );
    } else if (state === "empty") {
      this.#state.replaceChildren(
        h("p", { class: "quiet" }, "You are in no channel yet. Join a public one below, or make your own."),
      );
    } else {
      this.#state.replaceChildren(
        h("p", { class: "quiet" }, "The channels could not be loaded."),
        h(
          "button",
          { type: "button", class: "button", on: { click: () => void this.#chat.refresh() } },
          icon("retry"),
          "Try again",
        ),
      );
    }
  }

  #item({ channel }: ChannelInfo): HTMLElement {
    return h(
      "li",
      {},
      h(
        "button",
        {
          type: "button",
          class: "channel-item",
          "data-testid": "channel-item",
          "data-channel": channel,
          on: { click: () => this.#open(channel) },
        },
        h("span", { class: "channel-icon" }),
        h("span", { class: "channel-name" }),
        h("span", { class: "channel-badge" }),
        h("span", { class: "visually-hidden channel-said" }),
      ),
    );
  }

  #update(item: HTMLElement, info: ChannelInfo): void {
    const [button, kind, name, badge, said] = [
      "button",
      ".channel-icon",
      ".channel-name",
      ".channel-badge",
      ".channel-said",
    ].map((selector) => item.querySelector(selector));
    if (!button || !kind || !name || !badge || !said) return;
    const unread = this.#chat.unread(info.channel);
    setAttribute(button, "aria-current", info.channel === this.#chat.current ? "page" : null);
    setAttribute(button, "data-joined", String(info.joined));
    setAttribute(button, "data-unread", unread > 0 ? String(unread) : null);
    const wanted = info.public ? "hash" : "lock";
    if (kind.getAttribute("data-kind") !== wanted) {
      kind.setAttribute("data-kind", wanted);
      kind.replaceChildren(icon(wanted));
    }
    setText(name, info.name);
    setAttribute(badge, "data-kind", info.joined ? "unread" : "members");
    setAttribute(badge, "aria-hidden", "true");
    setText(
      badge,
      info.joined
        ? unread === 0
          ? ""
          : unread > MOST_SHOWN
            ? `${MOST_SHOWN}+`
            : String(unread)
        : counted(info.members, "member"),
    );
    setText(
      said,
      info.joined
        ? unread === 0
          ? ""
          : counted(unread, "unread message")
        : `not joined, ${counted(info.members, "member")}`,
    );
  }
}
