// @vitest-environment happy-dom

import { act, createElement, type FunctionComponent, StrictMode } from "react";
import { createRoot, hydrateRoot, type Root } from "react-dom/client";
import { renderToString } from "react-dom/server";
import { afterEach, beforeAll, describe, expect, expectTypeOf, it } from "vitest";
import type { ChannelEvent, Client } from "../src/index.js";
import { type ChannelView, useChannel, useConnection, usePresence, useSubscription } from "../src/react.js";
import { connected, type Peer } from "./fake_server.js";
import type { Contract, Message, TypingStarted } from "./shop_contract.js";
import { settle, useFakeTime } from "./time.js";

useFakeTime();

beforeAll(() => {
  (globalThis as { IS_REACT_ACT_ENVIRONMENT?: boolean }).IS_REACT_ACT_ENVIRONMENT = true;
});

let root: Root | undefined;

afterEach(async () => {
  await act(async () => root?.unmount());
  root = undefined;
});

/** Render a hook under strict mode; what it gave last is in `result.current`. */
async function rendered<R>(hook: () => R): Promise<{ result: { current: R }; again(): Promise<void> }> {
  const result = { current: undefined as R };
  const Component: FunctionComponent = () => {
    result.current = hook();
    return null;
  };
  const made = createRoot(document.createElement("div"));
  root = made;
  const again = () => act(async () => made.render(createElement(StrictMode, null, createElement(Component))));
  await again();
  return { result, again };
}

/** Take the question who is there, and answer it. */
function tellPresence(peer: Peer, revision: number, ...users: readonly string[]): void {
  const { id, channel } = peer.take("presence");
  const members = users.map((user) => ({ user, since: 1 }));
  peer.say({ type: "presence", id, channel, revision, members, count: members.length });
}

const offsets = ({ events }: ChannelView) => events.map(({ offset }) => offset);

describe("useConnection", () => {
  it("tells the state, with its reason and the wait", async () => {
    const { server, client, peer } = connected();
    const { result } = await rendered(() => useConnection(client));
    expect(result.current).toEqual({ state: "connected" });
    await act(async () => peer.end(1006, "Gone."));
    expect(result.current).toEqual({
      state: "connecting",
      reason: { code: 1006, message: "Gone." },
      retryIn: 250,
    });
    await act(async () => client.reconnect());
    await act(async () => void server.peer(2).accept().welcome());
    expect(result.current).toEqual({ state: "connected" });
  });
});

describe("useSubscription", () => {
  it("subscribes once under strict mode, whatever is rendered, and lets go at the end", async () => {
    const { client, peer } = connected();
    const heard: unknown[] = [];
    const { result, again } = await rendered(() =>
      // A new function at each rendering.
      useSubscription(client, "chat:a", { onEvent: ({ offset }) => heard.push(offset) }),
    );
    expect(result.current).toEqual({ state: "subscribing" });
    await act(async () => void peer.admit("chat:a", 3));
    expect(result.current).toEqual({ state: "subscribed", verdict: "new" });
    await again();
    await act(async () => void peer.events("chat:a", 4, 5));
    expect(heard).toEqual([4, 5]);
    expect(peer.inbox).toEqual([]);
    await act(async () => root?.unmount());
    expect(peer.take("unsubscribe").channel).toBe("chat:a");
    expect(peer.inbox).toEqual([]);
    peer.events("chat:a", 6);
    expect(heard).toEqual([4, 5]);
  });

  it("shares a subscription, and leaves it to whoever else has it", async () => {
    const { client, peer } = connected();
    const kept = client.subscribe("chat:a");
    peer.admit("chat:a");
    await rendered(() => [useSubscription(client, "chat:a"), useSubscription(client, "chat:a")]);
    await act(async () => root?.unmount());
    await settle();
    expect(peer.inbox).toEqual([]);
    expect(kept.state).toBe("subscribed");
    void kept.unsubscribe();
    peer.take("unsubscribe");
  });

  it("follows the channel that it is given, or none", async () => {
    const { client, peer } = connected();
    let channel: string | null = "chat:a";
    const { result, again } = await rendered(() => useSubscription(client, channel));
    await act(async () => void peer.admit("chat:a"));
    channel = "chat:b";
    await again();
    expect(result.current).toEqual({ state: "subscribing" });
    // In either order: both are the wish of one rendering.
    expect(peer.inbox.map((frame) => [frame.type, "channel" in frame && frame.channel]).sort()).toEqual([
      ["subscribe", "chat:b"],
      ["unsubscribe", "chat:a"],
    ]);
    peer.inbox.length = 0;
    channel = null;
    await again();
    expect(result.current).toEqual({ state: "unsubscribed" });
    peer.take("unsubscribe");
    expect(peer.inbox).toEqual([]);
  });

  it("tells gaps, presence and the server's refusal", async () => {
    const { client, peer } = connected();
    const told: unknown[] = [];
    const { result } = await rendered(() =>
      useSubscription(client, "chat:a", {
        onGap: (gap, subscription) => told.push([gap.from, gap.to, subscription.channel]),
        onPresence: ({ joined }) => told.push(joined[0]?.user),
      }),
    );
    await act(async () => {
      peer.admit("chat:a", 3);
      peer.say({ type: "gap", channel: "chat:a", epoch: "e1", from: 3, to: 6, reason: "slow" });
      peer.say({ type: "presence", channel: "chat:a", revision: 1, joined: [{ user: "bob", since: 1 }] });
      peer.say({ type: "unsubscribed", channel: "chat:a", code: "forbidden", message: "Out." });
    });
    expect(told).toEqual([[3, 6, "chat:a"], "bob"]);
    expect(result.current).toMatchObject({
      state: "unsubscribed",
      refused: { code: "forbidden", message: "Out." },
    });
  });
});

