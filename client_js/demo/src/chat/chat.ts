/** All of one user's chat: the channels, a room for each joined one, and which is looked at. */

import { announce } from "../shared/announce.ts";
import { Changes } from "../shared/changes.ts";
import { watchOf } from "../shared/connection.ts";
import { displayName } from "../shared/people.ts";
import type { DemoClient } from "../shared/session.ts";
import { toast } from "../shared/toast.ts";
import { type Api, chatApi } from "./api.ts";
import { Outbox } from "./outbox.ts";
import { ReadMarks } from "./read_marks.ts";
import { type Explained, explain } from "./refusal.ts";
import { Room, type RoomHost } from "./room.ts";
import type { ChannelInfo, Message } from "./types.ts";

/** How often the list of public channels is read again while somebody looks; no event tells of new ones. */
const REFRESH_MS = 30_000;

export class Chat implements RoomHost {
  readonly client: DemoClient;
  readonly user: string;
  readonly api: Api;
  readonly outbox: Outbox;
  readonly marks: ReadMarks;
  readonly changes = new Changes();
  /** Whether the list of channels is there. */
  ready = false;
  /** Why it is not. */
  trouble: Explained | null = null;
  /** The channel that is looked at, joined or not. */
  current: string | null = null;

  readonly #channels = new Map<string, ChannelInfo>();
  readonly #rooms = new Map<string, Room>();
  #refreshing: Promise<void> | null = null;

  constructor(client: DemoClient, user: string) {
    this.client = client;
    this.user = user;
    this.api = chatApi(client);
    this.outbox = new Outbox(user);
    this.marks = new ReadMarks(user);
    const own = client.subscribe(`user:${user}`);
    own.on("event", ({ name, data }) => {
      if (name === "channel.added") this.#added(data);
      else if (name === "channel.removed") this.#removed(data.channel);
    });
    // Whatever was missed here is in the list of channels, which every connection reads anew.
    own.on("gap", () => void this.refresh().then(() => own.dismissGap()));
    client.on("state", ({ state }) => {
      if (state !== "connected") return;
      for (const room of this.#rooms.values()) room.resend();
      void this.refresh();
    });
    setInterval(() => {
      if (!document.hidden && client.state === "connected") void this.refresh();
    }, REFRESH_MS);
    document.addEventListener("visibilitychange", () => {
      if (!document.hidden && client.state === "connected") void this.refresh();
    });
    watchOf(client).watch(() => this.changes.notify());
  }

  /** Joined channels by name. */
  get mine(): readonly ChannelInfo[] {
    return this.#sorted(true);
  }

  /** Public channels to join, by name. */
  get others(): readonly ChannelInfo[] {
    return this.#sorted(false);
  }

  info(channel: string): ChannelInfo | undefined {
    return this.#channels.get(channel);
  }

  room(channel: string | null): Room | undefined {
    return channel === null ? undefined : this.#rooms.get(channel);
  }

  /** How many messages of a joined channel are unread. */
  unread(channel: string): number {
    const room = this.#rooms.get(channel);
    return room === undefined ? 0 : Math.max(0, room.lastSeq - this.marks.get(channel));
  }

  /** Read the channels again. Never throws: the trouble is kept, and told if there is nothing to show. */
  refresh(): Promise<void> {
    this.#refreshing ??= this.#readChannels().finally(() => {
      this.#refreshing = null;
    });
    return this.#refreshing;
  }

  /** Look at a channel, or at none. */
  select(channel: string | null): void {
    if (channel === this.current) return;
    this.room(this.current)?.hide();
    this.current = channel;
    this.room(channel)?.open();
    this.changes.notify();
  }

  /** Everything up to the newest message of the channel is read. */
  read(room: Room): void {
    if (this.marks.set(room.channel, room.lastSeq)) this.changes.notify();
  }

  /** Make a channel. Throws what the server refuses it with. */
  async create(channel: { name: string; members: readonly string[]; public: boolean }): Promise<ChannelInfo> {
    const info = await this.api.create(channel);
    this.#added(info);
    return info;
  }

  /** Join a public channel. */
  async join(channel: string): Promise<void> {
    try {
      this.#added(await this.api.join(channel));
    } catch (error) {
      this.#tell(error, "The channel could not be joined.");
      void this.refresh();
    }
  }

  /** Leave a channel. */
  async leave(channel: string): Promise<void> {
    try {
      await this.api.leave(channel);
      this.#removed(channel);
      await this.refresh();
    } catch (error) {
      this.#tell(error, "The channel could not be left.");
    }
  }

  heard(room: Room, message: Message): void {
    if (message.user !== this.user && room.channel === this.current && !document.hidden) {
      announce(`${displayName(message.user)}: ${message.text}`);
    }
    // The user's own message from another tab is read, too.
    if (message.user === this.user) this.marks.set(room.channel, message.seq);
    this.changes.notify();
  }

  ended(room: Room, code: string): void {
    if (!this.#rooms.has(room.channel)) return;
    const name = this.info(room.channel)?.name ?? room.channel;
    this.#removed(room.channel);
    if (code === "forbidden" || code === "not_found") {
      toast({
        kind: "info",
        title: `You are no longer in ${name}.`,
        cure: "Ask one of its members to add you again.",
      });
    }
    void this.refresh();
  }

  unsent(room: Room, { title, cure }: Explained): void {
    // The room itself shows it, with its reason.
    if (room.channel === this.current) return;
    const name = this.info(room.channel)?.name ?? room.channel;
    toast({ kind: "error", title: `A message to ${name} was not sent. ${title}`, cure });
  }

  async #readChannels(): Promise<void> {
    try {
      const channels = await this.api.channels();
      this.ready = true;
      this.trouble = null;
      const listed = new Set(channels.map(({ channel }) => channel));
      for (const channel of this.#channels.keys()) {
        if (!listed.has(channel)) this.#dropped(channel);
      }
      for (const info of channels) this.#keep(info);
    } catch (error) {
      this.trouble = explain(error);
    }
    this.changes.notify();
  }

  #keep(info: ChannelInfo): void {
    this.#channels.set(info.channel, info);
    const room = this.#rooms.get(info.channel);
    if (info.joined && room === undefined) {
      const joined = new Room(this, info);
      joined.changes.watch(() => this.changes.notify());
      this.#rooms.set(info.channel, joined);
      if (info.channel === this.current) joined.open();
    } else if (!info.joined && room !== undefined) {
      this.#closeRoom(info.channel);
    } else if (room !== undefined) {
      room.lastSeq = Math.max(room.lastSeq, info.last_seq);
    }
  }

  #added(info: ChannelInfo): void {
    this.#keep({ ...info, joined: true });
    this.changes.notify();
  }

  /** The user is no longer a member. */
  #removed(channel: string): void {
    const info = this.#channels.get(channel);
    if (info?.public === true) {
      this.#closeRoom(channel);
      this.#channels.set(channel, { ...info, joined: false });
    } else {
      this.#dropped(channel);
    }
    this.changes.notify();
  }

  #dropped(channel: string): void {
    this.#closeRoom(channel);
    this.#channels.delete(channel);
  }

  #closeRoom(channel: string): void {
    const room = this.#rooms.get(channel);
    this.#rooms.delete(channel);
    room?.close();
  }

  #sorted(joined: boolean): readonly ChannelInfo[] {
    return [...this.#channels.values()]
      .filter((info) => info.joined === joined)
      .sort((a, b) => a.name.localeCompare(b.name));
  }

  #tell(error: unknown, what: string): void {
    const { title, cure } = explain(error);
    toast({ kind: "error", title: `${what} ${title}`, cure });
  }
}
