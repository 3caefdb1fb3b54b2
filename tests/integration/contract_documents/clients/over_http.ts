// What somebody writes with the types of openapi-typescript: node over_http.js URL TOKEN

import createClient from "openapi-fetch";
import type { paths } from "./api.js";

declare const process: { readonly argv: readonly string[] };

const [, , baseUrl = "", token = ""] = process.argv;
const client = createClient<paths>({ baseUrl, headers: { Authorization: `Bearer ${token}` } });

const sent = await client.POST("/v1/message.send", {
  params: { header: { "Idempotency-Key": "typed-0001" } },
  body: { channel: "chat:lobby", text: "typed" },
});
if (sent.error !== undefined) throw new Error(sent.error.detail);
const seq: number = sent.data.seq;

const page = await client.GET("/v1/message.list", {
  params: { query: { channel: "chat:lobby", limit: 1 } },
});
const texts: string[] = page.data?.messages.map((message) => message.text) ?? [];

const refused = await client.GET("/v1/message.list", { params: { query: { channel: "chat:nowhere" } } });
const code: string | undefined = refused.error?.code;

export async function wrong(): Promise<void> {
  // @ts-expect-error there is no such command
  await client.POST("/v1/message.shout", { body: {} });
  // @ts-expect-error a channel is missing
  await client.POST("/v1/message.send", { body: { text: "where?" } });
  // @ts-expect-error a command is no GET
  await client.GET("/v1/message.send", {});
}

console.log(JSON.stringify({ seq, texts, code, user: sent.data.user }));
