import { decode, encode } from "@msgpack/msgpack";
import { describe, expect, it } from "vitest";
import { json } from "../src/codec.js";
import { msgpack } from "../src/msgpack.js";
import { type ClientFrame, SUBPROTOCOL_MSGPACK } from "../src/protocol.gen.js";

/** The bytes of `data` inside a frame, and that frame. */
function frameOf(data: unknown): ClientFrame {
  return { type: "call", id: 7, name: "a.b", data };
}

function encoded(data: unknown): Uint8Array<ArrayBuffer> {
  return msgpack.encode(frameOf(data)) as Uint8Array<ArrayBuffer>;
}

function decodedBytes(bytes: Uint8Array): unknown {
  return msgpack.decode(new Uint8Array(bytes).buffer);
}

/** The data of a `reply` whose data are these bytes. */
function decodedData(...bytes: readonly number[]): unknown {
  const head = encode({ type: "reply", id: 1 });
  const message = new Uint8Array([
    (head[0] as number) + 1,
    ...head.subarray(1),
    0xa4,
    100,
    97,
    116,
    97,
    ...bytes,
  ]);
  return (decodedBytes(message) as { data: unknown }).data;
}

// biome-ignore format: a table
const EDGES = [
  null, true, false, "", "a", "ü", "€", "😀", "\ufeffBOM", "\u0000", "a".repeat(31), "a".repeat(32), "é".repeat(40),
  "a".repeat(255), "a".repeat(256), "é".repeat(65_535), "a".repeat(65_536), "\ufeff".repeat(300),
  0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x1_0000, 0xffff_ffff, 0x1_0000_0000, Number.MAX_SAFE_INTEGER,
  -1, -0x20, -0x21, -0x80, -0x81, -0x8000, -0x8001, -0x8000_0000, -0x8000_0001, Number.MIN_SAFE_INTEGER,
  0.5, -1.25, 1e300, 5e-324, Number.MAX_VALUE, 1e21, -1e21,
  [], [[]], Array.from({ length: 15 }, (_, n) => n), Array.from({ length: 16 }, (_, n) => n),
  Array.from({ length: 65_536 }, () => 1), {}, { a: { b: { c: [1, { d: null }] } } },
  Object.fromEntries(Array.from({ length: 15 }, (_, n) => [`k${n}`, n])),
  Object.fromEntries(Array.from({ length: 16 }, (_, n) => [`k${n}`, n])),
  Object.fromEntries(Array.from({ length: 65_536 }, (_, n) => [`k${n}`, n])),
];

const UNSENDABLE = [
  ...[Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY],
  ...[2 ** 53, -(2 ** 53), 2 ** 60, 999_999_999_999_999_900_000],
];

/** Random data, the same in each run. */
function randomData(seed: number): () => unknown {
  let state = seed;
  const below = (limit: number): number => {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    return Math.floor((state / 2 ** 32) * limit);
  };
  const make = (level: number): unknown => {
    switch (below(level > 4 ? 5 : 7)) {
      case 0:
        return [null, true, false][below(3)];
      case 1:
        return (below(2) === 0 ? 1 : -1) * Math.floor(2 ** below(53));
      case 2:
        return (below(1_000_000) - 500_000) / 2 ** below(40);
      case 3:
      case 4:
        return String.fromCodePoint(
          ...Array.from({ length: below(40) }, () => below(2) * 0xffff + below(0x7ff)),
        );
      case 5:
        return Array.from({ length: below(20) }, () => make(level + 1));
      default:
        return Object.fromEntries(Array.from({ length: below(20) }, (_, n) => [`${n}é`, make(level + 1)]));
    }
  };
  return () => make(0);
}

