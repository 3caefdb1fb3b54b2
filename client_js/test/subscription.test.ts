import { describe, expect, it } from "vitest";
import { Refused } from "../src/index.js";
import { connected, FakeServer, LIMITS, offsets, outcome, record } from "./fake_server.js";
import { expectNoTimers, pass, settle, useFakeTime } from "./time.js";

useFakeTime();

describe("subscribing", () => {
  it("asks the server, and knows where it stands", async () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const states = record(subscription, "state");
    const starts = record(subscription, "subscribed");
    expect([subscription.state, subscription.position, subscription.verdict]).toEqual([
      "subscribing",
      undefined,
      undefined,
    ]);
    const frame = peer.admit("chat:a", 41);
    expect(frame).not.toHaveProperty("since");
    const start = { verdict: "new", epoch: "e1", offset: 41 };
    await expect(subscription.ready()).resolves.toEqual(start);
    expect(starts).toEqual([start]);
    expect(states).toEqual([{ state: "subscribed" }]);
    expect(subscription.position).toEqual({ epoch: "e1", offset: 41 });
    expect(subscription.verdict).toBe("new");
  });

  it("gives events as they came, in order, none at or below the position (EVENT-1)", () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const events = record(subscription, "event");
    peer.admit("chat:a", 41);
    peer.events("chat:a", 41, 42, 42, 43);
    peer.say({
      type: "event",
      channel: "chat:a",
      name: "message.created",
      data: 1,
      offset: 44,
      user: "bob",
      key: "k2345678",
      subject: "s",
      time: 5,
    });
    expect(events.map((event) => event.offset)).toEqual([42, 43, 44]);
    expect(events.at(-1)).toMatchObject({
      channel: "chat:a",
      name: "message.created",
      data: 1,
      user: "bob",
      key: "k2345678",
      subject: "s",
      time: 5,
    });
    expect(subscription.position?.offset).toBe(44);
  });

  it("passes ephemeral events on, which move no position (EVENT-2)", () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const events = record(subscription, "event");
    peer.admit("chat:a", 5);
    const frame = { type: "event", channel: "chat:a", name: "typing.started", data: {}, time: 1 } as const;
    peer.say(frame, frame);
    expect(events).toHaveLength(2);
    expect(subscription.position?.offset).toBe(5);
  });

  it("starts from the position that the app gives", () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a", { since: { epoch: "e1", offset: 7 } });
    const seen = offsets(subscription);
    expect(peer.admit("chat:a", 9).since).toEqual({ epoch: "e1", offset: 7 });
    peer.events("chat:a", 8, 9, 10);
    expect(seen).toEqual([8, 9, 10]);
  });

  it("shares one subscription and tells the server when the last has let go", async () => {
    const { client, peer } = connected();
    const one = client.subscribe("chat:a");
    const other = client.subscribe("chat:a");
    expect(other).toBe(one);
    peer.admit("chat:a");
    expect(peer.inbox).toEqual([]);
    await one.unsubscribe();
    expect(peer.inbox).toEqual([]);
    expect(one.state).toBe("subscribed");
    const done = outcome(one.unsubscribe());
    const { id, channel } = peer.take("unsubscribe");
    expect(channel).toBe("chat:a");
    expect(one.state).toBe("unsubscribed");
    await settle();
    expect(done).toEqual({});
    peer.say({ type: "reply", id, data: { channel } });
    await settle();
    expect(done).toHaveProperty("value");
    await one.unsubscribe();
    expect(peer.inbox).toEqual([]);
    expect(client.subscribe("chat:a")).not.toBe(one);
    peer.admit("chat:a");
    client.close();
    expectNoTimers();
  });

  it("drops what still comes after unsubscribe (UNSUB-2), and takes no old answer for a new one", () => {
    const { client, peer } = connected();
    const first = client.subscribe("chat:a");
    const { id } = peer.take("subscribe");
    void first.unsubscribe();
    peer.take("unsubscribe");
    const second = client.subscribe("chat:a");
    const seen = offsets(second);
    peer.say({ type: "subscribed", id, channel: "chat:a", verdict: "new", epoch: "e1", offset: 1 });
    peer.events("chat:a", 2);
    expect(second.state).toBe("subscribing");
    peer.admit("chat:a", 3);
    peer.events("chat:a", 4);
    expect(seen).toEqual([4]);
  });

  it("subscribes when there is a connection, channels before calls", () => {
    const server = new FakeServer();
    const client = server.client();
    void client.history("chat:a").catch(() => undefined);
    client.subscribe("chat:a");
    client.connect();
    const peer = server.peer(1).accept();
    expect(peer.welcome()).not.toHaveProperty("resume");
    peer.take("subscribe");
    peer.take("history");
  });

  it("takes over what the server subscribed by itself, with its position (CONN-21)", async () => {
    const { server, client, peer } = connected();
    peer.say({ type: "subscribed", channel: "user:alice", verdict: "new", epoch: "e1", offset: 17 });
    peer.events("user:alice", 18);
    const own = client.subscribe("user:alice");
    expect(peer.inbox).toEqual([]);
    expect(own.state).toBe("subscribed");
    expect(own.position).toEqual({ epoch: "e1", offset: 18 });
    await expect(own.ready()).resolves.toMatchObject({ verdict: "new" });
    const seen = offsets(own);
    peer.events("user:alice", 18, 19);
    expect(seen).toEqual([19]);
    peer.end();
    await pass(250);
    expect(server.peer(2).accept().welcome().resume).toEqual({ "user:alice": { epoch: "e1", offset: 19 } });
  });

  it("forgets a channel that only the server wanted when the server ends it", async () => {
    const { server, peer } = connected();
    peer.say({ type: "subscribed", channel: "user:alice", verdict: "new", epoch: "e1", offset: 17 });
    peer.say({ type: "unsubscribed", channel: "user:alice", code: "forbidden", message: "Gone." });
    peer.end();
    await pass(250);
    expect(server.peer(2).accept().welcome()).not.toHaveProperty("resume");
  });
});

