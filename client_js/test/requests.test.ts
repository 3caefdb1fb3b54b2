import { describe, expect, it, vi } from "vitest";
import { type Codec, json } from "../src/codec.js";
import { Refused } from "../src/index.js";
import { msgpack } from "../src/msgpack.js";
import type { ErrorFrame } from "../src/protocol.gen.js";
import { connected, FakeServer, type FrameOf, LIMITS, outcome, type Peer } from "./fake_server.js";
import { expectNoTimers, pass, settle, useFakeTime } from "./time.js";

useFakeTime();

/** What the MessagePack codec makes of a frame, in the text that the fake server reads. */
const binary: Codec = {
  ...json,
  encode: (frame) => JSON.stringify(msgpack.decode((msgpack.encode(frame) as Uint8Array).buffer)),
};

describe("calls", () => {
  it("are answered by id, in any order", async () => {
    const { client, peer } = connected();
    const first = client.call<string>("a.b", { n: 1 });
    const second = client.request<string>("c.d");
    const one = peer.take("call");
    const two = peer.take("call");
    expect(one).toMatchObject({ name: "a.b", data: { n: 1 }, key: expect.stringMatching(/^[0-9a-f]{32}$/) });
    expect(two).toMatchObject({ name: "c.d", data: {} });
    expect(one.key).not.toBe(two.key);
    expect(one).not.toHaveProperty("timeout");
    peer.say({ type: "reply", id: two.id, data: "second", positions: { "chat:a": 7 } });
    peer.say({ type: "reply", id: one.id, data: "first" });
    await expect(first).resolves.toBe("first");
    await expect(second).resolves.toEqual({ data: "second", positions: { "chat:a": 7 } });
  });

  it("are refused with everything that the error says (REQ-4)", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { key: null }));
    const { id } = peer.take("call");
    peer.say({
      type: "error",
      id,
      code: "sold_out",
      message: "None left.",
      retry: true,
      outcome: "unknown",
      details: { left: 0 },
      retry_after: 2,
    });
    await settle();
    expect(call.error).toBeInstanceOf(Refused);
    expect(call.error).toMatchObject({
      code: "sold_out",
      message: "None left.",
      retry: true,
      outcome: "unknown",
      details: { left: 0 },
      retryAfter: 2,
    });
  });

  it("stay unknown where a refusal follows a sending whose answer was lost (CALL-6)", async () => {
    const { server, client, peer } = connected();
    const call = outcome(client.call("message.send", { text: "Tea?" }, { timeout: 1 }));
    peer.take("call");
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    const { id } = next.take("call");
    next.say({
      type: "error",
      id,
      code: "rate_limited",
      message: "Too fast.",
      retry: true,
      outcome: "none",
      retry_after: 5,
    });
    await settle();
    expect(call.error).toMatchObject({ code: "rate_limited", outcome: "unknown" });
    client.close();
  });

  it("are sent again with the same key and the data of then (CALL-6)", async () => {
    const { server, client, peer } = connected();
    const data = { text: "Tea?" };
    const call = client.call("message.send", data);
    const later = client.call("message.send", { text: "Cake?" });
    const first = peer.take("call");
    data.text = "Coffee?";
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    const again = next.take("call");
    expect(again).toEqual(first);
    expect(next.take("call").data).toEqual({ text: "Cake?" });
    next.say({ type: "reply", id: again.id, data: "done" });
    await expect(call).resolves.toBe("done");
    client.close();
    await expect(later).rejects.toThrow();
    expectNoTimers();
  });

  it("wait for a connection, in the order asked, but not for ever", async () => {
    const server = new FakeServer();
    const client = server.client();
    const first = outcome(client.call("a.b", 1, { timeout: 5 }));
    const second = outcome(client.call("a.b", 2));
    await pass(5_000);
    expect(first.error).toMatchObject({ code: "unavailable", retry: true, outcome: "none" });
    client.connect();
    const third = outcome(client.call("a.b", 3));
    const peer = server.peer(1).accept();
    peer.welcome();
    expect([peer.take("call").data, peer.take("call").data]).toEqual([2, 3]);
    expect([second, third]).toEqual([{}, {}]);
  });

  it("without a key are never sent twice: a lost answer leaves their outcome unknown", async () => {
    const { server, client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { key: null }));
    expect(peer.take("call")).not.toHaveProperty("key");
    peer.end();
    await settle();
    expect(call.error).toMatchObject({ code: "unavailable", outcome: "unknown" });
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    expect(next.inbox).toEqual([]);
  });

  it("without a key are sent later if they were not sent yet", () => {
    const server = new FakeServer();
    const client = server.client();
    void client.call("a.b", {}, { key: null }).catch(() => undefined);
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome();
    peer.take("call");
  });

  it("take the app's key", () => {
    const { client, peer } = connected();
    void client.call("a.b", {}, { key: "order-12345" }).catch(() => undefined);
    expect(peer.take("call").key).toBe("order-12345");
  });

  it("give up an attempt after the client's timeout, tell the server, and drop the late answer", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b"));
    const { id } = peer.take("call");
    await pass(9_999);
    expect(call).toEqual({});
    await pass(1);
    expect(call.error).toMatchObject({ code: "unavailable", retry: true, outcome: "unknown" });
    expect(peer.take("cancel")).toEqual({ type: "cancel", id });
    peer.say({ type: "reply", id, data: 1 });
  });

  it("keep their own deadline, over all attempts, and tell it to the server (CALL-4)", async () => {
    const { server, client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { timeout: 20 }));
    expect(peer.take("call").timeout).toBe(20);
    await pass(15_000);
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    next.take("call");
    await pass(4_749);
    expect(call).toEqual({});
    await pass(1);
    expect(call.error).toMatchObject({ code: "unavailable", outcome: "unknown" });
    next.take("cancel");
  });

  it("that were sent once have an unknown outcome, also when they wait for a connection", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { timeout: 3 }));
    peer.end();
    await pass(3_000);
    expect(call.error).toMatchObject({ code: "unavailable", outcome: "unknown" });
  });

  it("are aborted with the signal's reason, and cancelled if they were sent", async () => {
    const { client, peer } = connected();
    const controller = new AbortController();
    const call = outcome(client.call("a.b", {}, { signal: controller.signal }));
    const { id } = peer.take("call");
    const reason = new Error("Never mind.");
    controller.abort(reason);
    expect(peer.take("cancel").id).toBe(id);
    peer.say({ type: "error", id, code: "cancelled", message: "", retry: false, outcome: "unknown" });
    await settle();
    expect(call.error).toBe(reason);
    await expect(client.call("a.b", {}, { signal: controller.signal })).rejects.toBe(reason);
    expect(peer.inbox).toEqual([]);
  });

  it("are not sent at all when aborted before there is a connection", async () => {
    const server = new FakeServer();
    const client = server.client();
    const controller = new AbortController();
    const call = outcome(client.call("a.b", {}, { signal: controller.signal }));
    controller.abort();
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome();
    await settle();
    expect(peer.inbox).toEqual([]);
    expect(call.error).toMatchObject({ name: "AbortError" });
  });

  it("over the frame limit are refused here, for they would cost the connection (LIM-1)", async () => {
    const { client, peer } = connected();
    await expect(client.call("a.b", "é".repeat(32_768))).rejects.toMatchObject({ code: "too_large" });
    expect(peer.inbox).toEqual([]);
  });

  it("that cannot be encoded reject, and harm nothing", async () => {
    const { client, peer } = connected();
    await expect(client.call("a.b", 1n)).rejects.toBeInstanceOf(TypeError);
    expect(peer.inbox).toEqual([]);
    client.close();
    expectNoTimers();
  });

  it.each([Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53, -(2 ** 53)])(
    "with the number %d are refused before anything is sent (ENC-2, ENC-3)",
    async (n) => {
      for (const codec of [json, binary]) {
        const { client, peer } = connected({ codec });
        const call = client.call("a.b", { list: [n] });
        await expect(call).rejects.toBeInstanceOf(Refused);
        await expect(call).rejects.toMatchObject({ code: "invalid", retry: false, outcome: "none" });
        await expect(client.publish("live:a", "a.b", n)).rejects.toMatchObject({ code: "invalid" });
        expect(peer.inbox).toEqual([]);
        client.close();
        expectNoTimers();
      }
    },
  );

  it("wait their turn when as many are open as the server allows (LIM-3)", () => {
    const server = new FakeServer();
    const client = server.client();
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome({ limits: { ...LIMITS, open_requests: 2 } });
    for (let n = 0; n < 4; n++) void client.call("a.b", n).catch(() => undefined);
    const first = peer.take("call");
    peer.take("call");
    expect(peer.inbox).toEqual([]);
    peer.say({ type: "reply", id: first.id, data: 0 });
    expect(peer.take("call").data).toBe(2);
    expect(peer.inbox).toEqual([]);
  });
});

