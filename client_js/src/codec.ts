/** Frames to messages and back. */

import { JSON_SUBPROTOCOL } from "./codes.js";
import type { ClientFrame, ServerFrame } from "./protocol.gen.js";

/** One WebSocket message: text or binary. */
export type Message = string | Uint8Array<ArrayBuffer>;

/** One encoding of the wire. */
export interface Codec {
  readonly subprotocol: string;
  /**
   * Encode a frame. Throws `RangeError` for a number that cannot be sent (ENC-2, ENC-3), and `TypeError` for
   * other data that has no form in this encoding.
   */
  encode(frame: ClientFrame): Message;
  /**
   * Decode what a server sent: a text message as a string, a binary one as an `ArrayBuffer`.
   * Throws for anything that is not a map with a `type`. The server's frames are trusted further.
   */
  decode(message: unknown): ServerFrame;
}

/** Text messages; what the server speaks where nothing else is offered. */
export const json: Codec = {
  subprotocol: JSON_SUBPROTOCOL,
  encode: (frame) =>
    JSON.stringify(frame, (_key, value: unknown) => {
      if (typeof value === "number") checkNumber(value);
      return value;
    }),
  decode(message) {
    if (typeof message !== "string") throw new TypeError("A binary message on a text subprotocol.");
    const frame: unknown = JSON.parse(message);
    if (typeof frame !== "object" || frame === null || !("type" in frame)) {
      throw new TypeError("A message that is not a frame.");
    }
    return frame as ServerFrame;
  },
};

/**
 * Throw `RangeError` for what JSON would write as `null` or as an integer beyond 2^53 - 1. From 1e21 on
 * JavaScript writes an exponent, so that it is no integer.
 */
function checkNumber(value: number): void {
  if (!Number.isFinite(value)) throw new RangeError(`${value} cannot be sent: numbers are finite.`);
  if (Math.abs(value) > Number.MAX_SAFE_INTEGER && Math.abs(value) < 1e21) {
    throw new RangeError(`${value} cannot be sent: integers end at 2^53 - 1. Send it as a string.`);
  }
}

/** The size of a message in bytes. */
export function byteLength(message: Message): number {
  return typeof message === "string" ? new TextEncoder().encode(message).length : message.byteLength;
}
