/**
 * Plays a dialogue of `protocol/vectors/dialogues` with this client; the vector plays the server.
 *
 * What a step and a placeholder mean is said in `protocol/vectors/README.md`; the names here are the names there.
 */

import { decode, encode } from "@msgpack/msgpack";
import { expect } from "vitest";
import { Client, type Codec, ConnectionClosed, type Gap, Refused, type Subscription } from "../src/index.js";
import type { Position } from "../src/protocol.gen.js";
import { pass, settle } from "./time.js";

export type Json = null | boolean | number | string | readonly Json[] | { readonly [field: string]: Json };
export type Frame = { readonly type: string; readonly [field: string]: Json };

export interface Step {
  readonly open?: string;
  readonly fails?: boolean;
  readonly client?: Frame;
  readonly server?: Frame;
  readonly on?: string;
  readonly crosses?: boolean;
  readonly clock?: number;
  readonly silent?: boolean;
  readonly drop?: string;
  readonly close?: number | null;
  readonly by?: "client" | "server";
  readonly given?: Json;
  readonly do?: string;
  readonly as?: string;
  readonly of?: string;
  readonly channel?: string;
  readonly name?: string;
  readonly data?: Json;
  readonly key?: string | null;
  readonly timeout?: number;
  readonly since?: Position;
  readonly before?: Position;
  readonly limit?: number;
  readonly outcome?: string;
  readonly error?: { readonly [field: string]: Json };
  readonly positions?: { readonly [channel: string]: number };
  readonly pending?: boolean;
  readonly cancelled?: boolean;
  readonly state?: {
    readonly client?: string;
    readonly subscriptions?: { readonly [channel: string]: { readonly [field: string]: Json } };
  };
}

export interface Dialogue {
  readonly name: string;
  readonly title: string;
  readonly only?: "client" | "server";
  readonly values: { readonly [name: string]: Json };
  readonly given: { readonly random: number; readonly tokens: readonly string[] };
  readonly steps: readonly Step[];
}

/** A played server gives a sign of life at least this often, in milliseconds. */
const SIGN_OF_LIFE = 20_000;