describe("an outcome that is unknown (CALL-6)", () => {
  /** Answer the one open call. */
  function refuse(peer: Peer, fields: Partial<ErrorFrame> = {}): FrameOf<"call"> {
    const frame = peer.take("call");
    const { id } = frame;
    const error = { code: "unavailable", message: "No answer.", retry: true, outcome: "unknown" } as const;
    peer.say({ type: "error", id, ...error, ...fields });
    return frame;
  }

  it.each(["unavailable", "internal", "sold_out"])(
    "is found out with the same key, after a pause that grows: %s",
    async (code) => {
      const { client, peer } = connected();
      const data = { text: "Tea?" };
      const call = client.call("message.send", data);
      const first = refuse(peer, { code, retry_after: 1 });
      data.text = "Coffee?";
      await pass(1_249);
      expect(peer.inbox).toEqual([]);
      await pass(1);
      expect(refuse(peer, { code })).toEqual(first);
      await pass(499);
      expect(peer.inbox).toEqual([]);
      await pass(1);
      const { id } = peer.take("call");
      peer.say({ type: "reply", id, data: "done" });
      await expect(call).resolves.toBe("done");
      client.close();
      expectNoTimers();
    },
  );

  it("is told when the next attempt would be past the deadline", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { timeout: 8 }));
    refuse(peer, { retry_after: 1 });
    await pass(1_250);
    refuse(peer, { retry_after: 6.25, details: "last" });
    await settle();
    expect(call.error).toMatchObject({
      code: "unavailable",
      outcome: "unknown",
      retryAfter: 6.25,
      details: "last",
    });
    await pass(8_000);
    expect(peer.inbox.filter(({ type }) => type !== "pong")).toEqual([]);
  });

  it.each<[string, Partial<ErrorFrame>]>([
    ["nothing happened", { outcome: "none" }],
    ["it cannot succeed later", { retry: false }],
    ["the caller cancelled", { code: "cancelled", retry: false }],
    ["it is refused", { code: "forbidden", retry: false, outcome: "none" }],
  ])("is not sought where %s: that is told at once", async (_why, fields) => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b"));
    refuse(peer, fields);
    await settle();
    expect(call.error).toMatchObject({ code: "unavailable", ...fields });
    await pass(1_000);
    expect(peer.inbox).toEqual([]);
  });

  it("stays so without a key", async () => {
    const { client, peer } = connected();
    const call = outcome(client.call("a.b", {}, { key: null }));
    refuse(peer);
    await settle();
    expect(call.error).toMatchObject({ code: "unavailable", outcome: "unknown" });
    await pass(1_000);
    expect(peer.inbox).toEqual([]);
  });

  it("is found out on the next connection, in order, when this one ends meanwhile", async () => {
    const { server, client, peer } = connected();
    const call = client.call("a.b", 1);
    refuse(peer, { retry_after: 1 });
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome({ limits: { ...LIMITS, open_requests: 1 } });
    const open = client.call("a.b", 2);
    const later = client.call("a.b", 3);
    const second = next.take("call");
    expect(second.data).toBe(2);
    await pass(1_000);
    expect(next.inbox, "one is open, and no more may be").toEqual([]);
    next.say({ type: "reply", id: second.id, data: 2 });
    for (const n of [1, 3]) {
      const frame = next.take("call");
      expect(frame.data).toBe(n);
      next.say({ type: "reply", id: frame.id, data: n });
    }
    await expect(Promise.all([call, open, later])).resolves.toEqual([1, 2, 3]);
  });

  it("lets others go first in the pause", () => {
    const server = new FakeServer();
    const client = server.client();
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome({ limits: { ...LIMITS, open_requests: 1 } });
    void client.call("a.b", 1).catch(() => undefined);
    void client.call("a.b", 2).catch(() => undefined);
    refuse(peer);
    expect(peer.take("call").data).toBe(2);
  });

  it("that nobody seeks any more does not count among the open requests (LIM-3)", async () => {
    const server = new FakeServer();
    const client = server.client();
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome({ limits: { ...LIMITS, open_requests: 1 } });
    const controller = new AbortController();
    const given = outcome(client.call("a.b", 1, { signal: controller.signal }));
    refuse(peer);
    controller.abort();
    for (const n of [2, 3]) void client.call("a.b", n).catch(() => undefined);
    expect(peer.take("call").data).toBe(2);
    await pass(1_000);
    expect(peer.inbox).toEqual([]);
    expect(given.error).toMatchObject({ name: "AbortError" });
  });

  it("ends with the client or the caller's patience, and then nothing is sent", async () => {
    const { client, peer } = connected();
    const controller = new AbortController();
    const reason = new Error("Never mind.");
    const given = outcome(client.call("a.b", 1, { signal: controller.signal }));
    const kept = outcome(client.call("a.b", 2));
    refuse(peer);
    refuse(peer);
    controller.abort(reason);
    await settle();
    expect(given.error).toBe(reason);
    expect(peer.inbox, "there is nothing to cancel").toEqual([]);
    client.close();
    await settle();
    expect(kept.error).toMatchObject({ name: "ConnectionClosed", outcome: "unknown" });
    expectNoTimers();
  });

  it("of a publish and a page of history is found out, too", async () => {
    const { client, peer } = connected();
    const asked = [client.publish("live:a", "a.b", {}), client.history("chat:a")];
    const unknown = { code: "unavailable", message: "", retry: true, outcome: "unknown" } as const;
    const first = [peer.take("publish"), peer.take("history")];
    for (const { id } of first) peer.say({ type: "error", id: id as number, ...unknown });
    await pass(250);
    expect([peer.take("publish"), peer.take("history")]).toEqual(first);
    for (const { id } of first) peer.say({ type: "reply", id: id as number, data: {} });
    await expect(Promise.all(asked)).resolves.toEqual([{}, {}]);
  });
});

