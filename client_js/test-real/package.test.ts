/** The package as it is published: made by `npm pack`, unpacked where a project would have it, and used. */

import { execFile, spawn } from "node:child_process";
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { Worker } from "node:worker_threads";
import { afterAll, beforeAll, expect, it } from "vitest";
import { Heard, PATIENCE, serve } from "./server.js";

const run = promisify(execFile);
const home = fileURLToPath(new URL("..", import.meta.url));
const bin = (name: string) => join(home, "node_modules", ".bin", name);

/** A project with the package in it. */
let project: string;
let tarball: string;

beforeAll(async () => {
  project = await mkdtemp(join(tmpdir(), "backchannel-package-"));
  const modules = join(project, "node_modules");
  const target = join(modules, "@backchannel", "client");
  await mkdir(target, { recursive: true });
  const { stdout } = await run("npm", ["pack", "--silent", "--pack-destination", project], { cwd: home });
  tarball = join(project, stdout.trim());
  await run("tar", ["xzf", tarball, "-C", target, "--strip-components", "1"]);
  await mkdir(join(modules, "@types"));
  for (const name of ["react", "ws", "@types/react"])
    await symlink(join(home, "node_modules", name), join(modules, name));
});

afterAll(async () => {
  await rm(project, { recursive: true, force: true });
});

async function write(name: string, text: string): Promise<string> {
  const path = join(project, name);
  await writeFile(path, text);
  return path;
}

const NAMES = "[typeof Client, msgpack.subprotocol, typeof useChannel].join()";

it("is imported by modules and required by CommonJS", async () => {
  const module = await write(
    "use.mjs",
    `import { Client } from "@backchannel/client";
     import { msgpack } from "@backchannel/client/msgpack";
     import { useChannel } from "@backchannel/client/react";
     console.log(${NAMES});`,
  );
  const script = await write(
    "use.cjs",
    `const { Client } = require("@backchannel/client");
     const { msgpack } = require("@backchannel/client/msgpack");
     const { useChannel } = require("@backchannel/client/react");
     console.log(${NAMES});`,
  );
  for (const path of [module, script]) {
    expect((await run("node", [path])).stdout).toBe("function,backchannel.v1.msgpack,function\n");
  }
});

it("has types for both, under every resolution that knows `exports`", async () => {
  const source = `
    import { Client, type Contract, Refused } from "@backchannel/client";
    import { msgpack } from "@backchannel/client/msgpack";
    import { useChannel } from "@backchannel/client/react";
    interface Shop extends Contract {
      commands: { "order.place": { data: { item: string }; reply: { id: number }; errors: "sold_out" } };
      queries: Record<never, never>;
      events: { "order.placed": { id: number } };
      namespaces: { orders: { kind: "durable"; presence: false } };
    }
    const client = new Client<Shop>("ws://localhost/ws", { codec: msgpack });
    export const placed: Promise<{ id: number }> = client.call("order.place", { item: "tea" });
    export const events: readonly { data: { id: number } }[] = useChannel(client, "orders:a").events;
    // @ts-expect-error: a number is no item
    void client.call("order.place", { item: 1 });
    export const code: string = new Refused("sold_out", "None left.").code;
  `;
  await write("use.mts", source);
  await write("use.cts", source);
  for (const resolution of ["node16", "nodenext", "bundler"]) {
    const config = await write(
      `tsconfig.${resolution}.json`,
      JSON.stringify({
        compilerOptions: {
          module: resolution === "bundler" ? "preserve" : resolution,
          moduleResolution: resolution,
          target: "es2022",
          lib: ["es2023", "dom"],
          strict: true,
          exactOptionalPropertyTypes: true,
          skipLibCheck: false,
          types: [],
          noEmit: true,
        },
        files: ["use.mts", "use.cts"],
      }),
    );
    const { stdout } = await run(bin("tsc"), ["-p", config]).catch((error: { stdout: string }) => error);
    expect(stdout).toBe("");
  }
});

it("breaks no rule of publishing", async () => {
  const { stdout } = await run(bin("publint"), ["run", tarball, "--strict"]);
  expect(stdout).toContain("All good!");
});

it("needs nothing beside itself, and brings no code that is not its own", async () => {
  const manifest = JSON.parse(await readFile(join(home, "package.json"), "utf8")) as Record<string, unknown>;
  expect(manifest["dependencies"]).toBeUndefined();
  for (const name of ["index", "msgpack"]) {
    const code = await readFile(join(home, "dist", `${name}.js`), "utf8");
    expect(code).not.toMatch(/^import\b/m);
  }
});

it("works in a worker thread", async () => {
  const server = await serve();
  const alice = await server.client("alice");
  const lobby = alice.subscribe("chat:lobby");
  const heard = new Heard(lobby);
  await lobby.ready();
  const worker = new Worker(new URL("./worker.mjs", import.meta.url), {
    workerData: { url: server.url, token: server.token("bob"), channel: "chat:lobby" },
  });
  const ended = new Promise<number>((resolve, reject) => {
    worker.on("exit", resolve);
    worker.on("error", reject);
  });
  await new Promise((resolve) => worker.once("message", resolve));
  await alice.call("message.send", { channel: "chat:lobby", text: "Anybody there?" });
  await heard.until("Echo: Anybody there?");
  // Nothing of a closed client keeps a thread alive.
  expect(await ended).toBe(0);
});

it("does what the first lines of the README say", async () => {
  const readme = await readFile(join(home, "README.md"), "utf8");
  const code = /^```js\n(.*?)^```$/ms.exec(readme)?.[1] ?? "";
  expect(readme.indexOf(code)).toBeLessThan(400);
  expect(code.trim().split("\n").length).toBeLessThanOrEqual(12);
  const server = await serve();
  expect(code).toContain("127.0.0.1:8000");
  const script = await write("readme.mjs", code.replaceAll("127.0.0.1:8000", server.address));
  // What Node 20 lacks and every newer one has.
  const socket = await write(
    "websocket.mjs",
    'import { WebSocket } from "ws"; globalThis.WebSocket ??= WebSocket;',
  );
  const child = spawn("node", ["--import", socket, script], {
    cwd: project,
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  await new Promise<void>((resolve, reject) => {
    const late = setTimeout(() => reject(new Error(`It only said:\n${output}`)), PATIENCE);
    const read = (data: Buffer): void => {
      output += data.toString();
      if (!output.includes("stored:") || !output.includes("message.created")) return;
      clearTimeout(late);
      resolve();
    };
    child.stdout.on("data", read);
    child.stderr.on("data", read);
    child.on("exit", () => reject(new Error(`It ended and said:\n${output}`)));
  }).finally(() => child.kill());
  expect(output).toMatch(/alice message\.created/);
});
