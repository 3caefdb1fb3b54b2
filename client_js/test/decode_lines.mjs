/**
 * This client's codecs for a program in another language: a request per line on stdin, an answer per line on stdout.
 *
 *     {"codec": "json", "decode": "7b7d"}           ->  {"frame": {...}, "exact": true}, or {}
 *     {"codec": "msgpack", "encode": {"type": ...}} ->  {"hex": "81a4..."}, or {}
 *
 * Messages are in hex. `{}` says that the codec refuses; `exact: false`, that a number in the frame is none, or
 * whole and beyond 2^53 - 1, where JavaScript no longer tells an integer from another number.
 */

import { createInterface } from "node:readline";
import { fileURLToPath } from "node:url";
import { createServer } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const vite = await createServer({
  root,
  configFile: false,
  logLevel: "error",
  server: { middlewareMode: true, hmr: false, ws: false, watch: null },
  optimizeDeps: { noDiscovery: true },
});
const { json } = await vite.ssrLoadModule("/src/codec.ts");
const { msgpack } = await vite.ssrLoadModule("/src/msgpack.ts");
const codecs = { json, msgpack };
// As a WebSocket does it: text that is not UTF-8 never gets to a codec.
const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

function isExact(value) {
  if (typeof value === "number")
    return Number.isFinite(value) && (!Number.isInteger(value) || Number.isSafeInteger(value));
  return typeof value !== "object" || value === null || Object.values(value).every(isExact);
}

function answer({ codec, decode, encode }) {
  try {
    if (encode !== undefined) return { hex: Buffer.from(codecs[codec].encode(encode)).toString("hex") };
    const bytes = new Uint8Array(Buffer.from(decode, "hex"));
    const frame = codecs[codec].decode(codec === "json" ? utf8.decode(bytes) : bytes.buffer);
    return { frame, exact: isExact(frame) };
  } catch {
    return {};
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  process.stdout.write(`${JSON.stringify(answer(JSON.parse(line)))}\n`);
}
await vite.close();