describe("other requests", () => {
  it("publish with a key, and learn the position", async () => {
    const { server, client, peer } = connected();
    const publish = client.publish("live:a", "cursor.moved", { x: 1 });
    const first = peer.take("publish");
    expect(first).toMatchObject({ channel: "live:a", name: "cursor.moved", data: { x: 1 } });
    expect(first.key).toMatch(/^[0-9a-f]{32}$/);
    peer.end();
    await pass(250);
    const next = server.peer(2).accept();
    next.welcome();
    const again = next.take("publish");
    expect(again).toEqual(first);
    next.say({ type: "reply", id: again.id as number, data: { epoch: "e1", offset: 3 } });
    await expect(publish).resolves.toEqual({ epoch: "e1", offset: 3 });
  });

  it("read history by pages", async () => {
    const { client, peer } = connected();
    const page = client.history("chat:a", { since: { epoch: "e1", offset: 2 }, limit: 3 });
    const frame = peer.take("history");
    expect(frame).toMatchObject({ channel: "chat:a", since: { epoch: "e1", offset: 2 }, limit: 3 });
    const data = { epoch: "e1", head: 9, first: 1, events: [] };
    peer.say({ type: "reply", id: frame.id, data });
    await expect(page).resolves.toEqual(data);
    void client.history("chat:a").catch(() => undefined);
    expect(peer.take("history").limit).toBe(100);
  });
});