describe("useChannel", () => {
  it("keeps the newest events, in offset order, late ones in their place", async () => {
    const { client, peer } = connected();
    const { result } = await rendered(() => useChannel(client, "chat:a", { limit: 4 }));
    expect(result.current).toEqual({ state: "subscribing", events: [] });
    await act(async () => {
      peer.admit("chat:a", 3);
      peer.events("chat:a", 4, 5);
    });
    expect(result.current).toMatchObject({ state: "subscribed", verdict: "new" });
    expect(offsets(result.current)).toEqual([4, 5]);
    await act(async () => {
      peer.say({ type: "gap", channel: "chat:a", epoch: "e1", from: 5, to: 7, reason: "slow" });
      peer.events("chat:a", 8, 6);
      peer.say({ type: "event", channel: "chat:a", name: "typing.started", data: {}, time: 1 });
    });
    expect(result.current.gap).toMatchObject({ from: 5, to: 7 });
    expect(offsets(result.current)).toEqual([5, 6, 8, undefined]);
    await act(async () => {
      peer.events("chat:a", 7, 9);
    });
    expect(offsets(result.current)).toEqual([7, 8, undefined, 9]);
  });

  it("begins anew after a reset", async () => {
    const { client, peer } = connected();
    const { result } = await rendered(() => useChannel(client, "chat:a"));
    await act(async () => {
      peer.admit("chat:a", 3);
      peer.events("chat:a", 4);
      peer.say({ type: "gap", channel: "chat:a", epoch: "e2", from: 0, to: 0, reason: "reset" });
      peer.events("chat:a", 1);
    });
    expect(offsets(result.current)).toEqual([1]);
  });

  it("knows the events of the contract", () => {
    const hook = (client: Client<Contract>) => useChannel(client, "chat:a");
    expectTypeOf(hook).returns.toEqualTypeOf<
      ChannelView<ChannelEvent<"message.created", Message> | ChannelEvent<"typing.started", TypingStarted>>
    >();
    // @ts-expect-error: no such namespace
    const wrong = (client: Client<Contract>) => useChannel(client, "chta:a");
    // @ts-expect-error: this namespace keeps no presence
    const absent = (client: Client<Contract>) => usePresence(client, "metrics:host");
    expect([hook, wrong, absent]).toHaveLength(3);
  });
});

describe("usePresence", () => {
  it("knows who is there: asks once listening, applies changes, and asks again after a hole", async () => {
    const { server, client, peer } = connected();
    const { result } = await rendered(() => usePresence(client, "chat:a"));
    const users = () => result.current.members.map(({ user }) => user);
    expect(result.current).toEqual({ members: [], count: 0 });
    await act(async () => void peer.admit("chat:a"));
    await act(async () => tellPresence(peer, 5, "alice", "bob"));
    expect([users(), result.current.count]).toEqual([["alice", "bob"], 2]);
    const at = { type: "presence", channel: "chat:a" } as const;
    await act(async () => {
      peer.say({ ...at, revision: 6, joined: [{ user: "carol", since: 2 }], count: 3 });
      peer.say({ ...at, revision: 6, joined: [{ user: "mallory", since: 2 }], count: 9 });
      peer.say({ ...at, revision: 7, left: ["bob"], joined: [{ user: "alice", since: 3 }], count: 2 });
    });
    expect([users(), result.current.count]).toEqual([["carol", "alice"], 2]);
    await act(async () => void peer.say({ ...at, revision: 9, left: ["alice"], count: 1 }));
    await act(async () => tellPresence(peer, 9, "carol"));
    expect(users()).toEqual(["carol"]);
    await act(async () => void peer.say({ ...at, revision: 2, members: [], count: 4000 }));
    expect(result.current).toEqual({ members: [], count: 4000 });
    await act(async () => peer.end());
    await act(async () => client.reconnect());
    const next = server.peer(2).accept();
    await act(async () => {
      next.welcome();
      next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 0 });
    });
    await act(async () => tellPresence(next, 1, "dave"));
    expect(users()).toEqual(["dave"]);
  });

  it("tells where there is none to have", async () => {
    const { client, peer } = connected();
    const { result } = await rendered(() => usePresence(client, "chat:a"));
    await act(async () => void peer.admit("chat:a"));
    const { id } = peer.take("presence");
    await act(
      async () =>
        void peer.say({
          type: "error",
          id,
          code: "invalid",
          message: "No presence.",
          retry: false,
          outcome: "none",
        }),
    );
    expect(result.current).toMatchObject({ members: [], count: 0, error: { code: "invalid" } });
  });
});

describe("on a server", () => {
  it("renders without a subscription, and the browser takes over from the same markup", async () => {
    const { client, peer } = connected();
    const Page: FunctionComponent = () => {
      const { state } = useConnection(client);
      const chat = useChannel(client, "chat:a");
      const { count } = usePresence(client, "chat:a");
      return createElement("p", null, `${state} ${chat.state} ${chat.events.length} ${count}`);
    };
    const page = createElement(StrictMode, null, createElement(Page));
    const html = renderToString(page);
    expect(html).toBe("<p>disconnected unsubscribed 0 0</p>");
    expect(peer.inbox).toEqual([]);
    const container = document.createElement("div");
    container.innerHTML = html;
    const errors: unknown[] = [];
    await act(async () => {
      root = hydrateRoot(container, page, { onRecoverableError: (error) => errors.push(error) });
    });
    expect(errors).toEqual([]);
    await act(async () => void peer.admit("chat:a"));
    await act(async () => tellPresence(peer, 1));
    expect(peer.inbox).toEqual([]);
    expect(container.textContent).toBe("connected subscribed 0 0");
  });
});
