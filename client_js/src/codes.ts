/** The few codes that the client itself acts on. Their types are the protocol's, so they cannot drift. */

import type { CLOSE_CODES, ErrorCode, SUBPROTOCOL_JSON } from "./protocol.gen.js";

type CloseCodes = typeof CLOSE_CODES;

export const JSON_SUBPROTOCOL: typeof SUBPROTOCOL_JSON = "backchannel.v1.json";

export const NORMAL: CloseCodes["NORMAL"] = 1000;
export const PROTOCOL_ERROR: CloseCodes["PROTOCOL_ERROR"] = 1002;
export const SILENT: CloseCodes["SILENT"] = 4002;
export const EXPIRED: CloseCodes["EXPIRED"] = 4005;
export const UNAUTHENTICATED: CloseCodes["UNAUTHENTICATED"] = 4500;

/** What a browser reports when a connection ends without a closing handshake (RFC 6455 section 7.1.5). */
export const ABNORMAL = 1006;

const RETRYABLE: ReadonlySet<string> = new Set<ErrorCode>(["rate_limited", "unavailable", "internal"]);

/** Whether a subscription that ended with this error code is worth asking for again. */
export function isRetryable(code: string): boolean {
  return RETRYABLE.has(code);
}

/** Whether a client must not reconnect by itself after this close code. */
export function isFinalClose(code: number): boolean {
  return code >= 4500 && code <= 4999;
}
