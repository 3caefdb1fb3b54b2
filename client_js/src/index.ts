/** `@backchannel/client`: ask and listen over one WebSocket. */

export type { Backoff } from "./backoff.js";
export {
  type Answer,
  Client,
  type ClientEvents,
  type PresenceList,
} from "./client.js";
export type { Codec, Message } from "./codec.js";
export type { Reason } from "./connection.js";
export type { ClientState, StateChange } from "./connector.js";
export type {
  Arguments,
  ChannelEvent,
  ChannelName,
  CodeOf,
  Contract,
  DataOf,
  EventName,
  EventOf,
  HistoryPage,
  LoggedEvent,
  NamespaceContract,
  PresenceChannelName,
  ReplyOf,
  RequestContract,
  RequestName,
} from "./contract.js";
export type { Off } from "./emitter.js";
export { BackchannelError, ConnectionClosed, QueueOverflow, Refused, type RefusedOptions } from "./errors.js";
export type {
  CallOptions,
  ClientOptions,
  HistoryOptions,
  PublishOptions,
  SubscribeOptions,
  WaitOptions,
} from "./options.js";
export type { PageEvents } from "./page.js";
export type { Gap } from "./position.js";
export type {
  ClientInfo,
  ConnectedFrame,
  ErrorCode,
  GapReason,
  HistoryEvent,
  HistoryReply,
  Limits,
  Member,
  MoveFrame,
  Outcome,
  Position,
  PublishReply,
  Verdict,
} from "./protocol.gen.js";
export type {
  PresenceChange,
  Subscribed,
  Subscription,
  SubscriptionEvents,
  SubscriptionState,
  Unsubscribed,
} from "./subscription.js";
export type { Timers } from "./timers.js";
export type { TokenOption } from "./token.js";
export type { WebSocketConstructor, WebSocketLike } from "./transport.js";
