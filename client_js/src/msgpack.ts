/**
 * `@backchannel/client/msgpack`: the wire in MessagePack, for `new Client(url, { codec: msgpack })`.
 *
 * It knows exactly the data model of the protocol, which is JSON's: whatever is outside is refused in both
 * directions (ENC-2 to ENC-7). A general library would have to be fenced in on every side; this is shorter.
 */

import type { Codec } from "./codec.js";
import type { ServerFrame, SUBPROTOCOL_MSGPACK } from "./protocol.gen.js";

const SUBPROTOCOL: typeof SUBPROTOCOL_MSGPACK = "backchannel.v1.msgpack";
/** How deep maps and lists may nest, the frame being the first. A server takes less: `limits.nesting`. */
const NESTING = 64;
/** From here on JavaScript writes a number in JSON with an exponent, so that it is no integer (ENC-3). */
const EXPONENT = 1e21;
const LONE_SURROGATE = /\p{Surrogate}/u;

const textEncoder = new TextEncoder();
// A byte order mark is a character like any other, and text that is not UTF-8 is an error.
const textDecoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Binary messages: MessagePack. */
export const msgpack: Codec = {
  subprotocol: SUBPROTOCOL,
  encode(frame) {
    writer ??= new Writer();
    return writer.message(frame);
  },
  decode(message) {
    if (typeof message === "string") throw new TypeError("A text message on a binary subprotocol.");
    const frame = new Reader(message as ArrayBuffer).message();
    if (typeof frame !== "object" || frame === null || !("type" in frame)) {
      throw new TypeError("A message that is not a frame.");
    }
    return frame as ServerFrame;
  },
};

/** Made with the first message, and used for all that follow. */
let writer: Writer | undefined;

class Writer {
  #bytes = new Uint8Array(1024);
  #view = new DataView(this.#bytes.buffer);
  #size = 0;

  message(value: unknown): Uint8Array<ArrayBuffer> {
    this.#size = 0;
    this.#write(value, 1);
    return this.#bytes.slice(0, this.#size);
  }

