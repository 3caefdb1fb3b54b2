import { describe, expect, it, vi } from "vitest";
import { Client, type ClientOptions, ConnectionClosed, Refused } from "../src/index.js";
import type { ServerFrame } from "../src/protocol.gen.js";
import { connected, FakeServer, LIMITS, outcome, record } from "./fake_server.js";
import { expectNoTimers, pass, settle, useFakeTime } from "./time.js";

useFakeTime();

describe("connecting", () => {
  it("does nothing before connect(), and connects once however often it is called", () => {
    const server = new FakeServer();
    const client = server.client({ client: { name: "test", version: "1" }, token: "t1" });
    expect(server.peers).toHaveLength(0);
    expect(client.state).toBe("disconnected");
    client.connect();
    client.connect();
    const peer = server.peer(1).accept();
    expect(client.state).toBe("connecting");
    expect(peer.url).toBe("ws://server/ws");
    expect(peer.protocols).toEqual(["backchannel.v1.json"]);
    expect(peer.take("connect")).toEqual({
      type: "connect",
      id: 1,
      token: "t1",
      client: { name: "test", version: "1" },
    });
  });

  it("knows user, session and limits once connected, and tells", async () => {
    const server = new FakeServer();
    const client = server.client();
    const states = record(client, "state");
    const welcomes = record(client, "connected");
    expect([client.user, client.session, client.limits]).toEqual([undefined, undefined, undefined]);
    const ready = outcome(client.ready());
    client.connect();
    server.peer(1).accept().welcome({ session: "s-9", user: "bob" });
    await settle();
    expect(ready).toHaveProperty("value");
    expect([client.user, client.session, client.limits]).toEqual(["bob", "s-9", LIMITS]);
    expect(states).toEqual([{ state: "connecting" }, { state: "connected" }]);
    expect(welcomes).toMatchObject([{ session: "s-9" }]);
    await client.ready();
  });

  it("refuses an address that is none, and a platform without WebSocket, with the cure", () => {
    expect(() => new Client("http://server/ws")).toThrow(/ws:\/\//);
    vi.stubGlobal("WebSocket", undefined);
    expect(() => new Client("ws://server/ws")).toThrow(/pass one/);
    vi.unstubAllGlobals();
  });

  it("comes back after a loss with full jitter, and says why and when", async () => {
    const { server, client, peer } = connected();
    const states = record(client, "state");
    peer.end(1006);
    expect(states).toEqual([
      { state: "connecting", reason: { code: 1006, message: expect.any(String) }, retryIn: 250 },
    ]);
    await pass(249);
    server.peer(1);
    await pass(1);
    server.peer(2).accept().welcome();
    expect(states.slice(1)).toEqual([{ state: "connecting" }, { state: "connected" }]);
  });

  it("waits longer with each failure, and anew only after a connection that stayed up", async () => {
    const server = new FakeServer();
    const client = server.client();
    const waits: (number | undefined)[] = [];
    client.on("state", ({ retryIn }) => {
      if (retryIn !== undefined) waits.push(retryIn);
    });
    client.connect();
    for (let attempt = 1; attempt <= 8; attempt++) {
      server.peer(attempt).end();
      await pass(10_000);
    }
    expect(waits).toEqual([250, 500, 1000, 2000, 4000, 8000, 10_000, 10_000]);
    const short = server.peer(9).accept();
    short.welcome();
    await pass(9_999);
    short.end();
    expect(waits.at(-1)).toBe(10_000);
    await pass(10_000);
    const long = server.peer(10).accept();
    long.welcome();
    await pass(10_000);
    long.end();
    expect(waits.at(-1)).toBe(250);
  });

  it("gives an attempt up that is not answered in time", async () => {
    const server = new FakeServer();
    const client = server.client();
    client.connect();
    const peer = server.peer(1).accept();
    await pass(10_000);
    expect(peer.closedBy).toBeDefined();
    await pass(250);
    server.peer(2).accept().welcome();
    expect(client.state).toBe("connected");
  });

  it("waits as long as a refusing server asks, when trying again can help", async () => {
    const server = new FakeServer();
    const client = server.client();
    const states = record(client, "state");
    client.connect();
    const peer = server.peer(1).accept();
    const { id } = peer.take("connect");
    peer.say({
      type: "error",
      id,
      code: "unavailable",
      message: "Not now.",
      retry: true,
      outcome: "none",
      retry_after: 3,
    });
    expect(states.at(-1)).toEqual({
      state: "connecting",
      reason: { code: "unavailable", message: "Not now." },
      retryIn: 3250,
    });
  });

  it("stops at a refusal where trying again cannot help", async () => {
    const server = new FakeServer();
    const client = server.client({ token: "t" });
    const ready = outcome(client.ready());
    client.connect();
    const peer = server.peer(1).accept();
    const { id } = peer.take("connect");
    peer.say({
      type: "error",
      id,
      code: "limit_exceeded",
      message: "Too many.",
      retry: false,
      outcome: "none",
    });
    await settle();
    expect(client.state).toBe("disconnected");
    expect(ready.error).toMatchObject({ name: "ConnectionClosed", code: "limit_exceeded" });
    expectNoTimers();
  });

  it("leaves nothing behind after disconnect(), and may connect again", async () => {
    const { server, client, peer } = connected();
    const states = record(client, "state");
    client.disconnect();
    expect(peer.closedBy?.code).toBe(1000);
    expect(states).toEqual([{ state: "disconnected" }]);
    expectNoTimers();
    client.connect();
    server.peer(2).accept().welcome();
    expect(client.state).toBe("connected");
  });

  it("cancels a wait for the next attempt by disconnect()", async () => {
    const { server, client, peer } = connected();
    peer.end();
    client.disconnect();
    await pass(60_000);
    server.peer(1);
  });

  it("lets a listener disconnect at once", () => {
    const server = new FakeServer();
    const client = server.client();
    client.on("state", ({ state }) => {
      if (state === "connecting") client.disconnect();
    });
    client.connect();
    expect(server.peers).toHaveLength(0);
    expect(client.state).toBe("disconnected");
    expectNoTimers();
  });

  it("survives a connection that is refused, with a WebSocket that would end the process", async () => {
    const server = new FakeServer();
    const client = server.client();
    const states = record(client, "state");
    client.connect();
    server.peer(1).refuse();
    expect(states.at(-1)).toMatchObject({ state: "connecting", reason: { code: 1006 }, retryIn: 250 });
    await pass(250);
    server.peer(2).accept().welcome();
    expect(client.state).toBe("connected");
  });

  it("takes the WebSocket of a browser or of Node as it is", () => {
    const options: ClientOptions = { WebSocket: globalThis.WebSocket };
    expect(Object.keys(options)).toEqual(["WebSocket"]);
  });

  it("is over after close(): nothing can be asked or waited for", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("message.send"));
    const ready = client.subscribe("chat:a").ready();
    const refused = outcome(ready);
    client.close();
    client.close();
    await settle();
    expect(peer.closedBy?.code).toBe(1000);
    expect(call.error).toMatchObject({ name: "ConnectionClosed", outcome: "unknown" });
    expect(refused.error).toBeInstanceOf(ConnectionClosed);
    await expect(client.ready()).rejects.toBeInstanceOf(ConnectionClosed);
    await expect(client.call("x.y")).rejects.toBeInstanceOf(ConnectionClosed);
    expect(() => client.connect()).toThrow(ConnectionClosed);
    expect(() => client.subscribe("chat:a")).toThrow(ConnectionClosed);
    expectNoTimers();
  });
});

