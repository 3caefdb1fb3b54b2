/** The chat page: choose a user, connect, show the channels and the open room. */

import { coalesced } from "../shared/changes.ts";
import { byId, h, setAttribute } from "../shared/dom.ts";
import { showHeader } from "../shared/header.ts";
import type { DemoUser } from "../shared/people.ts";
import { clientFor, demoUsers, rememberedUser } from "../shared/session.ts";
import { Chat } from "./chat.ts";
import { askForChannel } from "./dialogs.ts";
import { PeoplePanel } from "./people_panel.ts";
import { pickUser } from "./picker.ts";
import { RoomView } from "./room_view.ts";
import { Sidebar } from "./sidebar.ts";

/** The address' fragment: a channel, or this for the list of them (which is a screen of its own on a phone). */
const LIST = "channels";
/** Where one of the two shows at a time, as in chat.css. */
const PHONE = matchMedia("(max-width: 46rem)");

async function start(): Promise<void> {
  const app = byId("app");
  let user = rememberedUser();
  let users: readonly DemoUser[] = [];
  if (user === null) {
    showHeader("chat");
    user = await pickUser(app);
  }
  try {
    users = await demoUsers();
  } catch {
    // The chat works without the names; the connection's state tells that the server is away.
  }
  show(app, user, users);
}

function show(app: HTMLElement, user: string, users: readonly DemoUser[]): void {
  const client = clientFor(user);
  const chat = new Chat(client, user);
  showHeader("chat", client, user);

  const go = (channel: string): void => {
    if (location.hash === `#${channel}`) view("room");
    else location.hash = channel;
  };
  const back = (): void => {
    location.hash = LIST;
  };
  const gone = (): void => {
    chat.select(null);
    location.hash = PHONE.matches ? LIST : "";
  };
  const people = new PeoplePanel(user);
  const room = new RoomView(chat, people, { back, gone });
  const sidebar = new Sidebar(chat, go, () => askForChannel(chat, users, ({ channel }) => go(channel)));
  app.replaceChildren(sidebar.element, room.element, people.aside, people.dialog);
  const view = (shown: "room" | "list"): void => {
    setAttribute(app, "data-view", shown);
    sidebar.standAlone(shown === "list" && PHONE.matches);
  };
  view("room");
  PHONE.addEventListener("change", () => view(app.dataset["view"] === "list" ? "list" : "room"));

  /** Follow the address; without a channel in it, open the first one. */
  const follow = (): void => {
    // Channel names hold no character that an address would escape.
    const fragment = location.hash.slice(1);
    if (fragment.includes(":")) {
      view("room");
      if (fragment !== chat.current) people.close();
      chat.select(fragment);
    } else if (fragment === LIST) {
      view("list");
    } else if (chat.current === null && chat.mine[0] !== undefined) {
      const first = chat.info("chat:lobby")?.joined === true ? "chat:lobby" : chat.mine[0].channel;
      history.replaceState(null, "", `#${first}`);
      chat.select(first);
    }
  };
  const render = coalesced(() => {
    if (chat.current === null) follow();
    sidebar.render();
    room.render();
    people.render(chat.room(chat.current), client.state === "connected");
    const unread = chat.mine.filter(({ channel }) => chat.unread(channel) > 0).length;
    const name = chat.current === null ? undefined : chat.info(chat.current)?.name;
    document.title = `${unread > 0 ? `(${unread}) ` : ""}${name === undefined ? "Chat" : name} · Backchannel`;
  });
  addEventListener("hashchange", () => {
    follow();
    render();
  });
  document.addEventListener("visibilitychange", render);
  document.addEventListener("keydown", (event) => {
    // Escape leaves a conversation for the list of channels (a dialog takes it first).
    if (event.key === "Escape" && document.querySelector("dialog[open]") === null) {
      sidebar.element.querySelector<HTMLElement>('.channel-item[tabindex="0"]')?.focus();
    }
  });
  chat.changes.watch(render);
  render();
  client.connect();
}

const blank = h("div", { class: "boot", "aria-busy": "true" });
byId("app").replaceChildren(blank);
showHeader("chat");
void start();
