/** The client against the real gateway, over real sockets. */

import { describe, expect, it } from "vitest";
import type { WebSocket as Socket } from "ws";
import { Client, type ConnectedFrame, Refused, type StateChange } from "../src/index.js";
import { msgpack } from "../src/msgpack.js";
import type { PageEvents } from "../src/page.js";
import { Heard, type Server, serve, WebSocket, when } from "./server.js";

const LOBBY = "chat:lobby";

interface Message {
  readonly id: string;
  readonly seq: number;
  readonly text: string;
}

const send = (client: Client, text: string): Promise<Message> =>
  client.call<Message>("message.send", { channel: LOBBY, text }, { timeout: 30 });

/** A client that listens to the lobby, and what it hears. */
async function listener(server: Server, user: string, options = {}) {
  const client = await server.client(user, options);
  const lobby = client.subscribe(LOBBY);
  const heard = new Heard(lobby);
  const states: StateChange[] = [];
  client.on("state", (change) => states.push(change));
  await lobby.ready();
  return { client, lobby, heard, states };
}

const numbered = (from: number, to: number) =>
  Array.from({ length: to - from + 1 }, (_, n) => `message ${from + n}`);

describe.each([
  ["JSON", {}],
  ["MessagePack", { codec: msgpack }],
])("in %s", (_encoding, encoding) => {
  it("two people chat, and see each other come and go", async () => {
    const server = await serve();
    const alice = await listener(server, "alice", encoding);
    const bob = await listener(server, "bob", encoding);
    expect([alice.client.user, bob.client.user]).toEqual(["alice", "bob"]);

    const text = "Grüße, 你好, \ud83d\ude00, \ufeffand a mark";
    const message = await send(alice.client, text);
    await bob.heard.until(text);
    expect(bob.heard.texts).toEqual([text]);

    const { data, positions } = await bob.client.request<{ messages: Message[] }>("message.list", {
      channel: LOBBY,
    });
    expect(data.messages).toEqual([message]);
    expect(positions[LOBBY]).toBe(bob.lobby.position?.offset);

    const typing = when(bob.lobby, "event", (event) => event?.name === "typing.started");
    await alice.client.call("typing.start", { channel: LOBBY });
    await typing;

    const present = await alice.client.presence(LOBBY);
    expect(present.members.map(({ user }) => user).sort()).toEqual(["alice", "bob"]);

    const page = await alice.client.history(LOBBY, { limit: 1000 });
    expect(page.events.at(-1)).toMatchObject({ name: "message.created", data: { text }, user: "alice" });

    await expect(send(await server.client("eve", encoding), "Let me in.")).rejects.toMatchObject({
      name: "Refused",
      code: "forbidden",
      outcome: "none",
    });
    await expect(alice.client.call("no.such")).rejects.toMatchObject({ code: "not_found" });
    await expect(alice.client.call("message.send", { channel: LOBBY, text: 7 })).rejects.toBeInstanceOf(
      Refused,
    );
  });

  it("a server that compresses is heard by who agreed to it, and by who did not", async () => {
    const server = await serve("--compression", "100");
    const agreed: string[] = [];
    class Compressing extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        this.on("open", () => agreed.push(this.extensions));
      }
    }
    class Plain extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols, { perMessageDeflate: false });
      }
    }
    const alice = await listener(server, "alice", { ...encoding, WebSocket: Compressing });
    const bob = await listener(server, "bob", { ...encoding, WebSocket: Plain });
    const texts = numbered(1, 9).map((text, n) => `${text}: ${"Grüße, 你好. ".repeat(n * 20)}`.trim());
    for (const text of texts) await send(alice.client, text);
    for (const { heard } of [alice, bob]) {
      await heard.until(texts.at(-1) ?? "");
      expect(heard.texts).toEqual(texts);
    }
    expect(agreed[0]).toContain("permessage-deflate");
  });

  it("nothing is missing or doubled when the server is killed in the middle of it (P1 to P3)", async () => {
    const server = await serve();
    const alice = await server.client("alice", encoding);
    const bob = await listener(server, "bob", encoding);
    const sent = numbered(1, 40);
    const sending = (async () => {
      const stored: Message[] = [];
      for (const text of sent) stored.push(await send(alice, text));
      return stored;
    })();
    await bob.heard.until("message 15");
    await server.end("SIGKILL");
    await server.start();
    const stored = await sending;
    await bob.heard.until("message 40");
    expect(stored.map(({ text }) => text)).toEqual(sent);
    expect(stored.map(({ seq }) => seq)).toEqual(sent.map((_, n) => n + 1));
    expect(bob.heard.texts).toEqual(sent);
    expect(bob.lobby.verdict).toBe("recovered");
    expect(bob.states.map(({ state }) => state)).toEqual(expect.arrayContaining(["connecting", "connected"]));
  });

  it("a gap is told, filled from history, and dismissed", async () => {
    const server = await serve("--recovery", "3");
    const alice = await server.client("alice", encoding);
    const bob = await listener(server, "bob", encoding);
    await send(alice, "message 1");
    await bob.heard.until("message 1");
    const before = bob.lobby.position;

    bob.client.disconnect();
    for (const text of numbered(2, 8)) await send(alice, text);
    const gaps: { from: number; to: number }[] = [];
    bob.lobby.on("gap", (gap) => gaps.push(gap));
    const again = when(bob.lobby, "subscribed", (event) => event !== undefined);
    bob.client.connect();
    await again;
    expect(bob.lobby.verdict).toBe("gap");
    expect(gaps).toMatchObject([{ from: before?.offset, to: bob.lobby.position?.offset }]);

    // It is told again as long as the app has done nothing about it.
    bob.client.disconnect();
    bob.client.connect();
    await when(bob.lobby, "gap", () => gaps.length === 2);

    const page = await bob.client.history(LOBBY, { since: before as NonNullable<typeof before>, limit: 100 });
    expect(page.events.map(({ data }) => (data as Message).text)).toEqual(numbered(2, 8));
    bob.lobby.dismissGap();
    bob.client.disconnect();
    bob.client.connect();
    await bob.client.ready();
    await bob.lobby.ready();
    expect(bob.lobby.verdict).toBe("recovered");
    await send(alice, "message 9");
    await bob.heard.until("message 9");
    expect(bob.heard.texts).toEqual(["message 1", "message 9"]);
    expect(gaps).toHaveLength(2);
  });
});

