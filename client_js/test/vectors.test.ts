/** The vectors of `protocol/vectors`: the client in every dialogue in which something is done, and the codecs. */

import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { json } from "../src/codec.js";
import type { Codec } from "../src/index.js";
import { msgpack } from "../src/msgpack.js";
import type { ClientFrame } from "../src/protocol.gen.js";
import { type Dialogue, type Frame, Play } from "./dialogue.js";
import { useFakeTime } from "./time.js";

interface CodecVector {
  readonly name: string;
  readonly title: string;
  readonly from: "client" | "server";
  readonly json?: string;
  readonly json_hex?: string;
  readonly msgpack?: string;
  readonly frame?: Frame;
  /** `evident`: also to a client that trusts its server and checks no field. */
  readonly invalid?: { readonly evident?: boolean };
}

const ROOT = new URL("../../protocol/vectors/", import.meta.url);
const CODECS: { readonly [encoding: string]: Codec } = { json, msgpack };

function read<Content>(path: string): Content {
  return JSON.parse(readFileSync(new URL(path, ROOT), "utf-8")) as Content;
}

function vectors<Vector>(kind: string): (Vector & { readonly file: string })[] {
  const files = readdirSync(new URL(`${kind}/`, ROOT)).filter((file) => file.endsWith(".json"));
  return files.flatMap((file) =>
    read<{ readonly vectors: readonly Vector[] }>(`${kind}/${file}`).vectors.map((vector) => ({
      ...vector,
      file: file.replace(".json", ""),
    })),
  );
}

function isForClients({ only, steps }: Dialogue): boolean {
  return only === undefined ? steps.some((step) => step.do !== undefined) : only === "client";
}

describe("dialogues", () => {
  useFakeTime();
  const common = read<Pick<Dialogue, "values" | "given">>("common.json");
  for (const dialogue of vectors<Dialogue>("dialogues").filter(isForClients)) {
    const whole: Dialogue = {
      ...dialogue,
      values: { ...common.values, ...dialogue.values },
      given: { ...common.given, ...dialogue.given },
    };
    for (const [encoding, codec] of Object.entries(CODECS)) {
      it(`${dialogue.file}/${dialogue.name} (${encoding}): ${dialogue.title}`, async () => {
        await new Play(whole, codec).run();
      });
    }
  }
});

function bytes(hex: string): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.from(hex, "hex"));
}

/** The message of a vector in one encoding, as a WebSocket hands it over. */
function messageOf(vector: CodecVector, encoding: string): string | ArrayBuffer | undefined {
  if (encoding === "json") return vector.json;
  return vector.msgpack === undefined ? undefined : bytes(vector.msgpack).buffer;
}

describe("codecs", () => {
  for (const vector of vectors<CodecVector>("codec")) {
    for (const [encoding, codec] of Object.entries(CODECS)) {
      const message = messageOf(vector, encoding);
      const { frame, invalid } = vector;
      if (message === undefined) continue;
      const name = `${vector.file}/${vector.name} (${encoding}): ${vector.title}`;
      if (frame !== undefined) {
        // Fields that this version does not know stay in the frame, and are looked at by nobody.
        it(name, () => {
          expect(codec.decode(message)).toMatchObject(frame);
        });
        if (vector.from !== "client") continue;
        it(`${name}, encoded`, () => {
          const encoded = codec.encode(frame as unknown as ClientFrame);
          expect(codec.decode(typeof encoded === "string" ? encoded : encoded.buffer)).toEqual(frame);
        });
      } else if (vector.from === "server" && invalid?.evident === true) {
        it(name, () => {
          expect(() => codec.decode(message)).toThrow();
        });
      }
    }
  }
});