function isMap(value: Json | undefined): value is { readonly [field: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function kindOf(value: Json | undefined): string {
  if (value === null || value === undefined) return "null";
  return Array.isArray(value) ? "list" : typeof value;
}

/** Equality of the JSON data model. */
export function same(one: unknown, other: unknown): boolean {
  if (Array.isArray(one) && Array.isArray(other)) {
    return one.length === other.length && one.every((item, index) => same(item, other[index]));
  }
  if (typeof one === "object" && typeof other === "object" && one !== null && other !== null) {
    const [first, second] = [new Map(Object.entries(one)), new Map(Object.entries(other))];
    return first.size === second.size && [...first].every(([key, value]) => same(value, second.get(key)));
  }
  return one === other;
}

/** The placeholders of one dialogue: what they stand for, once that is known. */
class Names {
  readonly #samples: { readonly [name: string]: Json };
  #bound = new Map<string, Json>();

  constructor(samples: { readonly [name: string]: Json }) {
    this.#samples = samples;
  }

  #sample(name: string): Json {
    if (name.startsWith("$id")) return 1;
    if (name.startsWith("$key")) return "key";
    const sample = this.#samples[name];
    expect(sample, `${name} has no sample`).toBeDefined();
    return sample as Json;
  }

  /** What the played server sends. */
  fill(value: Json): Json {
    if (typeof value === "string" && value.startsWith("$")) {
      const bound = this.#bound.get(value) ?? this.#sample(value);
      this.#bound.set(value, bound);
      return bound;
    }
    if (isMap(value)) {
      return Object.fromEntries(Object.entries(value).map(([key, item]) => [key, this.fill(item)]));
    }
    return Array.isArray(value) ? value.map((item: Json) => this.fill(item)) : value;
  }

  /** A whole frame; a field that is null is left out. */
  frame(frame: Frame): Json {
    return this.fill(Object.fromEntries(Object.entries(frame).filter(([, value]) => value !== null)));
  }

  /** Whether a frame that came is the one expected. If so, its placeholders are bound. */
  matches(expected: Frame, came: Frame): boolean {
    const trial = new Map(this.#bound);
    const all = Object.entries(expected).every(([field, value]) =>
      this.#agrees(value, came[field] ?? null, trial),
    );
    if (all) this.#bound = trial;
    return all;
  }

  agrees(expected: Json, came: Json): boolean {
    return this.#agrees(expected, came, this.#bound);
  }

  #agrees(expected: Json, came: Json | undefined, bound: Map<string, Json>): boolean {
    if (typeof expected === "string" && expected.startsWith("$")) {
      const known = bound.get(expected);
      if (known !== undefined) return same(known, came);
      if (came === undefined || kindOf(came) !== kindOf(this.#sample(expected))) return false;
      bound.set(expected, came);
      return true;
    }
    if (isMap(expected)) {
      return (
        isMap(came) &&
        Object.keys(expected).length === Object.keys(came).length &&
        Object.entries(expected).every(([key, value]) => this.#agrees(value, came[key], bound))
      );
    }
    if (Array.isArray(expected)) {
      return (
        Array.isArray(came) &&
        expected.length === came.length &&
        expected.every((item: Json, index) => this.#agrees(item, came[index], bound))
      );
    }
    return same(expected, came);
  }
}

type Listener = (event: never) => void;

/** The client's WebSocket and the server's end of it in one. */
class Socket {
  binaryType = "blob";
  /** What the client sent and nobody asked for yet. */
  came: Frame[] = [];
  /** Whether the session is open. */
  greeted = false;
  /** Whether neither side has ended it. */
  alive = true;
  closedBy: { readonly code: number | undefined } | undefined;
  readonly #listeners = new Map<string, Listener[]>();

  addEventListener(type: string, listener: Listener): void {
    this.#listeners.set(type, [...(this.#listeners.get(type) ?? []), listener]);
  }

  send(message: string | Uint8Array): void {
    if (!this.alive) return;
    this.came.push((typeof message === "string" ? JSON.parse(message) : decode(message)) as Frame);
  }

  close(code?: number): void {
    this.closedBy ??= { code };
    this.alive = false;
  }

  tell(type: string, event: unknown): void {
    for (const listener of this.#listeners.get(type) ?? []) listener(event as never);
  }

  say(frame: Json, binary: boolean): void {
    if (isMap(frame) && frame["type"] === "connected") this.greeted = true;
    const data = binary ? new Uint8Array(encode(frame)).buffer : JSON.stringify(frame);
    this.tell("message", { data });
  }

  end(code: number): void {
    this.alive = false;
    this.tell("close", { code, reason: "" });
  }
}

/** What an app hears of one channel. */
interface Heard {
  readonly subscription: Subscription;
  readonly events: (number | null)[];
  readonly gaps: Gap[];
  error: string;
}

interface Settled {
  value?: unknown;
  error?: unknown;
  readonly abort: AbortController;
}

export class Play {
  readonly #dialogue: Dialogue;
  readonly #names: Names;
  readonly #binary: boolean;
  readonly #client: Client;
  readonly #attempts: Socket[] = [];
  readonly #sockets = new Map<string, Socket>();
  readonly #heard = new Map<string, Heard>();
  readonly #done = new Map<string, Settled>();
  readonly #actions: { readonly [action: string]: (step: Step) => void };
  #newest = "";

  constructor(dialogue: Dialogue, codec: Codec) {
    const { values, given } = dialogue;
    const attempts = this.#attempts;
    const tokens = [...given.tokens];
    const next = () => (tokens.length > 1 ? tokens.shift() : tokens[0]) ?? "";
    this.#dialogue = dialogue;
    this.#names = new Names(values);
    this.#binary = codec.subprotocol.endsWith("msgpack");
    this.#client = new Client("ws://server/ws", {
      codec,
      token: tokens.length > 1 ? next : next(),
      random: () => given.random,
      page: null,
      WebSocket: class extends Socket {
        constructor() {
          super();
          attempts.push(this);
        }
      },
    });
    const client = this.#client;
    this.#actions = {
      connect: (step) => {
        client.connect();
        this.#begin(step, () => client.ready());
      },
      disconnect: () => client.close(),
      subscribe: (step) => this.#listen(step),
      unsubscribe: (step) => void this.#channel(step.channel ?? "").subscription.unsubscribe(),
      dismiss_gap: (step) => this.#channel(step.channel ?? "").subscription.dismissGap(),
      call: (step) =>
        this.#begin(step, (signal) =>
          client.request(step.name ?? "", step.data, {
            signal,
            ...(step.key === undefined ? {} : { key: step.key }),
            ...(step.timeout === undefined ? {} : { timeout: step.timeout }),
          }),
        ),
      publish: (step) =>
        this.#begin(step, () => client.publish(step.channel ?? "", step.name ?? "", step.data)),
      history: (step) =>
        this.#begin(step, () =>
          client.history(step.channel ?? "", {
            ...(step.since === undefined ? {} : { since: step.since }),
            ...(step.before === undefined ? {} : { before: step.before }),
            ...(step.limit === undefined ? {} : { limit: step.limit }),
          }),
        ),
      presence: (step) => this.#begin(step, () => client.presence(step.channel ?? "")),
      cancel: (step) => this.#done.get(step.of ?? "")?.abort.abort(),
    };
  }

  /** Play all steps; what the client sends beyond the script fails. */
  async run(): Promise<void> {
    const { steps } = this.#dialogue;
    for (let at = 0; at < steps.length; ) {
      let end = at + 1;
      while (steps[at]?.client !== undefined && steps[end]?.client !== undefined) end += 1;
      const [step, ...more] = steps.slice(at, end);
      if (step === undefined) break;
      try {
        await this.#step(step, more);
      } catch (error) {
        const why = error instanceof Error ? error.message : String(error);
        throw new Error(`${this.#dialogue.name}, step ${at}: ${JSON.stringify(step)}\n${why}`);
      }
      at = end;
    }
    await settle();
    this.#nothingElse();
    expect(this.#attempts, "no further connection is opened").toEqual([]);
    this.#client.close();
  }

  async #step(step: Step, more: readonly Step[]): Promise<void> {
    // What happens at the server shows in what it sends.
    if (step.given !== undefined) return;
    await settle();
    if (step.client !== undefined) {
      this.#expect([step, ...more]);
      return;
    }
    if (step.crosses !== true) this.#nothingElse();
    if (step.do !== undefined) {
      const action = this.#actions[step.do];
      expect(action, `no such action: ${step.do}`).toBeDefined();
      action?.(step);
    } else if (step.server !== undefined)
      this.#socket(step).say(this.#names.frame(step.server), this.#binary);
    else if (step.open !== undefined) this.#open(step, step.open);
    else if (step.clock !== undefined) await this.#clock(step.clock * 1000, step.silent === true);
    else if (step.drop !== undefined) this.#socket({ on: step.drop }).end(1006);
    else if (step.close !== undefined) this.#close(step, step.close);
    else if (step.outcome !== undefined) this.#outcome(step.outcome, step);
    else if (step.state !== undefined) this.#state(step.state);
    else expect.fail("no such step");
  }

  #socket({ on = this.#newest }: Step): Socket {
    const socket = this.#sockets.get(on);
    expect(socket, `no connection ${on}`).toBeDefined();
    return socket as Socket;
  }

  #open(step: Step, name: string): void {
    const socket = this.#attempts.shift();
    expect(socket, "the client opens a connection").toBeDefined();
    if (socket === undefined) return;
    if (step.fails === true) {
      socket.end(1006);
      return;
    }
    this.#newest = name;
    this.#sockets.set(name, socket);
    socket.tell("open", {});
  }

  /** Frames that come together may come in another order. */
  #expect(steps: readonly Step[]): void {
    for (const step of steps) {
      const { came } = this.#socket(step);
      const expected = step.client as Frame;
      const place = came.findIndex((frame) => this.#names.matches(expected, frame));
      if (place < 0) expect.fail(`came ${JSON.stringify(came)}`);
      came.splice(place, 1);
    }
  }

  #nothingElse(): void {
    for (const socket of this.#sockets.values()) {
      expect(socket.came.filter(({ type }) => type !== "pong")).toEqual([]);
      socket.came = [];
    }
  }

  async #clock(ms: number, silent: boolean): Promise<void> {
    for (let left = ms; left > 0; left -= SIGN_OF_LIFE) {
      await pass(Math.min(left, SIGN_OF_LIFE));
      for (const socket of this.#sockets.values()) {
        if (socket.greeted && socket.alive && !silent) socket.say({ type: "ping" }, this.#binary);
      }
    }
  }

  #close(step: Step, code: number | null): void {
    const socket = this.#socket(step);
    if (step.by === "server") {
      socket.end(code ?? 1006);
      return;
    }
    expect(socket.closedBy, "the client has closed the connection").toBeDefined();
    if (code !== null) expect(socket.closedBy?.code).toBe(code);
  }

  // What the app does

  #channel(name: string): Heard {
    const heard = this.#heard.get(name);
    expect(heard, `nobody listens to ${name}`).toBeDefined();
    return heard as Heard;
  }

  #listen({ channel = "", since }: Step): void {
    const subscription = this.#client.subscribe(channel, since === undefined ? {} : { since });
    const heard: Heard = { subscription, events: [], gaps: [], error: "" };
    subscription.on("event", ({ offset }) => heard.events.push(offset ?? null));
    subscription.on("gap", (gap) => heard.gaps.push(gap));
    subscription.on("unsubscribed", ({ code }) => {
      heard.error = code;
    });
    this.#heard.set(channel, heard);
  }

  #begin(step: Step, work: (signal: AbortSignal) => Promise<unknown>): void {
    const settled: Settled = { abort: new AbortController() };
    this.#done.set(step.as ?? step.do ?? "", settled);
    work(settled.abort.signal).then(
      (value) => {
        settled.value = value ?? null;
      },
      (error: unknown) => {
        settled.error = error;
      },
    );
  }

  #outcome(name: string, step: Step): void {
    const settled = this.#done.get(name);
    const { value, error } = settled ?? {};
    if (step.pending === true) {
      expect([value, error], "it is not settled").toEqual([undefined, undefined]);
    } else if (step.cancelled === true) {
      expect(error).toMatchObject({ name: "AbortError" });
    } else if (step.error !== undefined) {
      expect(error).toSatisfy((thrown) => thrown instanceof Refused || thrown instanceof ConnectionClosed);
      expect(error).toMatchObject(step.error);
    } else {
      expect(error).toBeUndefined();
      const answer = value as { readonly data?: Json; readonly positions?: Json };
      // A call tells its data and positions; the other requests their data alone.
      const data = answer.positions === undefined ? (value as Json) : (answer.data ?? null);
      expect(this.#names.agrees(step.data ?? null, data), `it is ${JSON.stringify(data)}`).toBe(true);
      if (step.positions !== undefined) expect(answer.positions).toEqual(step.positions);
    }
  }

  #state(told: NonNullable<Step["state"]>): void {
    if (told.client !== undefined) expect(this.#client.state).toBe(told.client);
    for (const [channel, expected] of Object.entries(told.subscriptions ?? {})) {
      const { subscription, events, gaps, error } = this.#channel(channel);
      const { position, verdict } = subscription;
      const state = subscription.state === "unsubscribed" ? "ended" : subscription.state;
      expect({ state, verdict, position, events, gaps, error }, channel).toMatchObject(expected);
    }
  }
}
