/** Where messages are written. Enter sends, Shift+Enter makes a new line. */

import { connectionText, watchOf } from "../shared/connection.ts";
import { h, setAttribute, setText } from "../shared/dom.ts";
import { named } from "../shared/format.ts";
import { icon } from "../shared/icons.ts";
import { displayName } from "../shared/people.ts";
import type { Chat } from "./chat.ts";
import type { Room } from "./room.ts";
import { LONGEST_TEXT } from "./types.ts";

/** The count of characters shows when this few are left. */
const NEAR_LIMIT = 300;

export class Composer {
  readonly element: HTMLElement;
  readonly #chat: Chat;
  readonly #room: Room;
  readonly #text: HTMLTextAreaElement;
  readonly #send: HTMLButtonElement;
  readonly #left = h("span", { id: "composer-left", class: "composer-left", "aria-live": "polite" });
  readonly #typingText = h("span", {});
  readonly #typing: HTMLElement;
  readonly #banner = h("p", { class: "composer-banner", hidden: true });

  constructor(chat: Chat, room: Room, name: string) {
    this.#chat = chat;
    this.#room = room;
    this.#text = h("textarea", {
      id: "composer",
      class: "composer-text",
      rows: 1,
      "data-testid": "composer",
      placeholder: `Message ${name}`,
      "aria-label": `Message ${name}`,
      "aria-describedby": "composer-left composer-help",
      enterkeyhint: "send",
      autocomplete: "off",
      on: {
        input: () => this.#edited(),
        keydown: (event) => this.#key(event),
        blur: () => room.typing.stop(),
      },
    });
    this.#text.value = room.draft;
    this.#send = h(
      "button",
      { type: "submit", class: "send-button", "data-testid": "send", "aria-label": "Send", title: "Send" },
      icon("send"),
    );
    this.#typing = h(
      "p",
      { class: "typing", "data-testid": "typing", hidden: true },
      h("span", { class: "typing-dots", "aria-hidden": "true" }, h("i", {}), h("i", {}), h("i", {})),
      this.#typingText,
    );
    this.element = h(
      "form",
      {
        class: "composer",
        "aria-label": "New message",
        on: {
          submit: (event) => {
            event.preventDefault();
            this.#submit();
          },
        },
      },
      h("div", { class: "composer-above" }, this.#typing, this.#left),
      this.#banner,
      h("div", { class: "composer-box" }, this.#text, this.#send),
      h(
        "span",
        { id: "composer-help", class: "visually-hidden" },
        "Enter sends, Shift and Enter makes a new line.",
      ),
    );
    this.#show();
    // The field has no size before it is on the page, and another when the page has.
    new ResizeObserver(() => this.#grow()).observe(this.element);
  }

  /** Follow typing and connection. */
  render(): void {
    const typing = this.#room.typists.users.map(displayName);
    this.#typing.hidden = typing.length === 0;
    setText(
      this.#typingText,
      typing.length === 0 ? "" : `${named(typing)} ${typing.length === 1 ? "is" : "are"} typing…`,
    );
    const watch = watchOf(this.#chat.client);
    const away = watch.shown === "reconnecting" || watch.shown === "offline";
    this.#banner.hidden = !away;
    if (away)
      setText(
        this.#banner,
        `${connectionText(watch).replace("…", "")}. What you send now goes out when the connection is back.`,
      );
  }

  focus(): void {
    this.#text.focus({ preventScroll: true });
  }

  #edited(): void {
    this.#room.draft = this.#text.value;
    this.#room.typing.draft(this.#text.value);
    this.#show();
  }

  #key(event: KeyboardEvent): void {
    // While an input method composes, Enter chooses a word.
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    this.#submit();
  }

  #submit(): void {
    const text = this.#text.value.trim();
    if (text === "" || [...text].length > LONGEST_TEXT) return;
    this.#text.value = "";
    this.#room.draft = "";
    this.#room.send(text);
    this.#show();
    this.focus();
  }

  #show(): void {
    const text = this.#text.value.trim();
    const left = LONGEST_TEXT - [...text].length;
    this.#send.disabled = text === "" || left < 0;
    setText(
      this.#left,
      left < 0 ? `${-left} characters too many` : left <= NEAR_LIMIT ? `${left} characters left` : "",
    );
    setAttribute(this.#left, "data-over", left < 0 ? "true" : null);
    setAttribute(this.#text, "aria-invalid", left < 0 ? "true" : null);
    this.#grow();
  }

  /** The field is as high as its text, up to what the style sheet allows. */
  #grow(): void {
    if (!this.#text.isConnected) return;
    this.#text.style.height = "auto";
    this.#text.style.height = `${this.#text.scrollHeight}px`;
  }
}