describe("MessagePack", () => {
  it("is told by its subprotocol", () => {
    expect(msgpack.subprotocol).toBe(SUBPROTOCOL_MSGPACK);
  });

  it.each(EDGES.map((value, index) => [index, value]))("brings edge %i there and back", (_index, value) => {
    expect(decodedBytes(encoded(value))).toEqual(frameOf(value));
  });

  it("is understood by another implementation, and understands it", () => {
    const data = randomData(20_26);
    for (let n = 0; n < 500; n++) {
      const frame = frameOf(data());
      expect(decode(msgpack.encode(frame) as Uint8Array)).toEqual(frame);
      expect(decodedBytes(encode(frame))).toEqual(frame);
      expect(decodedBytes(encode(frame, { forceFloat32: true }))).toHaveProperty("data");
    }
  });

  it("says the same as JSON of what JSON leaves out or writes in its own way", () => {
    const value = {
      date: new Date(1_760_000_000_000),
      gone: undefined,
      method: () => 1,
      symbol: Symbol("s"),
      list: [undefined, () => 1, 1],
      url: new URL("https://example.org/"),
      minus: -0,
    };
    expect(decodedBytes(encoded(value))).toEqual(json.decode(json.encode(frameOf(value))));
  });

  it("gives each message bytes of its own", () => {
    const first = encoded("first");
    const copy = first.slice();
    encoded("other");
    expect(first).toEqual(copy);
    expect(first.buffer.byteLength).toBe(first.length);
  });

  it.each([
    ["big integers", 1n, /bigint/],
    ["bytes", new Uint8Array(3), /base64url/],
    ["a buffer", { a: new ArrayBuffer(3) }, /base64url/],
    ["half a surrogate pair", "a\ud83d", /surrogate/],
    ["half a surrogate pair in a key", { "\ude00": 1 }, /surrogate/],
    ["what JSON cannot say at all", { toJSON: () => undefined }, /undefined/],
  ])("refuses to send %s (ENC-2 to ENC-5)", (_what, value, message) => {
    expect(() => encoded(value)).toThrow(message);
    expect(() => encoded(value)).toThrow(TypeError);
    expect(decodedBytes(encoded("still works"))).toMatchObject({ data: "still works" });
  });

  it.each(UNSENDABLE)("refuses to send the number %d (ENC-2, ENC-3)", (value) => {
    for (const data of [value, { a: [value] }]) {
      expect(() => encoded(data)).toThrow(RangeError);
      expect(() => json.encode(frameOf(data))).toThrow(RangeError);
    }
  });

  it("sends any number that JSON writes with an exponent, as JSON does (ENC-3)", () => {
    for (const value of [1e21, -1e21, 1e300]) {
      expect(decodedBytes(encoded(value))).toEqual(frameOf(value));
      expect(json.decode(json.encode(frameOf(value)))).toEqual(frameOf(value));
    }
  });

  it("refuses to send what is nested too deeply, or in a circle (ENC-7)", () => {
    const nested = (levels: number): unknown => (levels === 0 ? 1 : [nested(levels - 1)]);
    expect(decodedBytes(encoded(nested(63)))).toEqual(frameOf(nested(63)));
    expect(() => encoded(nested(64))).toThrow(/nested/);
    const circle: { self?: unknown } = {};
    circle.self = circle;
    expect(() => encoded(circle)).toThrow(/circle/);
    const restless = { toJSON: () => restless };
    expect(() => encoded(restless)).toThrow(/circle/);
  });

  it.each([
    ["bytes", [0xc4, 0]],
    ["an extension", [0xd4, 1, 0]],
    ["a timestamp", [0xd6, 0xff, 0, 0, 0, 0]],
    ["an empty extension", [0xc7, 0, 1]],
    ["the byte that is never used", [0xc1]],
    ["NaN", [0xca, 0x7f, 0xc0, 0, 0]],
    ["infinity", [0xcb, 0x7f, 0xf0, 0, 0, 0, 0, 0, 0]],
    ["2^53", [0xcf, 0, 0x20, 0, 0, 0, 0, 0, 0]],
    ["-2^53", [0xd3, 0xff, 0xe0, 0, 0, 0, 0, 0, 0]],
    ["a key that is a number", [0x81, 1, 1]],
    ["a key that is bytes", [0x81, 0xc4, 1, 65, 1]],
    ["text that is not UTF-8", [0xa1, 0xff]],
    ["half a surrogate pair", [0xa3, 0xed, 0xa0, 0x80]],
    ["a string that is cut off", [0xa4, 65]],
    ["a list that claims more than there is", [0xdd, 0xff, 0xff, 0xff, 0xff]],
    ["a map that claims more than there is", [0xdf, 0xff, 0xff, 0xff, 0xff]],
    ["a list that is cut off", [0x92, 1]],
    ["a number that is cut off", [0xcf, 1]],
    ["too many bytes", [1, 1]],
    ["what is nested too deeply", [...Array.from({ length: 64 }, () => 0x91), 1]],
    ["what is nested absurdly deeply", [...Array.from({ length: 100_000 }, () => 0x91), 1]],
  ])("refuses to read %s (ENC-2 to ENC-7)", (_what, bytes) => {
    expect(() => decodedData(...bytes)).toThrow(TypeError);
  });

  it("reads every width that holds a value (ENC-5), and the last of two equal keys (ENC-8)", () => {
    expect(decodedData(0xd3, 0, 0, 0, 0, 0, 0, 0, 5)).toBe(5);
    expect(decodedData(0xdb, 0, 0, 0, 1, 65)).toBe("A");
    expect(decodedData(0xdf, 0, 0, 0, 1, 0xd9, 1, 65, 0xdd, 0, 0, 0, 1, 0xcd, 0, 9)).toEqual({ A: [9] });
    expect(decodedData(0x82, 0xa1, 65, 1, 0xa1, 65, 2)).toEqual({ A: 2 });
  });

  it("takes `__proto__` for a key like any other, as JSON does", () => {
    const text = '{"__proto__":{"polluted":true}}';
    const value = JSON.parse(text) as object;
    const { data } = decodedBytes(encoded(value)) as { data: object };
    expect(JSON.stringify(data)).toBe(text);
    expect(Object.getPrototypeOf(data)).toBe(Object.prototype);
    expect(data).not.toHaveProperty("polluted");
  });

  it.each([
    ["[1]"],
    [new Uint8Array([0x91, 1]).buffer],
    [new Uint8Array([0x80]).buffer],
    [new ArrayBuffer(0)],
  ])("refuses what is no frame: %o", (message) => {
    expect(() => msgpack.decode(message)).toThrow(TypeError);
  });
});
