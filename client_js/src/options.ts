/** What a client, a request and a subscription can be told. Spans are seconds unless a name says otherwise. */

import type { Backoff } from "./backoff.js";
import type { Codec } from "./codec.js";
import type { PageEvents } from "./page.js";
import type { ClientInfo, Position } from "./protocol.gen.js";
import type { Timers } from "./timers.js";
import type { TokenOption } from "./token.js";
import type { WebSocketConstructor } from "./transport.js";

export interface ClientOptions {
  /**
   * The user's token, or a function that fetches one. The function is asked on every connect, and again
   * shortly before the token expires.
   */
  readonly token?: TokenOption;
  /** What the client says of itself, for the server's logs. */
  readonly client?: ClientInfo;
  /** How long one attempt to connect or to be answered may take. 10 by default. */
  readonly timeout?: number;
  /** The bounds of the wait between attempts to connect, or to be answered: 0.5 and 20 by default. */
  readonly backoff?: Partial<Backoff>;
  /** Makes the connections; the platform's `WebSocket` by default. */
  readonly WebSocket?: WebSocketConstructor;
  /** The encoding of the wire; JSON by default. */
  readonly codec?: Codec;
  /** Numbers in [0, 1), for the jitter; `Math.random` by default. */
  readonly random?: () => number;
  /** Time; the platform's by default. */
  readonly timers?: Timers;
  /**
   * Where to hear that the network or the page comes and goes; the window or worker by default, `null` for
   * nowhere.
   */
  readonly page?: PageEvents | null;
}

export interface WaitOptions {
  /** Gives up waiting; the promise rejects with the signal's reason. */
  readonly signal?: AbortSignal | undefined;
}

export interface PublishOptions extends WaitOptions {
  /** The idempotency key; random by default. `null` sends none: then it is sent once at most. */
  readonly key?: string | null;
}

export interface CallOptions extends PublishOptions {
  /**
   * The deadline, over all attempts. Without it each attempt may take the client's `timeout`, and all
   * together, with the time that there is no connection, six times that.
   */
  readonly timeout?: number;
}

export interface SubscribeOptions {
  /** Start behind this position instead of now; where a position is known already, that one holds. */
  readonly since?: Position;
  /** How many events a `for await` loop may be behind before it throws `QueueOverflow`. 1000 by default. */
  readonly queue?: number;
}

export interface HistoryOptions extends WaitOptions {
  /** Read the events after this position, upwards. */
  readonly since?: Position;
  /** Read the events below this position, downwards. Not together with `since`. */
  readonly before?: Position;
  /** How many events at most; 100 by default, `client.limits.history` is the most. */
  readonly limit?: number;
}
