// Print what each entry weighs, built as it is published and compressed by gzip; fail if one is over its limit.

import { fileURLToPath } from "node:url";
import { gzipSync } from "node:zlib";
import { build } from "vite";

/** Bytes. */
const LIMITS = { index: 10_000, msgpack: 3_000, react: 2_000 };

const root = fileURLToPath(new URL("..", import.meta.url));
const builds = await build({ root, logLevel: "silent", build: { write: false } });
let heavy = false;
for (const [name, limit] of Object.entries(LIMITS)) {
  const sizes = builds
    .flatMap(({ output }) => output.filter((file) => file.type === "chunk" && file.name === name))
    .map(({ code }) => gzipSync(code).length);
  console.log(`${name.padEnd(8)} ${sizes.join(" and ")} bytes as module and CommonJS, of ${limit}`);
  heavy ||= sizes.length !== 2 || sizes.some((size) => size > limit);
}
if (heavy) throw new Error("An entry is over its limit, or missing.");
