/** The dialogs: make a channel, and confirm leaving one. Escape and the backdrop close them. */

import { h, setText } from "../shared/dom.ts";
import { icon } from "../shared/icons.ts";
import { avatar, type DemoUser, displayName } from "../shared/people.ts";
import type { Chat } from "./chat.ts";
import { explain } from "./refusal.ts";
import type { ChannelInfo } from "./types.ts";

const LONGEST_NAME = 100;

function dialog(title: string, ...children: (HTMLElement | null)[]): HTMLDialogElement {
  const element = h("dialog", { class: "dialog", "aria-labelledby": "dialog-title" });
  element.append(
    h(
      "div",
      { class: "dialog-head" },
      h("h2", { id: "dialog-title" }, title),
      h(
        "button",
        { type: "button", class: "icon-button", "aria-label": "Close", on: { click: () => element.close() } },
        icon("close"),
      ),
    ),
    ...children.filter((child) => child !== null),
  );
  element.addEventListener("click", (event) => {
    if (event.target === element) element.close();
  });
  element.addEventListener("close", () => element.remove());
  document.body.append(element);
  element.showModal();
  return element;
}

/** Ask for a new channel's name, members and whether it is public; `made` hears of the new channel. */
export function askForChannel(
  chat: Chat,
  users: readonly DemoUser[],
  made: (channel: ChannelInfo) => void,
): void {
  const name = h("input", {
    id: "channel-name",
    class: "field",
    "data-testid": "channel-name",
    required: true,
    maxlength: LONGEST_NAME,
    autocomplete: "off",
    placeholder: "For example: release notes",
  });
  const open = h("input", {
    type: "checkbox",
    id: "channel-public",
    class: "switch",
    role: "switch",
    checked: true,
    "data-testid": "channel-public",
    "aria-describedby": "public-help",
  });
  const help = h("span", { id: "public-help", class: "quiet" });
  const sayWho = (): void =>
    setText(help, open.checked ? "Everybody can find and join it." : "Only the members you choose see it.");
  open.addEventListener("change", sayWho);
  sayWho();
  const choices = users
    .filter(({ user }) => user !== chat.user)
    .map(({ user }) =>
      h("input", {
        type: "checkbox",
        class: "visually-hidden",
        value: user,
        "data-testid": `member-${user}`,
      }),
    );
  const trouble = h("p", { class: "form-trouble", role: "alert", hidden: true });
  const submit = h(
    "button",
    { type: "submit", class: "button button-strong", "data-testid": "create-channel" },
    "Create channel",
  );
  const create = async (): Promise<void> => {
    submit.disabled = true;
    trouble.hidden = true;
    try {
      const members = choices.filter(({ checked }) => checked).map(({ value }) => value);
      const info = await chat.create({ name: name.value.trim(), members, public: open.checked });
      element.close();
      made(info);
    } catch (error) {
      const { title, cure } = explain(error);
      setText(trouble, `${title} ${cure}`);
      trouble.hidden = false;
    } finally {
      submit.disabled = false;
    }
  };
  const form = h(
    "form",
    {
      class: "form",
      on: {
        submit: (event) => {
          event.preventDefault();
          if (name.value.trim() === "") name.focus();
          else void create();
        },
      },
    },
    h("label", { for: "channel-name", class: "label" }, "Name"),
    name,
    choices.length === 0
      ? null
      : h(
          "fieldset",
          { class: "choices" },
          h("legend", { class: "label" }, "Members"),
          ...choices.map((choice) =>
            h("label", { class: "choice" }, choice, avatar(choice.value, "small"), displayName(choice.value)),
          ),
        ),
    h(
      "div",
      { class: "switch-row" },
      open,
      h("div", {}, h("label", { for: "channel-public", class: "label" }, "Public"), help),
    ),
    trouble,
    h(
      "div",
      { class: "form-end" },
      h("button", { type: "button", class: "button", on: { click: () => element.close() } }, "Cancel"),
      submit,
    ),
  );
  const element = dialog("New channel", form);
  name.focus();
}

/** Ask whether to leave a channel; runs `leave` on yes. */
export function confirmLeaving(info: ChannelInfo, leave: () => void): void {
  const yes = h(
    "button",
    {
      type: "button",
      class: "button button-danger",
      "data-testid": "confirm-leave",
      on: {
        click: () => {
          element.close();
          leave();
        },
      },
    },
    "Leave",
  );
  const element = dialog(
    `Leave ${info.name}?`,
    h(
      "p",
      {},
      info.public
        ? "You can join again whenever you like."
        : "It is private: only a member can add you again.",
    ),
    h(
      "div",
      { class: "form-end" },
      h("button", { type: "button", class: "button", on: { click: () => element.close() } }, "Stay"),
      yes,
    ),
  );
  yes.focus();
}
