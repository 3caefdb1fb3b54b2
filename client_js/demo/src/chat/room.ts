/**
 * One joined channel: its subscription, messages, members, presence and typing.
 *
 * Snapshot and stream join without a seam: the subscription comes first; while a snapshot is asked for,
 * events wait; then those at or below the snapshot's position are dropped and the others applied.
 */

import type { EventOf, Subscription, SubscriptionEvents } from "@backchannel/client";
import type { DemoContract } from "../contract.gen.ts";
import { Changes } from "../shared/changes.ts";
import type { DemoClient } from "../shared/session.ts";
import type { Api, Snapshot } from "./api.ts";
import type { Outbox } from "./outbox.ts";
import { newKey } from "./outbox.ts";
import { type Explained, explain } from "./refusal.ts";
import { Roster } from "./roster.ts";
import { Timeline } from "./timeline.ts";
import type { ChannelInfo, Message, MessagePage, Pending } from "./types.ts";
import { TypingSignal, Typists } from "./typing.ts";

const PAGE = 50;
/** After an absence, this many pages are filled in; past them the newest page replaces what was there. */
const FILL_PAGE = 200;
const FILL_PAGES = 5;
/** Messages kept of a room that nobody looks at. */
const KEPT = 200;

type StreamEvent = EventOf<DemoContract>;

/** What the room tells beside its changes. */
export interface RoomHost {
  readonly client: DemoClient;
  readonly api: Api;
  readonly outbox: Outbox;
  readonly user: string;
  /** A message came that was not here before, live. */
  heard(room: Room, message: Message): void;
  /** The server ended the subscription. */
  ended(room: Room, code: string): void;
  /** A message could not be sent. */
  unsent(room: Room, reason: Explained): void;
}

export class Room {
  readonly channel: string;
  readonly timeline: Timeline;
  readonly roster = new Roster();
  readonly typists: Typists;
  readonly typing: TypingSignal;
  readonly changes = new Changes();
  /** What is being written. */
  draft = "";
  /** Whether older messages can be loaded. */
  more = false;
  loadingOlder = false;
  /** Why the messages could not be loaded. */
  trouble: Explained | null = null;
  /** The `seq` of the newest message that is known to exist. */
  lastSeq: number;

  readonly #host: RoomHost;
  readonly #subscription: Subscription<StreamEvent>;
  readonly #off: (() => void)[];
  /** Events that came while a snapshot was asked for; `null` while none is. */
  #held: StreamEvent[] | null = null;
  /** Keys of failed messages that can go out later, unchanged. */
  readonly #retryable = new Set<string>();
  #loaded = false;
  /** Earlier positions are void, and messages may be gone: nothing here can be kept. */
  #void = false;
  #stale = true;
  #again = false;
  #open = false;
  #closed = false;

