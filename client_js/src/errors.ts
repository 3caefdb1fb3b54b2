/**
 * Errors that an app may catch.
 *
 *     BackchannelError
 *     ├── Refused            a request was refused or not answered; carries the protocol's code
 *     ├── ConnectionClosed   the client is closed for good, so nothing can be asked or heard
 *     └── QueueOverflow      a `for await` loop read more slowly than its channel wrote
 */

import type { ErrorFrame, Outcome } from "./protocol.gen.js";

/** The root of everything that this library throws on purpose. */
export class BackchannelError extends Error {
  override readonly name: string = "BackchannelError";
}

/** What a `Refused` carries beside its code and message. */
export interface RefusedOptions {
  readonly retry?: boolean;
  readonly outcome?: Outcome;
  readonly details?: unknown;
  readonly retryAfter?: number;
}

/** A request was refused, by the server or because no answer came. `Code`: the codes that it may have. */
export class Refused<Code extends string = string> extends BackchannelError {
  override readonly name = "Refused";
  /** Why, as a word of the protocol's table of error codes or of the app. */
  readonly code: Code;
  /** Whether the same request can succeed later, unchanged. */
  readonly retry: boolean;
  /** `none`: nothing happened. `unknown`: the request may have taken effect. */
  readonly outcome: Outcome;
  /** What the code's declaration adds. */
  readonly details: unknown;
  /** How long to wait before trying again, in seconds. */
  readonly retryAfter: number | undefined;

  constructor(code: Code, message: string, options: RefusedOptions = {}) {
    super(message);
    this.code = code;
    this.retry = options.retry ?? false;
    this.outcome = options.outcome ?? "none";
    this.details = options.details;
    this.retryAfter = options.retryAfter;
  }

  /** The error that an `error` frame tells. */
  static of(frame: ErrorFrame): Refused {
    return new Refused(frame.code, frame.message, {
      retry: frame.retry,
      outcome: frame.outcome,
      details: frame.details,
      ...(frame.retry_after === undefined ? {} : { retryAfter: frame.retry_after }),
    });
  }
}

/** The connection is closed and stays so: by `close()`, or because the server said that it is final. */
export class ConnectionClosed extends BackchannelError {
  override readonly name = "ConnectionClosed";
  /** The WebSocket close code, or the word of the `error` that refused the connection. */
  readonly code: number | string;
  /** `unknown` where a request had been sent and may have taken effect. */
  readonly outcome: Outcome;

  constructor(code: number | string, message: string, outcome: Outcome = "none") {
    super(message);
    this.code = code;
    this.outcome = outcome;
  }
}

/** A `for await` loop fell so far behind that its queue is full; the events behind it are not kept. */
export class QueueOverflow extends BackchannelError {
  override readonly name = "QueueOverflow";
  readonly channel: string;

  constructor(channel: string, limit: number) {
    super(
      `More than ${limit} events of ${channel} waited to be read. ` +
        "Read faster, raise `queue` in subscribe(), or listen with on('event').",
    );
    this.channel = channel;
  }
}
