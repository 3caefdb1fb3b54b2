/**
 * `@backchannel/client/react`: hooks on `useSyncExternalStore`.
 *
 * Each takes the client, which the app makes once and connects. What a hook subscribes it lets go of when the
 * component is gone; components that use the same channel share one subscription. On a server nothing is
 * subscribed: the first rendering in the browser starts from the same values.
 */

import { useCallback, useEffect, useMemo, useRef, useSyncExternalStore } from "react";
import type { Client } from "./client.js";
import type { StateChange } from "./connector.js";
import type { ChannelEvent, ChannelName, Contract, EventOf, PresenceChannelName } from "./contract.js";
import type { Off } from "./emitter.js";
import type { Gap } from "./position.js";
import type { Member, Verdict } from "./protocol.gen.js";
import type { PresenceChange, Subscription, SubscriptionState, Unsubscribed } from "./subscription.js";

const EVENTS = 100;
const DISCONNECTED: StateChange = { state: "disconnected" };

/** The connection's state, with the reason and the milliseconds until the next attempt that came with it. */
export function useConnection(client: Pick<Client, "on" | "status">): StateChange {
  return useSyncExternalStore(
    useCallback((changed: () => void) => client.on("state", changed), [client]),
    () => client.status,
    () => DISCONNECTED,
  );
}

/** How a subscription stands. */
export interface SubscriptionStatus {
  readonly state: SubscriptionState;
  /** How it started, the last time it did. */
  readonly verdict?: Verdict;
  /** Why the server ended or refused it. */
  readonly refused?: Unsubscribed;
}

/** What to call, if anything, while the component is there. */
export interface ChannelListeners<E extends ChannelEvent = ChannelEvent> {
  /** An event of the channel, in offset order, none twice. */
  readonly onEvent?: (event: E) => void;
  /** Events are missing: load a snapshot, then call `subscription.dismissGap()`. */
  readonly onGap?: (gap: Gap, subscription: Subscription<E>) => void;
  readonly onPresence?: (change: PresenceChange) => void;
}

const IDLE: SubscriptionStatus = { state: "unsubscribed" };

/**
 * Listen to a channel while the component is there, and be told its events. The listeners may be other
 * functions at each rendering. Without a channel (`null`) nothing is subscribed.
 */
export function useSubscription<C extends Contract, Channel extends string>(
  client: Client<C>,
  channel: ChannelName<C, Channel> | null,
  listeners: ChannelListeners<EventOf<C, Channel>> = {},
): SubscriptionStatus {
  const latest = useRef(listeners);
  useEffect(() => {
    latest.current = listeners;
  });
  return useStore(client, channel, IDLE, (subscription: Subscription<EventOf<C, Channel>>, update) => [
    ...followState(subscription, update),
    subscription.on("event", (event) => latest.current.onEvent?.(event)),
    subscription.on("gap", (gap) => latest.current.onGap?.(gap, subscription)),
    subscription.on("presence", (change) => latest.current.onPresence?.(change)),
  ]);
}

/** What a component has heard of a channel. */
export interface ChannelView<E extends ChannelEvent = ChannelEvent> extends SubscriptionStatus {
  /** The newest events since the component is there, in offset order. */
  readonly events: readonly E[];
  /** Events are missing before those that follow. */
  readonly gap?: Gap;
}

const SILENT: ChannelView<never> = { state: "unsubscribed", events: [] };

/**
 * Listen to a channel while the component is there, and keep its newest events: `limit` of them, 100 by
 * default. After a gap with the reason `reset` the list begins anew.
 */
export function useChannel<C extends Contract, Channel extends string>(
  client: Client<C>,
  channel: ChannelName<C, Channel> | null,
  { limit = EVENTS }: { readonly limit?: number } = {},
): ChannelView<EventOf<C, Channel>> {
  type E = EventOf<C, Channel>;
  const most = useRef(limit);
  useEffect(() => {
    most.current = limit;
  });
  const first: ChannelView<E> = SILENT;
  return useStore(client, channel, first, (subscription: Subscription<E>, update) => [
    ...followState(subscription, update),
    subscription.on("event", (event) =>
      update((view) => ({ ...view, events: inOrder(view.events, event).slice(-most.current) })),
    ),
    subscription.on("gap", (gap) =>
      update((view) => ({ ...view, gap, events: gap.reason === "reset" ? [] : view.events })),
    ),
  ]);
}

