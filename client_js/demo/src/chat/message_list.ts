/** The messages of one room: endless upwards, and at the bottom for as long as the person is. */

import { h, KeyedList, setAttribute, setText } from "../shared/dom.ts";
import { counted } from "../shared/format.ts";
import { icon } from "../shared/icons.ts";
import { toast } from "../shared/toast.ts";
import type { Chat } from "./chat.ts";
import { type Line, layOut } from "./lines.ts";
import { lineElement, updateLine } from "./message_view.ts";
import { explain } from "./refusal.ts";
import type { Room } from "./room.ts";

/** This near to the bottom counts as there. */
const AT_BOTTOM_PX = 60;
/** Older messages are loaded when the top is this near. */
const NEAR_TOP_PX = 500;

export class MessageList {
  readonly element: HTMLElement;
  readonly #chat: Chat;
  readonly #room: Room;
  readonly #older = h("div", { class: "older" });
  readonly #empty = h("div", { class: "room-empty" });
  readonly #jump: HTMLButtonElement;
  readonly #jumpText = h("span", {});
  readonly #scroller: HTMLElement;
  readonly #lines: KeyedList<Line>;
  readonly #resized: ResizeObserver;
  /** What was read before the room was opened; `null` once there is nothing to mark. */
  readonly #readUpTo: number | null;
  #atBottom = true;
  #firstSeq: number | undefined;
  #seenSeq = 0;
  #waiting = 0;
  #placed = false;
  #olderFailed = false;
  #olderShown = "";
  #emptyShown = "";

