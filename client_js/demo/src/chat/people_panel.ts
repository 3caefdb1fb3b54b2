/** The members of the open channel: who is here now, and who is not. */

import { h, KeyedList, setAttribute, setText } from "../shared/dom.ts";
import { icon } from "../shared/icons.ts";
import { avatar, displayName } from "../shared/people.ts";
import type { Room } from "./room.ts";

interface Person {
  readonly user: string;
  readonly owner: boolean;
}

/** From this width on the panel stands beside the conversation; below, it opens over it. */
const WIDE = matchMedia("(min-width: 68rem)");

export class PeoplePanel {
  /** Stands beside the conversation where there is room. */
  readonly aside = h(
    "aside",
    { class: "people-aside", "aria-label": "Members" },
    h("h2", { class: "visually-hidden" }, "Members"),
  );
  /** Opens over the conversation elsewhere. */
  readonly dialog: HTMLDialogElement;
  readonly #user: string;
  readonly #content: HTMLElement;
  readonly #hereTitle = h("h3", { id: "here-title" });
  readonly #awayTitle = h("h3", { id: "away-title" });
  readonly #here: KeyedList<Person>;
  readonly #away: KeyedList<Person>;
  readonly #hereList = h("ul", {
    class: "people-list",
    "data-testid": "presence-list",
    "aria-labelledby": "here-title",
  });
  readonly #awayList = h("ul", {
    class: "people-list people-away",
    "data-testid": "away-list",
    "aria-labelledby": "away-title",
  });

  constructor(user: string) {
    this.#user = user;
    const view = (here: boolean) => ({
      key: (person: Person) => person.user,
      create: (person: Person) => this.#item(person, here),
      update: (item: HTMLElement, person: Person) => {
        const role = item.querySelector<HTMLElement>(".person-role");
        if (role !== null) role.hidden = !person.owner;
      },
    });
    this.#here = new KeyedList<Person>(this.#hereList, view(true));
    this.#away = new KeyedList<Person>(this.#awayList, view(false));
    this.#content = h(
      "div",
      { class: "people" },
      this.#hereTitle,
      this.#hereList,
      this.#awayTitle,
      this.#awayList,
    );
    this.dialog = h("dialog", {
      class: "drawer",
      "aria-labelledby": "people-title",
      on: { click: (event) => this.#clicked(event) },
    });
    this.dialog.append(
      h(
        "div",
        { class: "drawer-head" },
        h("h2", { id: "people-title" }, "Members"),
        h(
          "button",
          {
            type: "button",
            class: "icon-button",
            "aria-label": "Close",
            on: { click: () => this.dialog.close() },
          },
          icon("close"),
        ),
      ),
    );
    WIDE.addEventListener("change", () => this.#place());
    this.#place();
  }

  /** Open the panel where it does not stand open anyway. */
  open(): void {
    if (!WIDE.matches && !this.dialog.open) this.dialog.showModal();
  }

  close(): void {
    if (this.dialog.open) this.dialog.close();
  }

  /** Show the people of a room, or nobody. Without a connection (not `live`), who is here is only what was heard last. */
  render(room: Room | undefined, live: boolean): void {
    setAttribute(this.#content, "data-stale", live ? null : "true");
    setAttribute(this.aside, "data-empty", room === undefined ? "true" : null);
    const members = room?.roster.members ?? [];
    const owners = new Set(members.filter(({ role }) => role === "owner").map(({ user }) => user));
    const person = (user: string): Person => ({ user, owner: owners.has(user) });
    const here = room?.roster.here ?? [];
    const away = members.filter(({ user }) => !(room?.roster.isHere(user) ?? false));
    this.#here.render(here.map(person));
    this.#away.render(away.map(({ user }) => person(user)));
    setText(this.#hereTitle, `${live ? "Here now" : "Here when last seen"} · ${here.length}`);
    setText(this.#awayTitle, `Away · ${away.length}`);
    this.#awayTitle.hidden = away.length === 0;
  }

  #item({ user }: Person, here: boolean): HTMLElement {
    return h(
      "li",
      { class: "person", "data-testid": "person", "data-user": user },
      h("span", { class: "person-face", "data-here": String(here) }, avatar(user, "small")),
      h(
        "span",
        { class: "person-name" },
        displayName(user),
        user === this.#user ? h("span", { class: "quiet" }, " (you)") : null,
      ),
      h("span", { class: "person-role", hidden: true }, "owner"),
    );
  }

  #place(): void {
    if (WIDE.matches) {
      this.close();
      this.aside.append(this.#content);
    } else {
      this.dialog.append(this.#content);
    }
  }

  #clicked(event: MouseEvent): void {
    // The dialog itself is only hit outside its content: on the backdrop.
    if (event.target === this.dialog) this.dialog.close();
  }
}