describe("refusals", () => {
  it("tells a final refusal once, asks no more by itself, but again when the app does", async () => {
    const { server, client, peer } = connected();
    const subscription = client.subscribe("chat:secret");
    const ends = record(subscription, "unsubscribed");
    const ready = outcome(subscription.ready());
    const { id } = peer.take("subscribe");
    peer.say({ type: "error", id, code: "forbidden", message: "No.", retry: false, outcome: "none" });
    await settle();
    expect(ends).toEqual([{ code: "forbidden", message: "No." }]);
    expect(ready.error).toBeInstanceOf(Refused);
    expect(subscription.state).toBe("unsubscribed");
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    expect(next.inbox).toEqual([]);
    expect(client.subscribe("chat:secret")).toBe(subscription);
    next.admit("chat:secret");
    expect(subscription.state).toBe("subscribed");
  });

  it.each(["forbidden", "not_found"])("ends with a right that ends: %s (UNSUB-10)", async (code) => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const ends = record(subscription, "unsubscribed");
    const seen = offsets(subscription);
    peer.admit("chat:a", 1);
    peer.events("chat:a", 2).say({ type: "unsubscribed", channel: "chat:a", code, message: "Over." });
    peer.events("chat:a", 3);
    await pass(60_000);
    expect(seen).toEqual([2]);
    expect(ends).toEqual([{ code, message: "Over." }]);
    expect(peer.inbox.filter((frame) => frame.type === "subscribe")).toEqual([]);
  });

  it.each(["unavailable", "internal"])("asks again with backoff, from its position: %s", async (code) => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const ends = record(subscription, "unsubscribed");
    peer.admit("chat:a", 4);
    peer.say({ type: "unsubscribed", channel: "chat:a", code, message: "Try later." });
    expect(subscription.state).toBe("subscribing");
    await pass(249);
    expect(peer.inbox).toEqual([]);
    await pass(1);
    const { id } = peer.take("subscribe");
    peer.say({
      type: "error",
      id,
      code,
      message: "Try later.",
      retry: true,
      outcome: "none",
      retry_after: 2,
    });
    await pass(1_999);
    expect(peer.inbox).toEqual([]);
    await pass(1);
    expect(peer.admit("chat:a", 4).since).toEqual({ epoch: "e1", offset: 4 });
    expect(subscription.state).toBe("subscribed");
    expect(ends).toEqual([]);
  });

  it("does not ask again on a connection that is gone", () => {
    const { client, peer } = connected();
    client.subscribe("chat:a");
    peer.admit("chat:a");
    peer.say({ type: "unsubscribed", channel: "chat:a", code: "unavailable", message: "Later." });
    client.disconnect();
    expectNoTimers();
  });

  it("asks again when the answer does not come", async () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    peer.take("subscribe");
    await pass(10_250);
    peer.admit("chat:a");
    expect(subscription.state).toBe("subscribed");
  });
});

