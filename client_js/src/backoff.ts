/** How long to wait before trying again. Pure: no clock, no state, randomness is given. */

/** The bounds of a wait, in seconds. */
export interface Backoff {
  /** The longest first wait. */
  readonly base: number;
  /** The longest wait at all. */
  readonly cap: number;
}

export const DEFAULT_BACKOFF: Backoff = { base: 0.5, cap: 20 };

/** A connection that stayed up this many seconds has proved the way to the server. */
export const STABLE = 10;

/**
 * Full jitter: anything between nothing and a bound that doubles with each attempt, in milliseconds.
 * A crowd that lost its server at one instant comes back evenly spread.
 *
 * @param attempt how many waits came before this one
 * @param random a number in [0, 1)
 */
export function backoffDelay(
  attempt: number,
  random: number,
  { base, cap }: Backoff = DEFAULT_BACKOFF,
): number {
  return random * Math.min(cap, base * 2 ** attempt) * 1000;
}

/**
 * How many attempts count after a connection that was up for `up` seconds. A server that accepts and
 * closes at once would otherwise be asked without a pause.
 */
export function attemptsAfter(attempts: number, up: number): number {
  return up >= STABLE ? 0 : attempts;
}

/**
 * When to open the new connection after `move`, in milliseconds: spread over the time that the gateway
 * gives, less what opening may take.
 *
 * @param after the seconds that `move` told
 * @param random a number in [0, 1)
 */
export function moveDelay(after: number, random: number): number {
  return random * (after - Math.min(after / 2, 5)) * 1000;
}
