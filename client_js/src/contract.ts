/**
 * The types of an app's own contract, and what follows from them: `new Client<ShopContract>(…)` checks the names
 * and data of everything that is asked, published and listened to, and knows the types of what comes back.
 *
 * `backchannel schema typescript shop:app` writes a module with these types; by hand it is as well done. It
 * has an interface per struct and, with an entry per declaration, one named after the app, of this shape:
 *
 *     export interface ShopContract {
 *       commands: {
 *         "message.send": { data: SendMessage; reply: Message; errors: "frozen" | "too_late" };
 *       };
 *       queries: {
 *         "message.list": { data: ListMessages; reply: MessagePage; errors: never };
 *       };
 *       events: {
 *         "message.created": MessageCreated;
 *         "typing.started": TypingStarted;
 *       };
 *       namespaces: {
 *         chat: { kind: "durable"; presence: true };
 *         metrics: { kind: "live"; presence: false; events: "metrics.sampled" };
 *       };
 *     }
 *
 * - `data` is what is sent: fields with a default are optional. `reply` is what comes back: fields that the
 *   server may leave out are optional.
 * - `errors` are the app's own codes, as declared; `never` where there are none. The protocol's are not listed.
 * - `events` of a namespace names the events of its channels. Without it they may be any of the app's.
 * - Types only: the module has no code, and a server that is newer than it may send events that it does not know.
 */

import type { ErrorCode, EventFrame, HistoryEvent, HistoryReply } from "./protocol.gen.js";

/** A command or a query. */
export interface RequestContract {
  readonly data: unknown;
  readonly reply: unknown;
  /** The app's own error codes. */
  readonly errors: string;
}

/** All channels `name:…`. */
export interface NamespaceContract {
  readonly kind: "durable" | "live" | "ephemeral";
  readonly presence: boolean;
  /** The names of the events on its channels; any of the app's if absent. */
  readonly events?: string;
}

/** What an app understands. As it stands here it knows no name, so that every name is taken untyped. */
export interface Contract {
  readonly commands: Readonly<Record<string, RequestContract>>;
  readonly queries: Readonly<Record<string, RequestContract>>;
  readonly events: Readonly<Record<string, unknown>>;
  readonly namespaces: Readonly<Record<string, NamespaceContract>>;
}

// Requests

/** The names of the commands and queries. */
export type RequestName<C extends Contract> = (keyof C["commands"] | keyof C["queries"]) & string;

type RequestOf<C extends Contract, Name> = Name extends keyof C["commands"]
  ? C["commands"][Name]
  : Name extends keyof C["queries"]
    ? C["queries"][Name]
    : never;

/** What is sent with a command or query. */
export type DataOf<C extends Contract, Name extends RequestName<C>> = RequestOf<C, Name>["data"];

/** What comes back. Without a contract it is what the caller believes: `Otherwise`. */
export type ReplyOf<C extends Contract, Name extends RequestName<C>, Otherwise = unknown> =
  string extends RequestName<C> ? Otherwise : RequestOf<C, Name>["reply"];

/** The codes that a command or query may be refused with: `error as Refused<CodeOf<Contract, "message.send">>`. */
export type CodeOf<C extends Contract, Name extends RequestName<C>> =
  | ErrorCode
  | RequestOf<C, Name>["errors"];

/** What follows the name in a call: the data, which may be left out where every field has a default. */
export type Arguments<C extends Contract, Name extends RequestName<C>, Options> =
  Record<never, never> extends DataOf<C, Name>
    ? [data?: DataOf<C, Name>, options?: Options]
    : [data: DataOf<C, Name>, options?: Options];

// Channels and events

/** The namespaces that keep presence. */
type WithPresence<C extends Contract> = {
  [Name in keyof C["namespaces"]]: C["namespaces"][Name] extends { readonly presence: false } ? never : Name;
}[keyof C["namespaces"]];

/** The channels of some namespaces. */
type ChannelIn<Namespaces> = Namespaces extends string
  ? string extends Namespaces
    ? string
    : `${Namespaces}:${string}`
  : never;

/**
 * The channels of the app, and each user's own. A channel that is known to be a `string` only, because it came
 * with some data, is taken for one of them.
 */
export type ChannelName<C extends Contract, Channel extends string = never> = string extends Channel
  ? string
  : ChannelIn<keyof C["namespaces"]> | `user:${string}`;

/** As `ChannelName`, for those that tell who is there. */
export type PresenceChannelName<C extends Contract, Channel extends string = never> = string extends Channel
  ? string
  : ChannelIn<WithPresence<C>>;

type NamespaceOf<C extends Contract, Channel extends string> = Channel extends `${infer Name}:${string}`
  ? Name extends keyof C["namespaces"]
    ? C["namespaces"][Name]
    : unknown
  : unknown;

/** The names of the events on a channel. */
export type EventName<C extends Contract, Channel extends string = string> = (NamespaceOf<
  C,
  Channel
> extends { readonly events: infer Names }
  ? Names & keyof C["events"]
  : keyof C["events"]) &
  string;

/** A typed thing that happened on a channel. */
export interface ChannelEvent<Name extends string = string, Data = unknown> extends EventFrame {
  readonly name: Name;
  readonly data: Data;
  readonly time: number;
}

/** Everything that may happen on a channel: `event.name` tells which it is, and so the type of `event.data`. */
export type EventOf<C extends Contract, Channel extends string = string> = {
  [Name in EventName<C, Channel>]: ChannelEvent<Name, C["events"][Name]>;
}[EventName<C, Channel>];

/** One event in a page of a channel's log. */
export type LoggedEvent<E extends ChannelEvent = ChannelEvent> = E extends unknown
  ? HistoryEvent & Pick<E, "name" | "data">
  : never;

/** A page of a channel's log, in rising offset order. */
export interface HistoryPage<E extends ChannelEvent = ChannelEvent> extends Omit<HistoryReply, "events"> {
  readonly events: readonly LoggedEvent<E>[];
}
