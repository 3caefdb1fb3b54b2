import { describe, expect, it } from "vitest";
import { connected, offsets, outcome, record } from "./fake_server.js";
import { pass, settle, useFakeTime } from "./time.js";

useFakeTime();

/** A client that listens to chat:a up to 64 and was told to move within 30 s. */
async function moving(): Promise<ReturnType<typeof connected> & { seen: (number | undefined)[] }> {
  const all = connected();
  const subscription = all.client.subscribe("chat:a");
  all.peer.admit("chat:a", 64);
  const seen = offsets(subscription);
  all.peer.say({ type: "move", after: 30 });
  return { ...all, seen };
}

describe("move", () => {
  it("opens a second connection at a random moment within the time, and stays connected", async () => {
    const { server, client, peer } = connected();
    const moves = record(client, "move");
    const states = record(client, "state");
    const welcomes = record(client, "connected");
    peer.say({ type: "move", after: 30 });
    peer.say({ type: "move", after: 30 });
    expect(moves).toEqual([{ type: "move", after: 30 }]);
    await pass(12_499);
    server.peer(1);
    await pass(1);
    server.peer(2).accept().welcome({ session: "s-2" });
    expect(peer.closedBy?.code).toBe(1000);
    expect(states).toEqual([]);
    expect(welcomes).toMatchObject([{ session: "s-2" }]);
    expect(client.session).toBe("s-2");
  });

  it("switches channel by channel, by offset, without loss or double (MOVE-2)", async () => {
    const { server, peer, seen } = await moving();
    await pass(12_500);
    peer.events("chat:a", 65);
    const next = server.peer(2).accept();
    expect(next.welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 65 } });
    peer.events("chat:a", 66, 67);
    next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 66 });
    expect(peer.open).toBe(false);
    next.events("chat:a", 66, 67, 68);
    expect(seen).toEqual([65, 66, 67, 68]);
  });

  it("hears ephemeral events on one of the two only", async () => {
    const { server, client, peer } = await moving();
    const other = client.subscribe("chat:b");
    peer.admit("chat:b", 1);
    const events = record(client.subscribe("chat:a"), "event");
    await pass(12_500);
    const next = server.peer(2).accept();
    next.welcome();
    const typing = { type: "event", channel: "chat:a", name: "typing.started", data: {}, time: 1 } as const;
    peer.say(typing);
    next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 64 });
    expect(peer.open).toBe(true);
    peer.say(typing);
    next.say(typing);
    expect(events).toHaveLength(2);
    next.say({ type: "unsubscribed", channel: "chat:b", code: "forbidden", message: "No." });
    expect(other.state).toBe("unsubscribed");
    expect(peer.open).toBe(false);
  });

  it("goes by the new connection even where the old one still answers", async () => {
    const { server, client, peer } = connected();
    void client.call("a.b", {}, { key: null, timeout: 60 }).catch(() => undefined);
    const subscription = client.subscribe("chat:a");
    peer.take("call");
    const { id } = peer.take("subscribe");
    peer.say({ type: "move", after: 30 });
    await pass(5_000);
    expect(subscription.state).toBe("subscribing");
    await pass(5_000);
    await pass(2_500);
    const next = server.peer(2).accept();
    next.welcome();
    peer.say({ type: "subscribed", id, channel: "chat:a", verdict: "new", epoch: "e1", offset: 4 });
    expect(subscription.state).toBe("subscribing");
    next.admit("chat:a", 6);
    expect(subscription.position?.offset).toBe(6);
  });

  it("waits for the answers on the old connection; new calls go to the new one (MOVE-1, MOVE-3)", async () => {
    const { server, client, peer } = connected();
    const old = outcome(client.call("a.b", "old", { timeout: 60 }));
    const { id } = peer.take("call");
    peer.say({ type: "move", after: 30 });
    await pass(12_500);
    const next = server.peer(2).accept();
    next.welcome();
    void client.call("a.b", "new").catch(() => undefined);
    expect(next.take("call").data).toBe("new");
    expect(peer.open).toBe(true);
    peer.say({ type: "reply", id, data: "done" });
    await settle();
    expect(old.value).toBe("done");
    expect(peer.closedBy?.code).toBe(1000);
    expect(next.inbox).toEqual([]);
  });

  it("repeats open calls on the new connection when the time is over, and closes the old one", async () => {
    const { server, client, peer } = connected();
    const keyed = outcome(client.call("a.b", "keyed", { timeout: 60 }));
    const keyless = outcome(client.call("a.b", "keyless", { timeout: 60, key: null }));
    const first = peer.take("call");
    peer.take("call");
    peer.say({ type: "move", after: 30 });
    await pass(12_500);
    const next = server.peer(2).accept();
    next.welcome();
    await pass(17_500);
    expect(peer.closedBy?.code).toBe(1000);
    expect(next.take("call")).toEqual(first);
    expect(next.inbox).toEqual([]);
    expect(keyless.error).toMatchObject({ code: "unavailable", outcome: "unknown" });
    next.say({ type: "reply", id: first.id, data: 1 });
    await settle();
    expect(keyed.value).toBe(1);
  });

  it("repeats them also when the server closes first (MOVE-4)", async () => {
    const { server, client, peer } = connected();
    void client.call("a.b", "keyed", { timeout: 60 }).catch(() => undefined);
    peer.say({ type: "move", after: 30 });
    await pass(12_500);
    const next = server.peer(2).accept();
    next.welcome();
    const states = record(client, "state");
    peer.end(4000);
    expect(next.take("call").data).toBe("keyed");
    expect(states).toEqual([]);
  });

  it("becomes an ordinary reconnect when the old connection ends before the new one is there", async () => {
    const { server, client, peer, seen } = await moving();
    await pass(12_500);
    const next = server.peer(2);
    peer.end(4000);
    expect(client.state).toBe("connecting");
    next.accept().welcome();
    expect(client.state).toBe("connected");
    next.say({ type: "subscribed", channel: "chat:a", verdict: "recovered", epoch: "e1", offset: 65 });
    next.events("chat:a", 65);
    expect(seen).toEqual([65]);
    await pass(30_000);
    server.peer(2);
  });

  it("tries again when the new connection fails, and the old one works on", async () => {
    const { server, client, peer, seen } = await moving();
    await pass(12_500);
    server.peer(2).end();
    peer.events("chat:a", 65);
    expect(client.state).toBe("connected");
    await pass(250);
    server.peer(3).accept().welcome();
    expect(seen).toEqual([65]);
  });

  it("does not end the client when the new connection is refused for good", async () => {
    const { server, client, peer } = await moving();
    await pass(12_500);
    server.peer(2).end(4502, "Too many.");
    expect(client.state).toBe("connected");
    await pass(10_000);
    server.peer(2);
    peer.end(4000);
    await pass(250);
    server.peer(3).accept().welcome();
    expect(client.state).toBe("connected");
  });
});