describe("resuming", () => {
  it("goes on after a loss with every verdict (SUB-10 to SUB-13)", async () => {
    const { server, client, peer } = connected();
    const names = ["lobby", "team", "host", "secret"] as const;
    const subscriptions = Object.fromEntries(
      names.map((name) => [name, client.subscribe(`chat:${name}`)]),
    ) as Record<(typeof names)[number], ReturnType<typeof client.subscribe>>;
    const typing = client.subscribe("typing:a");
    for (const name of names) peer.admit(`chat:${name}`, 5);
    peer.admit("typing:a", 0, "");
    const seen = offsets(subscriptions.lobby);
    const gaps = names.flatMap((name) => record(subscriptions[name], "gap"));
    const teamGaps = record(subscriptions.team, "gap");
    const hostGaps = record(subscriptions.host, "gap");
    const ends = record(subscriptions.secret, "unsubscribed");
    peer.events("chat:lobby", 6);
    peer.end();
    expect(subscriptions.lobby.state).toBe("subscribing");
    await pass(250);
    const next = server.peer(2).accept();
    expect(next.welcome().resume).toEqual({
      "chat:lobby": { epoch: "e1", offset: 6 },
      "chat:team": { epoch: "e1", offset: 5 },
      "chat:host": { epoch: "e1", offset: 5 },
      "chat:secret": { epoch: "e1", offset: 5 },
    });
    expect(next.admit("typing:a", 0, "")).not.toHaveProperty("since");
    expect(typing.state).toBe("subscribed");
    next.say({ type: "subscribed", channel: "chat:lobby", verdict: "recovered", epoch: "e1", offset: 8 });
    next.events("chat:lobby", 7, 8, 9);
    next.say({ type: "subscribed", channel: "chat:team", verdict: "gap", epoch: "e1", offset: 1904 });
    next.say({ type: "subscribed", channel: "chat:host", verdict: "gap", epoch: "e2", offset: 3 });
    next.say({ type: "unsubscribed", channel: "chat:secret", code: "forbidden", message: "No." });
    expect(seen).toEqual([6, 7, 8, 9]);
    expect(teamGaps).toEqual([{ from: 5, to: 1904, epoch: "e1", reason: "trimmed" }]);
    expect(hostGaps).toEqual([{ from: 0, to: 3, epoch: "e2", reason: "reset" }]);
    expect(gaps).toEqual([]);
    expect(ends).toHaveLength(1);
    expect(subscriptions.team.position).toEqual({ epoch: "e1", offset: 1904 });
    expect(subscriptions.lobby.verdict).toBe("recovered");
  });

  it("resumes from a gap's start until it is dismissed, and delivers what fills it once (GAP-2)", async () => {
    const { server, client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const seen = offsets(subscription);
    const gaps = record(subscription, "gap");
    peer.admit("chat:a", 10);
    peer.say({ type: "gap", channel: "chat:a", epoch: "e1", from: 10, to: 12, reason: "slow" });
    peer.events("chat:a", 13);
    expect(gaps).toEqual([{ from: 10, to: 12, epoch: "e1", reason: "slow" }]);
    expect(subscription.position?.offset).toBe(13);
    peer.end();
    await pass(250);
    const second = server.peer(2).accept();
    expect(second.welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 10 } });
    second.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 13 });
    second.events("chat:a", 11);
    subscription.dismissGap();
    second.events("chat:a", 12, 13, 14);
    expect(seen).toEqual([13, 11, 14]);
    second.end();
    await pass(500);
    expect(server.peer(3).accept().welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 14 } });
  });

  it("lets go of what was unsubscribed while the resume was under way", async () => {
    const { server, client, peer } = connected();
    const subscription = client.subscribe("chat:a", { since: { epoch: "e1", offset: 1 } });
    peer.admit("chat:a", 1);
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    void subscription.unsubscribe();
    next.take("unsubscribe");
    next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 1 });
    next.take("unsubscribe");
  });

  it("subscribes what has no room in `connect`", async () => {
    const server = new FakeServer();
    const client = server.client();
    const since = { epoch: "e1", offset: 1 };
    for (let n = 0; n < 6; n++) client.subscribe(`chat:${n}`, { since });
    client.connect();
    const peer = server.peer(1).accept();
    expect(Object.keys(peer.welcome({ limits: { ...LIMITS, channels: 4 } }).resume ?? {})).toHaveLength(6);
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    expect(Object.keys(next.welcome().resume ?? {})).toHaveLength(4);
    expect(next.take("subscribe")).toMatchObject({ channel: "chat:4", since });
    expect(next.take("subscribe")).toMatchObject({ channel: "chat:5", since });
  });
});

describe("presence", () => {
  it("tells changes and whole lists", () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    const changes = record(subscription, "presence");
    peer.admit("chat:a");
    const carol = { user: "carol", since: 1 };
    peer.say(
      { type: "presence", channel: "chat:a", revision: 8, joined: [carol], count: 3 },
      { type: "presence", channel: "chat:a", revision: 9, left: ["bob"] },
      { type: "presence", channel: "chat:a", revision: 12, members: [carol], count: 1 },
    );
    expect(changes).toEqual([
      { joined: [carol], left: [], count: 3, revision: 8 },
      { joined: [], left: ["bob"], count: 0, revision: 9 },
      { joined: [], left: [], count: 1, revision: 12, members: [carol] },
    ]);
  });

  it("is answered on request, and the answer is no change", async () => {
    const { client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    peer.admit("chat:a");
    const changes = record(subscription, "presence");
    const asked = client.presence("chat:a");
    const { id } = peer.take("presence");
    peer.say({ type: "presence", id, channel: "chat:a", revision: 4 });
    await expect(asked).resolves.toEqual({ members: [], count: 0, revision: 4 });
    expect(changes).toEqual([]);
  });
});