describe("an AbortSignal", () => {
  const reason = new Error("Never mind.");
  const settled = (promise: Promise<unknown>) => outcome(promise);

  it("ends the waiting for whatever was asked, and nothing is heard of a late answer", async () => {
    const { client, peer } = connected();
    const controller = new AbortController();
    const { signal } = controller;
    const asked = [
      client.call("a.b", {}, { signal }),
      client.request("a.b", {}, { signal }),
      client.publish("live:a", "a.happened", {}, { signal }),
      client.history("chat:a", { signal }),
      client.presence("chat:a", { signal }),
    ].map(outcome);
    const ids = ["call", "call", "publish", "history", "presence"].map(
      (type) => peer.take(type as "call").id,
    );
    controller.abort(reason);
    await settle();
    expect(asked).toEqual(asked.map(() => ({ error: reason })));
    // Only a call can be cancelled.
    expect(peer.inbox).toEqual([
      { type: "cancel", id: ids[0] },
      { type: "cancel", id: ids[1] },
    ]);
    for (const id of ids) peer.say({ type: "reply", id, data: {} });
    expect(client.state).toBe("connected");
  });

  it("that is aborted already lets nothing go out", async () => {
    const { client, peer } = connected();
    const signal = AbortSignal.abort(reason);
    for (const asked of [
      client.call("a.b", {}, { signal }),
      client.publish("live:a", "a.happened", {}, { signal }),
      client.history("chat:a", { signal }),
      client.presence("chat:a", { signal }),
    ]) {
      await expect(asked).rejects.toBe(reason);
    }
    expect(peer.inbox).toEqual([]);
  });

  it("ends the waiting for a connection or a subscription, and neither of these", async () => {
    const server = new FakeServer();
    const client = server.client();
    const controller = new AbortController();
    const { signal } = controller;
    const subscription = client.subscribe("chat:a");
    const aborted = [client.ready({ signal }), subscription.ready({ signal })].map(settled);
    const patient = [client.ready(), subscription.ready()].map(settled);
    controller.abort(reason);
    await settle();
    expect(aborted).toEqual([{ error: reason }, { error: reason }]);
    await expect(subscription.ready({ signal })).rejects.toBe(reason);
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome();
    peer.admit("chat:a", 4);
    await settle();
    expect(patient).toMatchObject([{}, { value: { offset: 4 } }]);
  });

  it("keeps no listener once it is settled", async () => {
    const { client, peer } = connected();
    const { signal } = new AbortController();
    const listeners = new Set<unknown>();
    vi.spyOn(signal, "addEventListener").mockImplementation((_type, listener) => listeners.add(listener));
    vi.spyOn(signal, "removeEventListener").mockImplementation((_type, listener) =>
      listeners.delete(listener),
    );
    const call = client.call("a.b", {}, { signal });
    const ready = client.subscribe("chat:a").ready({ signal });
    const refused = outcome(client.subscribe("chat:b").ready({ signal }));
    expect(listeners.size).toBe(3);
    peer.say({ type: "reply", id: peer.take("call").id, data: 1 });
    peer.admit("chat:a");
    peer.say({ type: "unsubscribed", channel: "chat:b", code: "forbidden", message: "No." });
    await Promise.all([call, ready, settle()]);
    expect(refused.error).toMatchObject({ code: "forbidden" });
    expect(listeners.size).toBe(0);
  });
});