/** Who is on a channel. */
export interface Presence {
  readonly members: readonly Member[];
  /** How many; a crowded channel may tell the number alone. */
  readonly count: number;
  /** The list could not be had: the channel keeps no presence, for one. */
  readonly error?: Error;
}

const NOBODY: Presence = { members: [], count: 0 };

/** Listen to a channel while the component is there, and know who else does. */
export function usePresence<C extends Contract, Channel extends string>(
  client: Client<C>,
  channel: PresenceChannelName<C, Channel> | null,
): Presence {
  return useStore(client, channel, NOBODY, (subscription: Subscription, update) => {
    let revision = -1;
    let on = true;
    const replace = (members: readonly Member[], change: { count: number; revision: number }): void => {
      revision = change.revision;
      update(() => ({ members, count: change.count }));
    };
    const ask = (): void => {
      // A name that is a `string` to the contract is any of its channels.
      client.presence(subscription.channel as PresenceChannelName<C, string>).then(
        (list) => on && replace(list.members, list),
        (error: unknown) => {
          // Without a subscription there is nothing to ask for: the next one asks anew.
          if (on && error instanceof Error && subscription.state === "subscribed")
            update((old) => ({ ...old, error }));
        },
      );
    };
    const change = ({ joined, left, members, ...told }: PresenceChange): void => {
      if (members !== undefined) replace(members, told);
      else if (told.revision === revision + 1) {
        revision = told.revision;
        update((old) => ({ members: changed(old.members, joined, left), count: told.count }));
      } else if (told.revision > revision) ask();
    };
    if (subscription.state === "subscribed") ask();
    return [
      subscription.on("subscribed", ask),
      subscription.on("presence", change),
      () => {
        on = false;
      },
    ];
  });
}

type Update<S> = (next: (old: S) => S) => void;

/** A subscription as an external store, from the first rendering in a browser to the last. */
function useStore<C extends Contract, E extends ChannelEvent, S>(
  client: Client<C>,
  channel: string | null,
  first: S,
  follow: (subscription: Subscription<E>, update: Update<S>) => readonly Off[],
): S {
  // biome-ignore lint/correctness/useExhaustiveDependencies: `first` and `follow` are the same at each rendering but for their identity
  const store = useMemo(() => {
    let snapshot = first;
    return {
      subscribe(changed: () => void): Off {
        if (channel === null) return () => undefined;
        snapshot = first;
        const subscription = client.subscribe(channel as ChannelName<C, string>) as Subscription<E>;
        const offs = follow(subscription, (next) => {
          snapshot = next(snapshot);
          changed();
        });
        return () => {
          for (const off of offs) off();
          // Whoever takes over in this turn, such as the same component in strict mode, finds it running.
          queueMicrotask(() => void subscription.unsubscribe());
        };
      },
      snapshot: () => snapshot,
    };
  }, [client, channel]);
  return useSyncExternalStore(store.subscribe, store.snapshot, () => first);
}

function followState<E extends ChannelEvent, S extends SubscriptionStatus>(
  subscription: Subscription<E>,
  update: Update<S>,
): readonly Off[] {
  const take = (): void => {
    const { state, verdict } = subscription;
    update(({ refused: _, ...old }) => ({
      ...(old as S),
      state,
      ...(verdict === undefined ? {} : { verdict }),
    }));
  };
  take();
  return [
    subscription.on("state", take),
    subscription.on("subscribed", take),
    subscription.on("unsubscribed", (refused) => update((old) => ({ ...old, refused }))),
  ];
}

/** With one more event: at the end, or, if it fills a gap, in its place. */
function inOrder<E extends ChannelEvent>(events: readonly E[], event: E): readonly E[] {
  const { offset } = event;
  if (offset === undefined) return [...events, event];
  const before = events.findLastIndex((other) => other.offset !== undefined && other.offset < offset);
  const last = events.findLastIndex((other) => other.offset !== undefined);
  return before === last ? [...events, event] : events.toSpliced(before + 1, 0, event);
}

function changed(
  members: readonly Member[],
  joined: readonly Member[],
  left: readonly string[],
): readonly Member[] {
  const gone = new Set([...left, ...joined.map(({ user }) => user)]);
  return [...members.filter(({ user }) => !gone.has(user)), ...joined];
}
