import { describe, expect, it } from "vitest";
import { connected, FakeServer, record } from "./fake_server.js";
import { expectNoTimers, pass, settle, useFakeTime } from "./time.js";

useFakeTime();

/** A provider that counts: t1, t2, … */
function counting(): () => string {
  let count = 0;
  return () => {
    count += 1;
    return `t${count}`;
  };
}

describe("the token provider", () => {
  it("is asked on every connect", async () => {
    const provider = counting();
    const server = new FakeServer();
    const client = server.client({ token: async () => provider() });
    client.connect();
    await settle();
    const first = server.peer(1).accept();
    expect(first.welcome().token).toBe("t1");
    first.end();
    await pass(250);
    expect(server.peer(2).accept().welcome().token).toBe("t2");
  });

  it("may fail: the client tells, and tries again", async () => {
    const server = new FakeServer();
    let broken = true;
    const client = server.client({
      token: () => {
        if (broken) throw new Error("No network.");
        return "t";
      },
    });
    const errors = record(client, "error");
    client.connect();
    expect(errors).toMatchObject([{ message: "No network." }]);
    broken = false;
    await pass(250);
    expect(server.peer(1).accept().welcome().token).toBe("t");
  });

  it("that comes too late opens nothing", async () => {
    const server = new FakeServer();
    let give: (token: string) => void = () => undefined;
    const client = server.client({
      token: () =>
        new Promise<string>((resolve) => {
          give = resolve;
        }),
    });
    client.connect();
    client.disconnect();
    give("late");
    await settle();
    expect(server.peers).toHaveLength(0);
  });

  it("is asked once more when the token is refused, by code or by error (CLOSE-2)", async () => {
    const server = new FakeServer();
    const client = server.client({ token: counting() });
    client.connect();
    const first = server.peer(1).accept();
    const { id } = first.take("connect");
    first.say({
      type: "error",
      id,
      code: "unauthenticated",
      message: "Expired.",
      retry: false,
      outcome: "none",
    });
    await settle();
    const second = server.peer(2).accept();
    expect(second.take("connect").token).toBe("t2");
    second.end(4500, "Expired.");
    await pass(60_000);
    server.peer(2);
    expect(client.state).toBe("disconnected");
    await expect(client.ready()).rejects.toMatchObject({ code: 4500 });
  });

  it("is asked again after a later refusal, once the connection had stayed up", async () => {
    const server = new FakeServer();
    const client = server.client({ token: counting() });
    client.connect();
    for (const count of [1, 2, 3]) {
      const peer = server.peer(count).accept();
      peer.welcome();
      await pass(20_000);
      peer.end(4500);
      await settle();
    }
    server.peer(4);
  });

  it("cannot help where the token is a string", () => {
    const { client, peer } = connected({ token: "t" });
    peer.end(4500, "No.");
    expect(client.state).toBe("disconnected");
  });

  it("is asked at once when the token expired (4005), but not in a circle", async () => {
    const { server, client, peer } = connected({ token: counting() });
    const states = record(client, "state");
    await pass(20_000);
    peer.end(4005, "Expired.");
    expect(states[0]).toMatchObject({ state: "connecting", retryIn: 0 });
    await settle();
    const next = server.peer(2).accept();
    expect(next.welcome().token).toBe("t2");
    next.end(4005, "Expired.");
    expect(states.at(-1)?.retryIn).toBe(500);
  });
});

describe("refreshing", () => {
  it("happens before the token expires, by the server's clock, again and again (CONN-25)", async () => {
    const server = new FakeServer();
    const client = server.client({ token: counting() });
    client.connect();
    const peer = server.peer(1).accept();
    const time = Date.now() + 5_000_000;
    peer.welcome({ time, expires: time + 300_000, ping: 10_000 });
    await pass(269_999);
    expect(peer.inbox).toEqual([]);
    await pass(1);
    const first = peer.take("refresh");
    expect(first.token).toBe("t2");
    peer.say({ type: "reply", id: first.id, data: { expires: time + 270_000 + 100_000 } });
    await pass(80_000);
    const second = peer.take("refresh");
    expect(second.token).toBe("t3");
    peer.say({ type: "reply", id: second.id, data: {} });
    await settle();
    client.close();
    expectNoTimers();
  });

  it("is tried again when it is refused (REFRESH-2)", async () => {
    const server = new FakeServer();
    const client = server.client({ token: counting() });
    const errors = record(client, "error");
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome({ expires: Date.now() + 300_000, ping: 10_000 });
    await pass(270_000);
    const { id } = peer.take("refresh");
    peer.say({ type: "error", id, code: "unavailable", message: "Later.", retry: true, outcome: "none" });
    await pass(5_000);
    expect(errors).toMatchObject([{ code: "unavailable" }]);
    expect(peer.take("refresh").token).toBe("t3");
    expect(client.state).toBe("connected");
  });

  it("stops with the connection", async () => {
    const server = new FakeServer();
    let asked = 0;
    const client = server.client({
      token: () => {
        asked += 1;
        return "t";
      },
    });
    client.connect();
    const peer = server.peer(1).accept();
    peer.welcome({ expires: Date.now() + 300_000 });
    client.disconnect();
    expectNoTimers();
    await pass(300_000);
    expect(asked).toBe(1);
  });
});

describe("a guest", () => {
  it("uses the token that it was given on every later connection, also on one that it moves to", async () => {
    const { server, client, peer } = connected();
    expect(peer.inbox).toEqual([]);
    peer.end();
    await pass(250);
    const second = server.peer(2).accept();
    expect(second.welcome({ user: "guest-1", token: "g1" })).not.toHaveProperty("token");
    // Only a fresh guest is given a token; the ones after keep it.
    for (const count of [3, 4]) {
      server.peer(count - 1).end();
      await pass(2_000);
      expect(server.peer(count).accept().welcome({ user: "guest-1" }).token).toBe("g1");
    }
    server.peer(4).say({ type: "move", after: 30 });
    await pass(12_500);
    expect(server.peer(5).accept().welcome().token).toBe("g1");
    client.disconnect();
    client.connect();
    expect(server.peer(6).accept().welcome().token).toBe("g1");
  });

  it("whose token is refused comes back as another guest, but does not insist", async () => {
    const server = new FakeServer();
    const client = server.client();
    client.connect();
    const first = server.peer(1).accept();
    first.welcome({ token: "g1", user: "guest-1" });
    await pass(20_000);
    first.end(4005, "Expired.");
    await settle();
    const second = server.peer(2).accept();
    expect(second.take("connect").token).toBe("g1");
    second.end(4500, "Expired.");
    await settle();
    const third = server.peer(3).accept();
    expect(third.take("connect")).not.toHaveProperty("token");
    third.end(4500, "No guests here.");
    await pass(60_000);
    server.peer(3);
    expect(client.state).toBe("disconnected");
  });
});