  constructor(host: RoomHost, info: ChannelInfo) {
    this.channel = info.channel;
    this.lastSeq = info.last_seq;
    this.#host = host;
    this.timeline = new Timeline(host.user);
    this.typists = new Typists(() => this.changes.notify());
    this.typing = new TypingSignal((going) => {
      // Typing is worth nothing later, so it is neither queued nor an error.
      if (host.client.state === "connected") host.api.typing(this.channel, going).catch(() => undefined);
    });
    this.#subscription = host.client.subscribe(info.channel);
    this.#off = [
      this.#subscription.on("event", (event) => this.#receive(event)),
      this.#subscription.on("subscribed", ({ verdict }) => this.#subscribed(verdict)),
      this.#subscription.on("gap", ({ reason }) => this.#gap(reason === "reset")),
      this.#subscription.on("presence", (change) => this.#presence(change)),
      this.#subscription.on("unsubscribed", ({ code }) => host.ended(this, code)),
    ];
    for (const pending of host.outbox.of(info.channel)) {
      this.timeline.propose(pending);
      void this.#deliver(pending);
    }
  }

  /** Whether the messages are there to be shown. */
  get ready(): boolean {
    return this.#loaded;
  }

  /** Somebody looks at the room: load what is missing. */
  open(): void {
    this.#open = true;
    if (this.#subscription.state === "subscribed") {
      void this.load();
      void this.#askPresence();
    }
  }

  /** Nobody looks any more. */
  hide(): void {
    this.#open = false;
    this.typing.stop();
    if (this.timeline.trim(KEPT)) this.more = true;
  }

  /** Stop listening; the room is not used any more. */
  close(): void {
    this.#closed = true;
    for (const off of this.#off) off();
    this.typists.clear();
    this.#subscription.unsubscribe();
  }

  /** Bring the messages and members up to date, if they are not. */
  async load(): Promise<void> {
    if (!this.#stale || this.#closed || this.#held !== null) return;
    this.#held = [];
    this.trouble = null;
    const afresh = this.#void || !this.#loaded;
    this.#void = false;
    this.changes.notify();
    try {
      const [messages, members] = await Promise.all([
        this.#snapshot(afresh),
        this.#host.api.members(this.channel),
      ]);
      this.roster.load(members.data);
      this.#stale = false;
      this.#loaded = true;
      this.#subscription.dismissGap();
      const upTo = messages.positions[this.channel] ?? 0;
      const held = this.#held;
      this.#held = null;
      for (const event of held) {
        if (event.offset === undefined || event.offset > upTo) this.#apply(event);
      }
    } catch (error) {
      this.#held = null;
      this.#void = afresh;
      this.trouble = explain(error);
    }
    this.changes.notify();
    if (this.#again) {
      this.#again = false;
      this.#stale = true;
      void this.load();
    }
  }

  /** Load the page before the oldest message, if there is one. */
  async loadOlder(): Promise<void> {
    const before = this.timeline.first?.seq;
    if (this.loadingOlder || !this.more || !this.#loaded || before === undefined) return;
    this.loadingOlder = true;
    this.changes.notify();
    try {
      const { data } = await this.#host.api.messages(this.channel, { before, limit: PAGE });
      // A reload in the meantime may have replaced the messages: then the page hangs in the air.
      if (this.timeline.first?.seq === before) {
        this.timeline.add(data.messages);
        this.more = data.more;
      }
    } finally {
      this.loadingOlder = false;
      this.changes.notify();
    }
  }

  /** Send a message; it shows at once. */
  send(text: string): void {
    const pending: Pending = { key: newKey(), text, time: Date.now() };
    this.#host.outbox.add(this.channel, pending);
    this.timeline.propose(pending);
    this.typing.sent();
    this.changes.notify();
    void this.#deliver(pending);
  }

  /** Send a failed message again, under the key that it had. */
  retry(key: string): void {
    const pending = this.timeline.pending.find((one) => one.key === key);
    if (pending === undefined) return;
    this.timeline.retry(key);
    this.changes.notify();
    void this.#deliver(pending);
  }

  /** Give a failed message up. */
  discard(key: string): void {
    this.#host.outbox.remove(key);
    this.timeline.discard(key);
    this.changes.notify();
  }

  /** The connection is back: what failed for want of it goes again, in order. */
  resend(): void {
    for (const { key, state } of this.timeline.entries()) {
      if (state === "failed" && this.#retryable.has(key)) this.retry(key);
    }
  }

  async #deliver({ key, text }: Pending): Promise<void> {
    try {
      const message = await this.#host.api.send(this.channel, text, key);
      this.#host.outbox.remove(key);
      this.timeline.settle(key, message);
      if (!this.#loaded) this.timeline.clear();
      this.#seen(message);
      this.#host.heard(this, message);
    } catch (error) {
      const reason = explain(error);
      if (reason.retry) this.#retryable.add(key);
      else this.#retryable.delete(key);
      this.timeline.fail(key, reason.title);
      this.#host.unsent(this, reason);
    }
    this.changes.notify();
  }

  async #snapshot(afresh: boolean): Promise<Snapshot<MessagePage>> {
    const { api } = this.#host;
    let after = afresh ? undefined : this.timeline.last?.seq;
    for (let page = 0; after !== undefined && page < FILL_PAGES; page += 1) {
      const filled = await api.messages(this.channel, { after, limit: FILL_PAGE });
      this.timeline.add(filled.data.messages);
      if (!filled.data.more) return this.#known(filled);
      after = filled.data.messages.at(-1)?.seq;
    }
    const newest = await api.messages(this.channel, { limit: PAGE });
    this.timeline.clear();
    this.timeline.add(newest.data.messages);
    this.more = newest.data.more;
    return this.#known(newest);
  }

  #known(snapshot: Snapshot<MessagePage>): Snapshot<MessagePage> {
    const last = snapshot.data.messages.at(-1);
    if (last !== undefined) this.#seen(last);
    return snapshot;
  }

  #seen({ seq }: Message): void {
    this.lastSeq = Math.max(this.lastSeq, seq);
  }

  #subscribed(verdict: SubscriptionEvents["subscribed"]["verdict"]): void {
    this.roster.forgetPresence();
    if (verdict !== "recovered") this.#outdated();
    if (!this.#open) return;
    // Later in this turn: a gap that was found with it is told next, and says more.
    queueMicrotask(() => void this.load());
    void this.#askPresence();
  }

  #gap(reset: boolean): void {
    this.#outdated();
    if (reset) this.#void = true;
    if (this.#open) void this.load();
    // A room that nobody looks at needs nothing that it missed: opening it loads a snapshot.
    else this.#subscription.dismissGap();
  }

  /** The next snapshot decides; one that is under way may be too old. */
  #outdated(): void {
    this.#stale = true;
    this.#again = this.#held !== null;
  }

  #receive(event: StreamEvent): void {
    if (event.offset === undefined) {
      this.#applyTyping(event);
      return;
    }
    if (event.name === "message.created") this.#seen(event.data);
    if (this.#held !== null) this.#held.push(event);
    // What comes while the snapshot is void is in the next one.
    else if (!this.#stale) this.#apply(event);
    else if (event.name === "message.created") this.#host.heard(this, event.data);
    this.changes.notify();
  }

  #apply(event: StreamEvent): void {
    if (event.name === "message.created") {
      const message = event.data;
      this.typists.stopped(message.user);
      if (event.key !== undefined) this.#host.outbox.remove(event.key);
      if (this.timeline.hear(message, event.key)) this.#host.heard(this, message);
    } else if (event.name === "member.joined") {
      this.roster.joined(event.data.user, event.time);
    } else if (event.name === "member.left") {
      this.roster.left(event.data.user);
    }
  }

  #applyTyping(event: StreamEvent): void {
    if (event.name !== "typing.started" && event.name !== "typing.stopped") return;
    const { user } = event.data;
    if (user === this.#host.user) return;
    if (event.name === "typing.started") this.typists.started(user);
    else this.typists.stopped(user);
  }

  #presence({ members, joined, left, revision }: SubscriptionEvents["presence"]): void {
    if (members !== undefined) this.roster.present(members, revision);
    else this.roster.presenceChanged(joined, left, revision);
    this.changes.notify();
  }

  async #askPresence(): Promise<void> {
    try {
      const { members, revision } = await this.#host.client.presence(this.channel);
      this.roster.present(members, revision);
      this.changes.notify();
    } catch {
      // The connection went; the next subscription asks again.
    }
  }
}
