import { describe, expect, it, vi } from "vitest";
import type { PageEvents } from "../src/index.js";
import { platformPage } from "../src/page.js";
import { connected, FakeServer, type Peer, record } from "./fake_server.js";
import { expectNoTimers, pass, settle, useFakeTime } from "./time.js";

useFakeTime();

/** A window whose events a test fires. */
class Page implements PageEvents {
  visible = true;
  readonly listeners = new Map<string, Set<() => void>>();

  addEventListener(type: string, listener: () => void): void {
    this.listeners.set(type, (this.listeners.get(type) ?? new Set()).add(listener));
  }

  removeEventListener(type: string, listener: () => void): void {
    this.listeners.get(type)?.delete(listener);
  }

  fire(type: string): void {
    for (const listener of this.listeners.get(type) ?? []) listener();
  }

  /** The tab goes into the background, or comes back. */
  show(visible: boolean): void {
    this.visible = visible;
    this.fire("visibilitychange");
  }
}

/** A connected client on a page. */
function onPage(): ReturnType<typeof connected> & { page: Page } {
  const page = new Page();
  return { ...connected({ page }), page };
}

/** Take the question for a sign of life, and answer it. */
function answerProbe(peer: Peer): void {
  const { id, channel } = peer.take("unsubscribe");
  peer.say({ type: "reply", id, data: { channel } });
}

describe("a page that is left", () => {
  it("is left in quiet: no report, no new connection", async () => {
    const { server, client, peer, page } = onPage();
    const states = record(client, "state");
    const errors = record(client, "error");
    page.fire("pagehide");
    peer.end(1001);
    await pass(60_000);
    server.peer(1);
    expect([states, errors]).toEqual([[], []]);
    expect(client.state).toBe("connecting");
    for (const type of ["online", "offline", "visibilitychange"]) page.fire(type);
    server.peer(1);
    expectNoTimers();
  });

  it("comes back out of the browser's cache: the client connects and resumes", async () => {
    const { server, client, peer, page } = onPage();
    client.subscribe("chat:a");
    peer.admit("chat:a", 3);
    page.fire("pagehide");
    peer.end(1001);
    page.fire("pageshow");
    expect(client.state).toBe("connecting");
    const next = server.peer(2).accept();
    expect(next.welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 3 } });
  });

  it("comes back with a connection that still looks open: that is asked", async () => {
    const { server, peer, page } = onPage();
    page.fire("pagehide");
    page.fire("pageshow");
    peer.take("unsubscribe");
    await pass(3_250);
    server.peer(2);
  });

  it("does not connect a client that wants no connection", () => {
    const page = new Page();
    const server = new FakeServer();
    const client = server.client({ page });
    for (const type of ["pageshow", "online", "offline", "visibilitychange", "pagehide", "pageshow"])
      page.fire(type);
    expect(server.peers).toHaveLength(0);
    client.close();
    expect([...page.listeners.values()].every((set) => set.size === 0)).toBe(true);
  });
});

describe("the network", () => {
  it("is said to be gone: a connection that is really lost is known to be within seconds", async () => {
    const { server, client, peer, page } = onPage();
    const states = record(client, "state");
    page.fire("offline");
    await pass(2_999);
    expect(states).toEqual([]);
    await pass(1);
    expect(states).toMatchObject([{ state: "connecting", reason: { code: 4002 } }]);
    expect(peer.closedBy?.code).toBe(4002);
    await pass(250);
    server.peer(2);
  });

  it("is said to be gone, but the server still answers: nothing is lost or told", async () => {
    const { server, client, peer, page } = onPage();
    const states = record(client, "state");
    const errors = record(client, "error");
    page.fire("offline");
    page.fire("offline");
    answerProbe(peer);
    await pass(30_000);
    peer.say({ type: "ping" });
    peer.take("pong");
    page.fire("offline");
    answerProbe(peer);
    await pass(34_999);
    server.peer(1);
    expect([states, errors, peer.inbox]).toEqual([[], [], []]);
    await pass(1);
    expect(states).toHaveLength(1);
  });

  it("brings events, but the answer lags behind them: that is a sign of life, as long as it lasts", async () => {
    const { client, peer, page } = onPage();
    page.fire("offline");
    await pass(2_000);
    peer.events("chat:x", 1);
    await pass(2_999);
    expect(client.state).toBe("connected");
    await pass(1);
    expect(client.state).toBe("connecting");
  });

  it("is back: a wait is cut short, and the backoff begins anew", async () => {
    const { server, client, peer, page } = onPage();
    const states = record(client, "state");
    peer.end();
    for (let attempt = 2; attempt < 7; attempt++) {
      await pass(states.at(-1)?.retryIn ?? 0);
      server.peer(attempt).end();
    }
    expect(states.at(-1)?.retryIn).toBe(8_000);
    page.fire("online");
    server.peer(7).end();
    expect(states.at(-1)?.retryIn).toBe(250);
  });

  it("is back: an attempt from before is given up for a new one, a fresh one is not", async () => {
    const { server, client, peer, page } = onPage();
    peer.end();
    await pass(250);
    const stuck = server.peer(2);
    await pass(999);
    page.fire("online");
    server.peer(2);
    await pass(1);
    page.fire("online");
    expect(stuck.open).toBe(false);
    server.peer(3).accept().welcome();
    expect(client.state).toBe("connected");
    await pass(10_000);
    server.peer(3);
  });

  it("is back: an open connection is asked", () => {
    const { server, peer, page } = onPage();
    page.fire("online");
    answerProbe(peer);
    server.peer(1);
  });
});