describe("frames", () => {
  it("ignores what a newer server may send (ENC-12)", () => {
    const { client, peer } = connected();
    const errors = record(client, "error");
    peer.say({ type: "weather", sky: "blue" } as unknown as ServerFrame);
    peer.say({ type: "reply", id: 999, data: null });
    peer.events("chat:unknown", 1);
    expect(client.state).toBe("connected");
    expect(errors).toEqual([]);
  });

  it("tells an error that answers no request", () => {
    const { client, peer } = connected();
    const errors = record(client, "error");
    peer.say({ type: "error", code: "invalid", message: "What?", retry: false, outcome: "none" });
    expect(errors[0]).toBeInstanceOf(Refused);
  });

  it.each(["{", "[1]", "null", new ArrayBuffer(2)])(
    "reconnects on what cannot be read, for it may have been an event: %o",
    async (message) => {
      const { server, client, peer } = connected();
      const errors = record(client, "error");
      peer.sayRaw(message);
      expect(errors).toHaveLength(1);
      expect(peer.open).toBe(false);
      await pass(250);
      server.peer(2);
      expect(client.state).toBe("connecting");
    },
  );
});

describe("silence", () => {
  it("answers each ping at once (PING-1)", () => {
    const { peer } = connected();
    peer.say({ type: "ping" }, { type: "ping" });
    expect(peer.inbox).toEqual([{ type: "pong" }, { type: "pong" }]);
  });

  it("takes silence past ping + grace for death, and every frame for a sign of life (PING-2)", async () => {
    const { server, client, peer } = connected();
    const states = record(client, "state");
    await pass(34_000);
    peer.events("chat:x", 1);
    await pass(34_999);
    expect(peer.open).toBe(true);
    await pass(1);
    expect(peer.closedBy?.code).toBe(4002);
    expect(states[0]).toMatchObject({ state: "connecting", reason: { code: 4002 } });
    await pass(250);
    server.peer(2).accept().welcome();
    expect(client.state).toBe("connected");
  });
});

describe("final closes", () => {
  it.each([4501, 4502, 4999])("does not come back after %i (CONN-13)", async (code) => {
    const { server, client, peer } = connected();
    const states = record(client, "state");
    const call = outcome(client.call("message.send"));
    peer.end(code, "Go away.");
    const reason = { code, message: "Go away." };
    expect(states).toEqual([{ state: "disconnected", reason }]);
    await expect(client.ready()).rejects.toMatchObject({ name: "ConnectionClosed", ...reason });
    await expect(client.call("message.send")).rejects.toMatchObject({ code });
    expect(call.error).toMatchObject({ name: "ConnectionClosed", outcome: "unknown" });
    await pass(60_000);
    server.peer(1);
    expectNoTimers();
  });

  it.each([1000, 1001, 1011, 4000, 4001, 4004, 4006, 4499])("comes back after %i", async (code) => {
    const { server, client, peer } = connected();
    peer.end(code);
    expect(client.state).toBe("connecting");
    await pass(250);
    server.peer(2);
  });

  it("may be overcome by another connect(), with its subscriptions", async () => {
    const { server, client, peer } = connected();
    const subscription = client.subscribe("chat:a");
    peer.admit("chat:a", 7);
    peer.end(4501, "Banned.");
    await expect(subscription.ready()).rejects.toMatchObject({ code: 4501 });
    client.connect();
    const next = server.peer(2).accept();
    expect(next.welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 7 } });
    next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 7 });
    await expect(subscription.ready()).resolves.toMatchObject({ verdict: "recovered" });
  });
});
