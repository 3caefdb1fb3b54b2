/** A real server in a process of its own, and clients of it. */

import { type ChildProcess, spawn } from "node:child_process";
import { createHmac } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { onTestFinished } from "vitest";
import { WebSocket } from "ws";
import type { Emitter } from "../src/emitter.js";
import { Client, type ClientOptions, type Subscription } from "../src/index.js";

const PYTHON =
  process.env["TEST_PYTHON"] ?? fileURLToPath(new URL("../../.venv/bin/python", import.meta.url));
const SECRET = "the-secret-of-these-tests-alone-is-long";
/** Milliseconds that a test waits for what must come. */
export const PATIENCE = 30_000;

/** Node 20 has no WebSocket of its own, so that these tests pass one, as an app would. */
export { WebSocket };

export class Server {
  port = 0;
  readonly #data: string;
  readonly #flags: readonly string[];
  #process: ChildProcess | undefined;
  #output = "";

  constructor(data: string, flags: readonly string[]) {
    this.#data = data;
    this.#flags = flags;
  }

  get address(): string {
    return `127.0.0.1:${this.port}`;
  }

  get url(): string {
    return `ws://${this.address}/ws`;
  }

  /** Start, on the same port and data as before; resolves when it serves. */
  async start(): Promise<void> {
    const environment = Object.entries(process.env).filter(([name]) => !name.startsWith("BACKCHANNEL_"));
    const flags = ["--dev", "--port", String(this.port), "--data", this.#data, ...this.#flags];
    const child = spawn(PYTHON, ["-m", "backchannel.cli", "serve", ...flags], {
      // Not where somebody's backchannel.toml may be.
      cwd: this.#data,
      env: { ...Object.fromEntries(environment), BACKCHANNEL_SECRET: SECRET, NO_COLOR: "1" },
      stdio: ["ignore", "pipe", "pipe"],
    });
    this.#process = child;
    this.port = await new Promise((resolve, reject) => {
      this.#output = "";
      const read = (data: Buffer): void => {
        this.#output += data.toString();
        const found = /http:\/\/127\.0\.0\.1:(\d+)/.exec(this.#output);
        if (found !== null) resolve(Number(found[1]));
      };
      child.stdout.on("data", read);
      child.stderr.on("data", read);
      child.on("error", reject);
      child.on("exit", () => reject(new Error(`The server did not start:\n${this.#output}`)));
    });
  }

  /** Send a signal; resolves with the exit status when the process has ended. */
  async end(signal: "SIGKILL" | "SIGTERM"): Promise<number | null> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return null;
    const ended = new Promise<number | null>((resolve) => child.on("exit", resolve));
    child.kill(signal);
    return await ended;
  }

  /** Stop the process without ending it, as a cable that is pulled does; or let it go on. */
  freeze(frozen: boolean): void {
    this.#process?.kill(frozen ? "SIGSTOP" : "SIGCONT");
  }

  /** A token for a user; `lifetime` in seconds. */
  token(user: string, lifetime = 600): string {
    const part = (value: unknown) => Buffer.from(JSON.stringify(value)).toString("base64url");
    const now = Math.floor(Date.now() / 1000);
    const signed = `${part({ alg: "HS256", typ: "JWT" })}.${part({ sub: user, iat: now, exp: now + lifetime })}`;
    return `${signed}.${createHmac("sha256", SECRET).update(signed).digest("base64url")}`;
  }

  /** A connected client of this user; it is closed with the test. */
  async client(user: string, options: ClientOptions = {}): Promise<Client> {
    const client = new Client(this.url, {
      WebSocket,
      token: () => this.token(user),
      backoff: { base: 0.1, cap: 0.5 },
      ...options,
    });
    onTestFinished(() => client.close());
    client.connect();
    await client.ready();
    return client;
  }
}

/** A server of the test's own, with flags of `serve`; it is killed with the test. */
export async function serve(...flags: readonly string[]): Promise<Server> {
  const data = await mkdtemp(join(tmpdir(), "backchannel-real-"));
  const server = new Server(data, flags);
  onTestFinished(async () => {
    server.freeze(false);
    await server.end("SIGKILL");
    await rm(data, { recursive: true, force: true });
  });
  await server.start();
  return server;
}

/** The texts of the messages of a channel, as they come. */
export class Heard {
  readonly texts: string[] = [];
  readonly #subscription: Subscription;

  constructor(subscription: Subscription) {
    this.#subscription = subscription;
    subscription.on("event", ({ name, data }) => {
      if (name === "message.created") this.texts.push((data as { text: string }).text);
    });
  }

  /** Resolves when the message with this text has come. */
  async until(text: string): Promise<void> {
    await when(this.#subscription, "event", () => this.texts.includes(text));
  }
}

/** Resolves when the condition holds, which can become so with such an event only. */
export function when<Events, Name extends keyof Events>(
  source: Emitter<Events>,
  name: Name,
  condition: (event?: Events[Name]) => boolean,
): Promise<void> {
  return new Promise((resolve, reject) => {
    if (condition()) {
      resolve();
      return;
    }
    const late = setTimeout(() => reject(new Error(`Waited in vain for ${String(name)}.`)), PATIENCE);
    const off = source.on(name, (event) => {
      if (!condition(event)) return;
      clearTimeout(late);
      off();
      resolve();
    });
  });
}
