import { describe, expect, it } from "vitest";
import type { PageEvents } from "../src/index.js";
import { connected, FakeServer, record } from "./fake_server.js";
import { expectNoTimers, pass, useFakeTime } from "./time.js";

useFakeTime();

/** A window whose events a test fires. */
class Page implements PageEvents {
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
}

describe("the page", () => {
  it("is left in quiet: no report, no new connection", async () => {
    const page = new Page();
    const { server, client, peer } = connected({ page });
    const states = record(client, "state");
    const errors = record(client, "error");
    page.fire("pagehide");
    peer.end(1001);
    await pass(60_000);
    server.peer(1);
    expect([states, errors]).toEqual([[], []]);
    expectNoTimers();
  });

  it("comes back out of the browser's cache: the client connects and resumes", async () => {
    const page = new Page();
    const { server, client, peer } = connected({ page });
    client.subscribe("chat:a");
    peer.admit("chat:a", 3);
    page.fire("pagehide");
    peer.end(1001);
    page.fire("pageshow");
    expect(client.state).toBe("connecting");
    const next = server.peer(2).accept();
    expect(next.welcome().resume).toEqual({ "chat:a": { epoch: "e1", offset: 3 } });
  });

  it.each(["online", "visibilitychange"])("cuts a wait short: %s", (type) => {
    const page = new Page();
    const { server, peer } = connected({ page });
    page.fire(type);
    server.peer(1);
    peer.end();
    page.fire(type);
    server.peer(2);
    page.fire(type);
    server.peer(2);
  });

  it("does not connect a client that wants no connection", () => {
    const page = new Page();
    const server = new FakeServer();
    const client = server.client({ page });
    for (const type of ["pageshow", "online", "pagehide", "pageshow"]) page.fire(type);
    expect(server.peers).toHaveLength(0);
    client.close();
    expect([...page.listeners.values()].every((set) => set.size === 0)).toBe(true);
  });
});