describe("the connection", () => {
  it("moves away when the server ends, to the next one on its port, with everything (P7)", async () => {
    const server = await serve("--drain", "2");
    const alice = await server.client("alice");
    const bob = await listener(server, "bob");
    let moves = 0;
    bob.client.on("move", () => {
      moves += 1;
    });
    await send(alice, "message 1");
    expect(await server.end("SIGTERM")).toBe(0);
    await server.start();
    for (const text of numbered(2, 5)) await send(alice, text);
    await bob.heard.until("message 5");
    expect(bob.heard.texts).toEqual(numbered(1, 5));
    expect(moves).toBe(1);
    expect(bob.lobby.verdict).toBe("recovered");
  });

  it("outlives its token, by refreshing it, and fetches one for each new connection", async () => {
    const server = await serve();
    let fetched = 0;
    const alice = await server.client("alice", {
      token: () => {
        fetched += 1;
        return server.token("alice", fetched === 1 ? 2 : 600);
      },
    });
    const states: StateChange[] = [];
    const errors: Error[] = [];
    alice.on("state", (change) => states.push(change));
    alice.on("error", (error) => errors.push(error));
    const session = alice.session;
    // A token that was made later, and that nobody refreshes, expires: by then the first one has, too.
    const other = new Client(server.url, { WebSocket, token: server.token("alice", 2) });
    const expired = when(other, "state", (change) => change?.reason?.code === 4005);
    other.connect();
    await expired;
    other.close();
    await send(alice, "Still here");
    expect([fetched, alice.session, states, errors]).toEqual([2, session, [], []]);

    await server.end("SIGKILL");
    await server.start();
    await send(alice, "And again");
    expect(fetched).toBeGreaterThan(2);
  });

  it("keeps a guest the same guest", async () => {
    const server = await serve("--guests");
    const guest = new Client(server.url, { WebSocket, backoff: { base: 0.1, cap: 0.5 } });
    const welcomes: ConnectedFrame[] = [];
    guest.on("connected", (frame) => welcomes.push(frame));
    guest.connect();
    await guest.ready();
    const user = guest.user;
    expect(user).toMatch(/^guest-/);
    await server.end("SIGKILL");
    const again = when(guest, "connected", () => welcomes.length === 2);
    await server.start();
    await again;
    expect(guest.user).toBe(user);
    guest.disconnect();
    guest.connect();
    await guest.ready();
    expect(guest.user).toBe(user);
    const other = new Client(server.url, { WebSocket });
    other.connect();
    await other.ready();
    expect(other.user).not.toBe(user);
    guest.close();
    other.close();
  });

  it("is asked for a sign of life, which a living server gives at once", async () => {
    const server = await serve();
    const sockets: Socket[] = [];
    const Recorded = class extends WebSocket {
      constructor(url: string, protocols: string[]) {
        super(url, protocols);
        sockets.push(this);
      }
    };
    const client = await server.client("alice", { WebSocket: Recorded });
    const states: StateChange[] = [];
    client.on("state", (change) => states.push(change));
    const answer = new Promise<string>((resolve) => {
      sockets[0]?.on("message", (data: Buffer) => {
        const text = data.toString();
        if (text.includes('"-:-"')) resolve(text);
      });
    });
    client.reconnect();
    expect(JSON.parse(await answer)).toMatchObject({ type: "reply", data: { channel: "-:-" } });
    await send(client, "Alive");
    expect([states, sockets.length]).toEqual([[], 1]);
  });

  it("that is lost is known to be within seconds where the browser tells of it, and comes back", async () => {
    const server = await serve();
    const listeners = new Map<string, () => void>();
    const page: PageEvents = {
      addEventListener: (type, listener) => void listeners.set(type, listener),
      removeEventListener: (type) => void listeners.delete(type),
    };
    const bob = await listener(server, "bob", { page });
    const alice = await server.client("alice");
    await send(alice, "message 1");
    await bob.heard.until("message 1");
    server.freeze(true);
    const began = Date.now();
    const noticed = when(bob.client, "state", (change) => change?.state === "connecting");
    listeners.get("offline")?.();
    await noticed;
    expect(Date.now() - began).toBeLessThan(10_000);
    server.freeze(false);
    listeners.get("online")?.();
    await bob.client.ready();
    await send(alice, "message 2");
    await bob.heard.until("message 2");
    expect(bob.heard.texts).toEqual(numbered(1, 2));
  });

  it("tells the server of a call that nobody waits for any more, and goes on", async () => {
    const server = await serve();
    const alice = await server.client("alice");
    const signal = AbortSignal.abort(new Error("Never mind."));
    await expect(alice.call("channel.list", {}, { signal })).rejects.toThrow("Never mind.");
    const controller = new AbortController();
    const call = alice.call("message.list", { channel: LOBBY }, { signal: controller.signal });
    controller.abort(new Error("Too late."));
    await expect(call).rejects.toThrow("Too late.");
    await send(alice, "Still here");
    expect(alice.state).toBe("connected");
  });
});
