import { describe, expect, it } from "vitest";
import { QueueOverflow, Refused, type Subscription } from "../src/index.js";
import { connected } from "./fake_server.js";
import { useFakeTime } from "./time.js";

useFakeTime();

function listening(queue?: number): ReturnType<typeof connected> & { subscription: Subscription } {
  const all = connected();
  const subscription = all.client.subscribe("chat:a", queue === undefined ? {} : { queue });
  all.peer.admit("chat:a", 0);
  return { ...all, subscription };
}

async function readAll(subscription: AsyncIterable<{ readonly offset?: number }>): Promise<unknown[]> {
  const read: unknown[] = [];
  try {
    for await (const event of subscription) read.push(event.offset);
  } catch (error) {
    read.push(error);
  }
  return read;
}

describe("for await", () => {
  it("reads events in order, those that wait and those that come", async () => {
    const { peer, subscription } = listening();
    const iterator = subscription[Symbol.asyncIterator]();
    peer.events("chat:a", 1, 2);
    expect((await iterator.next()).value?.offset).toBe(1);
    expect((await iterator.next()).value?.offset).toBe(2);
    const waiting = [iterator.next(), iterator.next()];
    peer.events("chat:a", 3, 4);
    expect((await Promise.all(waiting)).map(({ value }) => value?.offset)).toEqual([3, 4]);
  });

  it("ends when the subscription is unsubscribed, after what waits", async () => {
    const { peer, subscription } = listening();
    const read = readAll(subscription);
    peer.events("chat:a", 1, 2);
    void subscription.unsubscribe();
    expect(await read).toEqual([1, 2]);
    expect(await readAll(subscription)).toEqual([]);
  });

  it("ends when the client is closed", async () => {
    const { client, subscription } = listening();
    const read = readAll(subscription);
    client.close();
    expect(await read).toEqual([]);
  });

  it("throws when the server ends the subscription, and goes on across reconnects", async () => {
    const { peer, subscription } = listening();
    const read = readAll(subscription);
    peer.events("chat:a", 1);
    peer.say({ type: "unsubscribed", channel: "chat:a", code: "forbidden", message: "Out." });
    const result = await read;
    expect(result[0]).toBe(1);
    expect(result[1]).toBeInstanceOf(Refused);
    expect(result[1]).toMatchObject({ code: "forbidden" });
  });

  it("throws when the connection is closed for good", async () => {
    const { peer, subscription } = listening();
    const read = readAll(subscription);
    peer.end(4501, "Banned.");
    expect(await read).toMatchObject([{ name: "ConnectionClosed", code: 4501 }]);
    expect(await readAll(subscription)).toMatchObject([{ name: "ConnectionClosed" }]);
  });

  it("throws a named error behind the queue's bound, and never drops in silence", async () => {
    const { peer, subscription } = listening(3);
    const iterator = subscription[Symbol.asyncIterator]();
    peer.events("chat:a", 1, 2, 3, 4, 5);
    const read = await readAll({ [Symbol.asyncIterator]: () => iterator });
    expect(read.slice(0, 3)).toEqual([1, 2, 3]);
    expect(read[3]).toBeInstanceOf(QueueOverflow);
    expect(read[3]).toMatchObject({ name: "QueueOverflow", channel: "chat:a" });
    expect(read).toHaveLength(4);
    expect(subscription.state).toBe("subscribed");
  });

  it("holds 1000 events by default", async () => {
    const { peer, subscription } = listening();
    const iterator = subscription[Symbol.asyncIterator]();
    peer.events("chat:a", ...Array.from({ length: 1000 }, (_, n) => n + 1));
    expect((await iterator.next()).value?.offset).toBe(1);
    peer.events("chat:a", 1001);
    for (let n = 2; n <= 1001; n++) expect((await iterator.next()).value?.offset).toBe(n);
  });

  it("forgets a loop that is left, and the subscription stays", async () => {
    const { peer, subscription } = listening(2);
    const first = (async () => {
      for await (const event of subscription) return event.offset;
      return undefined;
    })();
    peer.events("chat:a", 1);
    expect(await first).toBe(1);
    peer.events("chat:a", 2, 3, 4, 5);
    const read = readAll(subscription);
    peer.events("chat:a", 6);
    void subscription.unsubscribe();
    expect(await read).toEqual([6]);
  });
});
