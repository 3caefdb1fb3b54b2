/** The middle of the chat: the open room, a channel to join, or nothing. */

import { h, setText } from "../shared/dom.ts";
import { counted, dayName } from "../shared/format.ts";
import { icon } from "../shared/icons.ts";
import { avatar, displayName } from "../shared/people.ts";
import type { Chat } from "./chat.ts";
import { Composer } from "./composer.ts";
import { confirmLeaving } from "./dialogs.ts";
import { MessageList } from "./message_list.ts";
import type { PeoplePanel } from "./people_panel.ts";
import type { Room } from "./room.ts";
import type { ChannelInfo } from "./types.ts";

const FACES = 4;

interface Open {
  readonly room: Room;
  readonly list: MessageList;
  readonly composer: Composer;
  readonly sub: HTMLElement;
  readonly faces: HTMLElement;
}

export class RoomView {
  readonly element = h("main", { id: "main", class: "room", tabindex: -1 });
  readonly #chat: Chat;
  readonly #people: PeoplePanel;
  readonly #back: () => void;
  readonly #gone: () => void;
  #open: Open | null = null;
  #shown = "";

  /** `back` goes to the list of channels, `gone` away from a channel that there is no more for this user. */
  constructor(chat: Chat, people: PeoplePanel, { back, gone }: { back: () => void; gone: () => void }) {
    this.#chat = chat;
    this.#people = people;
    this.#back = back;
    this.#gone = gone;
  }

  render(): void {
    const chat = this.#chat;
    const channel = chat.current;
    const room = chat.room(channel);
    const info = channel === null ? undefined : chat.info(channel);
    if (room !== undefined && info !== undefined) this.#renderRoom(room, info);
    else if (info !== undefined) this.#renderJoin(info);
    else this.#renderNone(channel !== null && chat.ready);
  }

  #renderRoom(room: Room, info: ChannelInfo): void {
    if (this.#open?.room !== room) {
      this.#close();
      this.#open = this.#build(room, info);
    }
    const { list, composer, sub, faces } = this.#open;
    const { here } = room.roster;
    const members = room.ready ? room.roster.size : info.members;
    setText(
      sub,
      here.length === 0 ? counted(members, "member") : `${counted(members, "member")} · ${here.length} here`,
    );
    const wanted = here.slice(0, FACES);
    if (faces.dataset["users"] !== wanted.join(" ")) {
      faces.dataset["users"] = wanted.join(" ");
      faces.replaceChildren(...wanted.map((user) => avatar(user, "small")));
    }
    list.render();
    composer.render();
  }

  #build(room: Room, info: ChannelInfo): Open {
    const sub = h("p", { class: "room-sub" });
    const faces = h("span", { class: "faces", "aria-hidden": "true" });
    const list = new MessageList(this.#chat, room, info.name);
    const composer = new Composer(this.#chat, room, info.name);
    const leave = (): void =>
      confirmLeaving(this.#chat.info(room.channel) ?? info, () => {
        void this.#chat.leave(room.channel).then(() => {
          // Meanwhile the person may have gone elsewhere.
          if (this.#chat.current !== room.channel) return;
          if (this.#chat.info(room.channel) === undefined) this.#gone();
          this.element.focus();
        });
      });
    this.element.replaceChildren(
      this.#head(
        info,
        sub,
        h(
          "button",
          {
            type: "button",
            class: "people-button",
            "data-testid": "people",
            "aria-label": "Members",
            title: "Members",
            on: { click: () => this.#people.open() },
          },
          faces,
          icon("people"),
        ),
        h(
          "button",
          {
            type: "button",
            class: "icon-button",
            "data-testid": "leave",
            "aria-label": `Leave ${info.name}`,
            title: "Leave this channel",
            on: { click: leave },
          },
          icon("leave"),
        ),
      ),
      list.element,
      composer.element,
    );
    this.#shown = "";
    // On a touch screen the keyboard would cover the conversation that was just opened.
    if (matchMedia("(pointer: fine)").matches) composer.focus();
    return { room, list, composer, sub, faces };
  }

  #head(info: ChannelInfo, sub: HTMLElement, ...actions: HTMLElement[]): HTMLElement {
    return h(
      "header",
      { class: "room-head" },
      h(
        "button",
        {
          type: "button",
          class: "icon-button back-button",
          "data-testid": "back",
          "aria-label": "To the list of channels",
          on: { click: this.#back },
        },
        icon("back"),
      ),
      h("span", { class: "room-icon" }, icon(info.public ? "hash" : "lock")),
      h(
        "div",
        { class: "room-titles" },
        h("h1", { class: "room-title", "data-testid": "room-title" }, info.name),
        sub,
      ),
      ...actions,
    );
  }

  #renderJoin(info: ChannelInfo): void {
    const shown = `join ${info.channel} ${info.name} ${info.members}`;
    if (shown === this.#shown) return;
    this.#close();
    this.#shown = shown;
    const join = h(
      "button",
      {
        type: "button",
        class: "button button-strong",
        "data-testid": "join",
        on: {
          click: () => {
            join.disabled = true;
            void this.#chat.join(info.channel).finally(() => {
              join.disabled = false;
            });
          },
        },
      },
      "Join this channel",
    );
    this.element.replaceChildren(
      this.#head(info, h("p", { class: "room-sub" }, counted(info.members, "member"))),
      h(
        "div",
        { class: "blank blank-page" },
        icon("hash"),
        h("strong", {}, info.name),
        h(
          "p",
          {},
          `A public channel with ${counted(info.members, "member")} and ${counted(info.last_seq, "message")}, made by ${displayName(info.creator)}, ${dayName(info.created)}.`,
        ),
        join,
      ),
    );
  }

  #renderNone(missing: boolean): void {
    const shown = `none ${String(missing)}`;
    if (shown === this.#shown) return;
    this.#close();
    this.#shown = shown;
    this.element.replaceChildren(
      h(
        "div",
        { class: "blank blank-page" },
        icon("chat"),
        h("strong", {}, missing ? "This channel is not to be found" : "Choose a channel"),
        h(
          "p",
          {},
          missing
            ? "It may be private, or gone. Choose another one from the list."
            : "Your conversations are in the list; you can also start a new one there.",
        ),
        h(
          "button",
          { type: "button", class: "button back-button", on: { click: this.#back } },
          icon("back"),
          "To the list of channels",
        ),
      ),
    );
  }

  #close(): void {
    this.#open?.list.close();
    this.#open = null;
  }
}