  constructor(chat: Chat, room: Room, name: string) {
    this.#chat = chat;
    this.#room = room;
    const read = chat.marks.get(room.channel);
    this.#readUpTo = read > 0 && read < room.lastSeq ? read : null;
    const list = h("ol", { class: "messages", "aria-label": `Messages in ${name}` });
    this.#lines = new KeyedList<Line>(list, {
      key: (line) => line.key,
      create: (line) =>
        lineElement(line, chat.user, {
          retry: (key) => room.retry(key),
          discard: (key) => room.discard(key),
        }),
      update: updateLine,
    });
    this.#scroller = h(
      "div",
      {
        class: "scroller",
        tabindex: 0,
        role: "region",
        "aria-label": `Conversation in ${name}`,
        "data-testid": "messages",
        on: { scroll: () => this.#scrolled() },
      },
      this.#older,
      this.#empty,
      list,
    );
    this.#jump = h(
      "button",
      {
        type: "button",
        class: "jump",
        hidden: true,
        "data-testid": "jump",
        on: { click: () => this.toBottom() },
      },
      icon("down"),
      this.#jumpText,
    );
    this.element = h("div", { class: "message-area" }, this.#scroller, this.#jump);
    this.#resized = new ResizeObserver(() => {
      if (this.#atBottom) this.#scrollDown();
      this.#settle();
    });
    this.#resized.observe(this.#scroller);
  }

  close(): void {
    this.#resized.disconnect();
  }

  render(): void {
    const room = this.#room;
    const { scrollHeight, scrollTop } = this.#scroller;
    const before = this.#firstSeq;
    const entries = room.ready ? room.timeline.entries() : [];
    const waiting = entries.filter(({ state }) => state !== "sent").length;
    // What the person just sent is always in sight.
    if (waiting > this.#waiting) this.#atBottom = true;
    this.#waiting = waiting;
    this.#lines.render(layOut(entries, this.#chat.user, this.#readUpTo));
    this.#renderOlder();
    this.#renderEmpty(entries.length);
    this.#firstSeq = room.timeline.first?.seq;
    if (!this.#placed && room.ready) {
      this.#placed = true;
      this.#place();
    } else if (this.#atBottom) {
      this.#scrollDown();
    } else if (before !== undefined && this.#firstSeq !== undefined && this.#firstSeq < before) {
      this.#scroller.scrollTop = scrollTop + this.#scroller.scrollHeight - scrollHeight;
    }
    this.#settle();
    if (room.ready) this.#loadOlderIfNear();
  }

  toBottom(): void {
    this.#atBottom = true;
    this.#scroller.scrollTo({ top: this.#scroller.scrollHeight, behavior: "smooth" });
    this.#settle();
  }

  focus(): void {
    this.#scroller.focus();
  }

  /** At first: the bottom, or the mark of what is new if that is further up. */
  #place(): void {
    this.#scrollDown();
    const mark = this.#lines.get("new");
    if (mark === undefined) return;
    const above = mark.getBoundingClientRect().top - this.#scroller.getBoundingClientRect().top;
    if (above < 0) {
      this.#scroller.scrollTop += above - 24;
      this.#atBottom = false;
    }
  }

  #scrollDown(): void {
    this.#scroller.scrollTop = this.#scroller.scrollHeight;
  }

  #scrolled(): void {
    const { scrollTop, scrollHeight, clientHeight } = this.#scroller;
    this.#atBottom = scrollHeight - scrollTop - clientHeight < AT_BOTTOM_PX;
    this.#settle();
    this.#loadOlderIfNear();
  }

  #settle(): void {
    const last = this.#room.timeline.last?.seq ?? 0;
    if (this.#atBottom) {
      this.#seenSeq = last;
      // On a phone the room may be open behind the list of channels: then nobody reads it.
      if (this.#room.ready && !document.hidden && this.#scroller.clientHeight > 0)
        this.#chat.read(this.#room);
    }
    this.#jump.hidden = this.#atBottom;
    const unseen = Math.max(0, last - this.#seenSeq);
    setText(this.#jumpText, unseen === 0 ? "Newest" : counted(unseen, "new message"));
  }

  #loadOlderIfNear(): void {
    if (this.#scroller.scrollTop < NEAR_TOP_PX && this.#room.more && !this.#olderFailed) this.#loadOlder();
  }

  #loadOlder(): void {
    if (this.#room.loadingOlder) return;
    this.#olderFailed = false;
    this.#room.loadOlder().catch((error: unknown) => {
      this.#olderFailed = true;
      const { title, cure } = explain(error);
      toast({ kind: "error", title: `Older messages could not be loaded. ${title}`, cure });
      this.#renderOlder();
    });
  }

  #renderOlder(): void {
    const room = this.#room;
    const state = !room.ready
      ? ""
      : this.#olderFailed
        ? "failed"
        : room.more
          ? "more"
          : room.timeline.first === undefined
            ? ""
            : "start";
    setAttribute(this.#older, "data-state", state);
    if (state === this.#olderShown) return;
    this.#olderShown = state;
    if (state === "failed") {
      this.#older.replaceChildren(
        h(
          "button",
          { type: "button", class: "button", on: { click: () => this.#loadOlder() } },
          icon("retry"),
          "Load older messages",
        ),
      );
    } else if (state === "more") {
      this.#older.replaceChildren(...skeletons(3));
    } else if (state === "start") {
      this.#older.replaceChildren(h("p", { class: "quiet" }, "This is where the conversation begins."));
    } else {
      this.#older.replaceChildren();
    }
  }

  #renderEmpty(count: number): void {
    const room = this.#room;
    const state = room.ready
      ? count === 0
        ? "empty"
        : ""
      : room.trouble === null
        ? "loading"
        : `trouble ${room.trouble.title}`;
    if (state === this.#emptyShown) return;
    this.#emptyShown = state;
    this.#scroller.toggleAttribute("aria-busy", state === "loading");
    if (state === "loading") {
      this.#empty.replaceChildren(
        h("span", { class: "visually-hidden" }, "Loading the messages…"),
        ...skeletons(7),
      );
    } else if (state === "empty") {
      this.#empty.replaceChildren(
        h(
          "div",
          { class: "blank" },
          icon("chat"),
          h("strong", {}, "Nothing here yet"),
          h("p", {}, "Write the first message: everybody in this channel sees it at once."),
        ),
      );
    } else if (state === "") {
      this.#empty.replaceChildren();
    } else {
      this.#empty.replaceChildren(
        h(
          "div",
          { class: "notice", role: "alert" },
          h("strong", {}, "The messages could not be loaded."),
          h("p", {}, `${room.trouble?.title ?? ""} ${room.trouble?.cure ?? ""}`),
          h(
            "button",
            { type: "button", class: "button", on: { click: () => void room.load() } },
            icon("retry"),
            "Try again",
          ),
        ),
      );
    }
  }
}

function skeletons(count: number): HTMLElement[] {
  return Array.from({ length: count }, (_, index) =>
    h(
      "div",
      { class: `skeleton-message skeleton-width-${index % 4}`, "aria-hidden": "true" },
      h("span", { class: "skeleton skeleton-avatar" }),
      h("span", { class: "skeleton skeleton-bubble" }),
    ),
  );
}