describe("a tab", () => {
  it("that comes to the front cuts a wait short, and lets an attempt go on", async () => {
    const { server, peer, page } = onPage();
    page.show(false);
    peer.end();
    page.show(true);
    server.peer(2);
    await pass(5_000);
    page.show(true);
    server.peer(2);
  });

  it("that goes into the background asks nothing and opens nothing", () => {
    const { server, peer, page } = onPage();
    page.show(false);
    expect(peer.inbox).toEqual([]);
    peer.end();
    page.show(false);
    server.peer(1);
  });

  it("that slept finds out whether the server is there before it takes silence for death", async () => {
    const { server, client, peer } = onPage();
    // The clock goes on, and no timer runs.
    vi.setSystemTime(Date.now() + 600_000);
    await pass(35_000);
    expect(client.state).toBe("connected");
    answerProbe(peer);
    await pass(34_999);
    expect(client.state).toBe("connected");
    server.peer(1);
    expect(peer.inbox).toEqual([]);
  });

  it("that sleeps again while it asks waits for the answer anew, and asks once", async () => {
    const { client, peer } = onPage();
    vi.setSystemTime(Date.now() + 600_000);
    await pass(35_000);
    peer.take("unsubscribe");
    vi.setSystemTime(Date.now() + 600_000);
    await pass(3_000);
    expect(client.state).toBe("connected");
    expect(peer.inbox).toEqual([]);
    await pass(3_000);
    expect(client.state).toBe("connecting");
  });

  it("whose timers are throttled to one a minute keeps a connection that lives", async () => {
    const { server, client, peer } = onPage();
    const states = record(client, "state");
    for (let minute = 0; minute < 10; minute++) {
      // Pings come in time; timers, pending ones too, run once a minute.
      for (const seconds of [20, 20]) {
        vi.setSystemTime(Date.now() + seconds * 1000);
        peer.say({ type: "ping" });
      }
      await pass(20_000);
    }
    expect(states).toEqual([]);
    expect(client.state).toBe("connected");
    server.peer(1);
  });
});

describe("reconnect()", () => {
  it("tries now", async () => {
    const { server, client, peer } = connected();
    const states = record(client, "state");
    peer.end();
    client.reconnect();
    expect(states.at(-1)).toEqual({ state: "connecting" });
    server.peer(2).accept().welcome();
    expect(client.state).toBe("connected");
  });

  it("connects a client that wanted no connection, and one that was refused for good", async () => {
    const server = new FakeServer();
    const client = server.client();
    client.reconnect();
    server.peer(1).accept().welcome();
    server.peer(1).end(4501, "Banned.");
    expect(client.state).toBe("disconnected");
    client.reconnect();
    server.peer(2).accept().welcome();
    await client.ready();
    client.close();
    expect(() => client.reconnect()).toThrow("closed");
  });

  it("asks a connection that seems open, and renews it if it is not", async () => {
    const { server, client, peer } = connected();
    client.reconnect();
    answerProbe(peer);
    await settle();
    client.reconnect();
    peer.take("unsubscribe");
    await pass(3_250);
    server.peer(2);
  });

  it("leaves the wait of a move alone", async () => {
    const { server, client, peer } = connected();
    peer.say({ type: "move", after: 30 });
    client.reconnect();
    answerProbe(peer);
    server.peer(1);
    await pass(12_500);
    server.peer(2);
  });
});

describe("the platform's page", () => {
  it("is the window, a worker's scope, or nothing at all", () => {
    expect(platformPage()).toBeNull();
    const page = new Page();
    vi.stubGlobal("addEventListener", page.addEventListener.bind(page));
    vi.stubGlobal("removeEventListener", page.removeEventListener.bind(page));
    const worker = platformPage();
    expect(worker?.visible).toBe(false);
    const listener = () => undefined;
    worker?.addEventListener("online", listener);
    expect(page.listeners.get("online")).toContain(listener);
    worker?.removeEventListener("online", listener);
    expect(page.listeners.get("online")).not.toContain(listener);
    vi.stubGlobal("document", { visibilityState: "visible" });
    expect(platformPage()?.visible).toBe(true);
    vi.stubGlobal("document", { visibilityState: "hidden" });
    expect(platformPage()?.visible).toBe(false);
    vi.unstubAllGlobals();
  });
});
