// A bot in a worker thread, on the package as it is published. It echoes one message and ends.

import { parentPort, workerData } from "node:worker_threads";
import { Client } from "@backchannel/client";
import { msgpack } from "@backchannel/client/msgpack";
import { WebSocket } from "ws";

const { url, token, channel } = workerData;
const client = new Client(url, { WebSocket, token, codec: msgpack });
client.connect();
const subscription = client.subscribe(channel);
await subscription.ready();
parentPort?.postMessage("listening");
for await (const event of subscription) {
  if (event.name !== "message.created" || event.user === client.user) continue;
  await client.call("message.send", { channel, text: `Echo: ${event.data.text}` });
  break;
}
client.close();