  #write(value: unknown, level: number): void {
    switch (typeof value) {
      case "string":
        this.#string(value);
        return;
      case "number":
        this.#number(value);
        return;
      case "boolean":
        this.#byte(value ? 0xc3 : 0xc2);
        return;
      case "object":
        if (value === null) this.#byte(0xc0);
        else this.#object(value, level);
        return;
      default:
        throw new TypeError(
          `A ${typeof value} is no data: use null, booleans, numbers, strings, lists and maps.`,
        );
    }
  }

  #object(value: object, level: number): void {
    if (level > NESTING)
      throw new TypeError(`Data that is nested deeper than ${NESTING} levels, or in a circle.`);
    if (Array.isArray(value)) {
      this.#head(value.length, 0x90, 16, 0xdc);
      // As in JSON, what a list does not have is null.
      for (const item of value) this.#write(leftOut(item) ? null : item, level + 1);
    } else if ("toJSON" in value && typeof value.toJSON === "function") {
      this.#write(value.toJSON(), level + 1);
    } else if (ArrayBuffer.isView(value) || value instanceof ArrayBuffer) {
      throw new TypeError("Bytes are no data: send them as base64url in a string.");
    } else {
      const entries = Object.entries(value).filter((entry) => !leftOut(entry[1]));
      this.#head(entries.length, 0x80, 16, 0xde);
      for (const [key, item] of entries) {
        this.#string(key);
        this.#write(item, level + 1);
      }
    }
  }

  /** The first bytes of a list or map: a short count is in the first byte itself. */
  #head(count: number, short: number, limit: number, wide: number): void {
    if (count < limit) this.#byte(short | count);
    else if (count < 0x1_0000) this.#uint(wide, 16, count);
    else this.#uint(wide + 1, 32, count);
  }

  #string(text: string): void {
    // UTF-8 needs at most 3 bytes for a unit of UTF-16. The head's size is that of the longest possible text.
    const most = text.length * 3;
    this.#reserve(most + 5);
    const head = most < 32 ? 1 : most < 0x100 ? 2 : most < 0x1_0000 ? 3 : 5;
    const at = this.#size;
    const { written } = textEncoder.encodeInto(text, this.#bytes.subarray(at + head));
    if (written !== text.length && LONE_SURROGATE.test(text)) {
      throw new TypeError("A string with half a surrogate pair is no text.");
    }
    if (head === 1) this.#byte(0xa0 | written);
    else if (head === 2) this.#uint(0xd9, 8, written);
    else if (head === 3) this.#uint(0xda, 16, written);
    else this.#uint(0xdb, 32, written);
    this.#size = at + head + written;
  }

  #number(value: number): void {
    if (Number.isSafeInteger(value)) {
      this.#integer(value);
      return;
    }
    if (!Number.isFinite(value)) throw new RangeError(`${value} cannot be sent: numbers are finite.`);
    // What the JSON codec cannot say is not said here either: an app may change its codec.
    if (Number.isInteger(value) && Math.abs(value) < EXPONENT) {
      throw new RangeError(`${value} cannot be sent: integers end at 2^53 - 1. Send it as a string.`);
    }
    this.#byte(0xcb);
    this.#reserve(8);
    this.#view.setFloat64(this.#size, value);
    this.#size += 8;
  }

  #integer(value: number): void {
    if (value >= 0) {
      if (value < 0x80) this.#byte(value);
      else if (value < 0x100) this.#uint(0xcc, 8, value);
      else if (value < 0x1_0000) this.#uint(0xcd, 16, value);
      else if (value < 0x1_0000_0000) this.#uint(0xce, 32, value);
      else this.#long(0xcf, value);
    } else if (value >= -0x20) this.#byte(value & 0xff);
    else if (value >= -0x80) this.#uint(0xd0, 8, value);
    else if (value >= -0x8000) this.#uint(0xd1, 16, value);
    else if (value >= -0x8000_0000) this.#uint(0xd2, 32, value);
    else this.#long(0xd3, value);
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.#bytes[this.#size] = byte;
    this.#size += 1;
  }

  /** A first byte, and a number of 8, 16 or 32 bits; a negative one as its two's complement. */
  #uint(first: number, bits: 8 | 16 | 32, value: number): void {
    this.#byte(first);
    this.#reserve(4);
    if (bits === 8) this.#view.setUint8(this.#size, value);
    else if (bits === 16) this.#view.setUint16(this.#size, value);
    else this.#view.setUint32(this.#size, value);
    this.#size += bits / 8;
  }

  #long(first: number, value: number): void {
    this.#byte(first);
    this.#reserve(8);
    this.#view.setBigInt64(this.#size, BigInt(value));
    this.#size += 8;
  }

  #reserve(count: number): void {
    if (this.#size + count <= this.#bytes.length) return;
    const bytes = new Uint8Array(Math.max(this.#bytes.length * 2, this.#size + count));
    bytes.set(this.#bytes.subarray(0, this.#size));
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer);
  }
}

/** What JSON leaves out of a map. */
function leftOut(value: unknown): boolean {
  return value === undefined || typeof value === "function" || typeof value === "symbol";
}

class Reader {
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  #at = 0;

  constructor(message: ArrayBuffer) {
    this.#bytes = new Uint8Array(message);
    this.#view = new DataView(message);
  }

  message(): unknown {
    const value = this.#read(1);
    if (this.#at !== this.#bytes.length) throw new TypeError("Bytes behind the end of the frame.");
    return value;
  }

  #read(level: number): unknown {
    const first = this.#uint(8);
    if (first < 0x80) return first;
    if (first < 0x90) return this.#map(first & 0x0f, level);
    if (first < 0xa0) return this.#list(first & 0x0f, level);
    if (first < 0xc0) return this.#string(first & 0x1f);
    if (first >= 0xe0) return first - 0x100;
    switch (first) {
      case 0xc0:
        return null;
      case 0xc2:
        return false;
      case 0xc3:
        return true;
      case 0xca:
        return finite(this.#view.getFloat32(this.#take(4)));
      case 0xcb:
        return finite(this.#view.getFloat64(this.#take(8)));
      case 0xcc:
        return this.#uint(8);
      case 0xcd:
        return this.#uint(16);
      case 0xce:
        return this.#uint(32);
      case 0xcf:
        return safe(this.#view.getBigUint64(this.#take(8)));
      case 0xd0:
        return this.#view.getInt8(this.#take(1));
      case 0xd1:
        return this.#view.getInt16(this.#take(2));
      case 0xd2:
        return this.#view.getInt32(this.#take(4));
      case 0xd3:
        return safe(this.#view.getBigInt64(this.#take(8)));
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#string(this.#sizeOfString(first));
      case 0xdc:
        return this.#list(this.#uint(16), level);
      case 0xdd:
        return this.#list(this.#uint(32), level);
      case 0xde:
        return this.#map(this.#uint(16), level);
      case 0xdf:
        return this.#map(this.#uint(32), level);
      default:
        throw new TypeError("Bytes, extensions and timestamps are not part of the data model.");
    }
  }

  #list(count: number, level: number): unknown[] {
    this.#enter(count, level);
    const list: unknown[] = [];
    for (let index = 0; index < count; index++) list.push(this.#read(level + 1));
    return list;
  }

  #map(count: number, level: number): Record<string, unknown> {
    this.#enter(count, level);
    const map: Record<string, unknown> = {};
    for (let index = 0; index < count; index++) {
      const key = this.#key();
      const value = this.#read(level + 1);
      // Assigned, this one would set the map's prototype; JSON.parse makes it a key like any other, too.
      if (key === "__proto__") {
        Object.defineProperty(map, key, { value, writable: true, enumerable: true, configurable: true });
      } else map[key] = value;
    }
    return map;
  }

  /** Each item takes a byte at least, so that a short message cannot claim to be a long list. */
  #enter(count: number, level: number): void {
    if (level > NESTING) throw new TypeError(`Nested deeper than ${NESTING} levels.`);
    if (count > this.#bytes.length - this.#at) throw new TypeError("A list or map that is cut off.");
  }

  #key(): string {
    const first = this.#uint(8);
    if (first >= 0xa0 && first < 0xc0) return this.#string(first & 0x1f);
    if (first >= 0xd9 && first <= 0xdb) return this.#string(this.#sizeOfString(first));
    throw new TypeError("A map's key that is not a string.");
  }

  #sizeOfString(first: number): number {
    return this.#uint(first === 0xd9 ? 8 : first === 0xda ? 16 : 32);
  }

  #string(size: number): string {
    const from = this.#take(size);
    // Most strings are short and ASCII, and calling the decoder costs more than they do.
    if (size <= 16) {
      let text = "";
      for (let at = from; at < from + size; at++) {
        const byte = this.#bytes[at] as number;
        if (byte >= 0x80) return this.#decode(from, size);
        text += String.fromCharCode(byte);
      }
      return text;
    }
    return this.#decode(from, size);
  }

  #decode(from: number, size: number): string {
    return textDecoder.decode(this.#bytes.subarray(from, from + size));
  }

  #uint(bits: 8 | 16 | 32): number {
    const from = this.#take(bits / 8);
    if (bits === 8) return this.#view.getUint8(from);
    return bits === 16 ? this.#view.getUint16(from) : this.#view.getUint32(from);
  }

  /** Step over this many bytes; returns where they begin. */
  #take(count: number): number {
    const from = this.#at;
    if (count > this.#bytes.length - from) throw new TypeError("A frame that is cut off.");
    this.#at = from + count;
    return from;
  }
}

function finite(value: number): number {
  if (Number.isFinite(value)) return value;
  throw new TypeError("A number that is not finite.");
}

function safe(value: bigint): number {
  const number = Number(value);
  if (Number.isSafeInteger(number)) return number;
  throw new TypeError("An integer outside -(2^53-1) to 2^53-1.");
}
