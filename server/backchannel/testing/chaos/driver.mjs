// Drives clients of the TypeScript library on the orders of a chaos run: a line of JSON in is an order, a line out is news.
// Arguments: the folder of the package `@backchannel/client`.

import { createRequire } from "node:module";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const folder = process.argv[2];
const load = (path) => import(pathToFileURL(path).href);
const { Client } = await load(join(folder, "dist", "index.js"));
const { msgpack } = await load(join(folder, "dist", "msgpack.js"));
const WebSocket =
  globalThis.WebSocket ?? createRequire(join(folder, "package.json"))("ws").WebSocket;

const clients = new Map();
const tell = (news) => process.stdout.write(`${JSON.stringify(news)}\n`);

function refusal(error) {
  if (error?.name !== "Refused") return { code: String(error?.name ?? "error"), message: String(error?.message ?? error), outcome: error?.outcome ?? "unknown" };
  return { code: error.code, message: error.message, outcome: error.outcome };
}

const orders = {
  open({ client: name, url, token, binary }) {
    const client = new Client(url, {
      WebSocket,
      token,
      client: { name },
      ...(binary ? { codec: msgpack } : {}),
    });
    clients.set(name, client);
    client.on("state", ({ state }) => tell({ type: "state", client: name, state }));
    client.connect();
  },
  listen({ client: name, channel, live }) {
    const subscription = clients.get(name).subscribe(channel, { queue: 1e9 });
    subscription.on("subscribed", ({ verdict, epoch, offset }) =>
      tell({ type: "subscribed", client: name, channel, verdict, epoch, offset }),
    );
    subscription.on("event", (event) =>
      tell({
        type: "event",
        client: name,
        channel,
        name: event.name,
        data: event.data,
        offset: event.offset ?? null,
        epoch: subscription.position?.epoch ?? null,
      }),
    );
    subscription.on("gap", ({ epoch, from, to, reason }) => {
      tell({ type: "gap", client: name, channel, epoch, from, to, reason });
      if (live) subscription.dismissGap();
    });
    subscription.on("unsubscribed", ({ code, message }) =>
      tell({ type: "unsubscribed", client: name, channel, code, message }),
    );
  },
  async call({ client: name, id, name: request, data, key, timeout }) {
    try {
      const answer = await clients.get(name).request(request, data, { timeout, ...(key === null ? {} : { key }) });
      tell({ type: "answer", client: name, id, data: answer.data, positions: answer.positions });
    } catch (error) {
      tell({ type: "refused", client: name, id, ...refusal(error) });
    }
  },
  async publish({ client: name, id, channel, name: event, data, key, timeout }) {
    try {
      const signal = AbortSignal.timeout(timeout * 1000);
      await clients.get(name).publish(channel, event, data, { key, signal });
      tell({ type: "answer", client: name, id, data: null, positions: {} });
    } catch (error) {
      tell({ type: "refused", client: name, id, ...refusal(error) });
    }
  },
  close({ client: name }) {
    clients.get(name)?.close();
    clients.delete(name);
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const order = JSON.parse(line);
  try {
    void orders[order.type](order);
  } catch (error) {
    tell({ type: "failed", client: order.client ?? "", message: String(error?.stack ?? error) });
  }
}
process.exit(0);
