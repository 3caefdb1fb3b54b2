/** Keeps one connection alive: opens, waits and opens again, moves, and knows when to stop. */

import { attemptsAfter, type Backoff, backoffDelay, moveDelay } from "./backoff.js";
import { EXPIRED, isFinalClose, UNAUTHENTICATED } from "./codes.js";
import { Connection, type ConnectionListeners, type ConnectionSetup, type Reason } from "./connection.js";
import type { PageListeners } from "./page.js";
import type { ConnectedFrame, ErrorFrame, MoveFrame } from "./protocol.gen.js";
import { Alarm } from "./timers.js";

export type ClientState = "disconnected" | "connecting" | "connected";

/** The connection's state, why it is not another, and when the next attempt is made. */
export interface StateChange {
  readonly state: ClientState;
  readonly reason?: Reason;
  /** Milliseconds until the next attempt. */
  readonly retryIn?: number;
}

export interface ConnectorListeners extends Pick<ConnectionListeners, "hello" | "frame" | "failed"> {
  /** This connection counts from now on. `moved`: it takes over from another without a break. */
  connected(connection: Connection, frame: ConnectedFrame, moved: boolean): void;
  /** Nothing will be sent or heard on this connection any more. */
  lost(connection: Connection): void;
  /** Whether the connection is needed no more: its channels are heard on another, its requests answered. */
  released(connection: Connection): boolean;
  /** A change to `disconnected` or `connecting`. */
  state(change: StateChange): void;
  /** There will be no further attempt. Told before the state. */
  stopped(reason: Reason): void;
}

export interface ConnectorSetup extends Omit<ConnectionSetup, "listeners"> {
  readonly random: () => number;
  readonly backoff: Backoff;
  /** The token was refused: whether another one can be had. */
  readonly renew: () => boolean;
  readonly listeners: ConnectorListeners;
}

/** An attempt that is younger than this, in milliseconds, was begun with what is known now. */
const YOUNG = 1_000;

export class Connector {
  readonly #setup: ConnectorSetup;
  readonly #connection: ConnectionSetup;
  /** Opens the next connection: after a wait, or when a `move` is due. */
  readonly #next: Alarm;
  /** The end of the time that a `move` gave. */
  readonly #moveEnd: Alarm;
  /** Whether there should be a connection. */
  #wanted = false;
  #status: StateChange = { state: "disconnected" };
  /** The connection that counts. */
  #active: Connection | undefined;
  /** The one that is being opened: to be the first, or to take over from the active one. */
  #opening: Connection | undefined;
  /** The one that the active one takes over from. */
  #retiring: Connection | undefined;
  /** Waits since the last connection that stayed up. */
  #attempts = 0;
  /** Whether a refused token was replaced by a fresh one since then. */
  #renewed = false;
  /** Whether the page is left: then nothing is told and nothing opened. */
  #left = false;

  constructor(setup: ConnectorSetup) {
    this.#setup = setup;
    this.#next = new Alarm(setup.timers);
    this.#moveEnd = new Alarm(setup.timers);
    const { hello, frame, failed } = setup.listeners;
    this.#connection = {
      ...setup,
      listeners: {
        hello,
        frame,
        failed,
        connected: (connection, connected) => this.#connected(connection, connected),
        closed: (connection, reason, error) => this.#closed(connection, reason, error),
      },
    };
  }

  /** The last state that was told, the same object until the next. */
  get status(): StateChange {
    return this.#status;
  }

  get active(): Connection | undefined {
    return this.#active;
  }

  /** What the page does to connections. */
  get page(): PageListeners {
    return {
      left: () => {
        this.#left = true;
        this.#next.clear();
      },
      shown: () => {
        if (!this.#left) return;
        this.#left = false;
        if (!this.#wanted) return;
        if (this.#active !== undefined) this.#active.probe();
        else if (this.#opening === undefined) this.#open();
      },
      offline: () => this.#active?.probe(),
      online: () => this.tryNow(),
      visible: () => this.#hurry(),
    };
  }

  /** Want a connection. */
  start(): void {
    if (this.#wanted) return;
    this.#wanted = true;
    this.#attempts = 0;
    this.#renewed = false;
    this.#open();
  }

  /** There is reason to hope: wait no longer, and begin anew what may have been begun in vain. */
  tryNow(): void {
    this.#attempts = 0;
    const opening = this.#opening;
    if (this.#left || this.#active !== undefined || opening === undefined || opening.age < YOUNG) {
      this.#hurry();
      return;
    }
    opening.close();
    this.#setup.listeners.lost(opening);
    this.#open();
  }

  /** Want none. */
  stop(): void {
    if (!this.#wanted) return;
    this.#drop();
    this.#tell({ state: "disconnected" });
  }

  /**
   * The server drains: take over on another connection, at a random moment within the given time.
   * Returns whether this is news.
   */
  move(connection: Connection, { after }: MoveFrame): boolean {
    if (connection !== this.#active || this.#opening !== undefined || this.#next.armed) return false;
    this.#moveEnd.set(after * 1000, () => this.#dropRetiring());
    this.#openLater(moveDelay(after, this.#setup.random()));
    return true;
  }

  /** Let go of the connection that was moved away from, if it is needed no more. */
  retire(): void {
    if (this.#retiring !== undefined && this.#setup.listeners.released(this.#retiring)) this.#dropRetiring();
  }

  /** Somebody waits: open what is waited with, or see whether what is open works. */
  #hurry(): void {
    if (this.#left) return;
    if (this.#active !== undefined) this.#active.probe();
    else if (this.#next.armed) this.#open();
  }

  #open(): void {
    this.#next.clear();
    const connection = new Connection(this.#connection);
    this.#opening = connection;
    if (this.#active === undefined) this.#tell({ state: "connecting" });
    // A listener may have called disconnect().
    if (this.#opening === connection) connection.start();
  }

  #openLater(ms: number): void {
    this.#next.set(ms, () => this.#open());
  }

  #connected(connection: Connection, frame: ConnectedFrame): void {
    this.#opening = undefined;
    this.#retiring = this.#active;
    this.#active = connection;
    const moved = this.#retiring !== undefined;
    if (!moved) this.#status = { state: "connected" };
    this.#setup.listeners.connected(connection, frame, moved);
    this.retire();
  }

  #closed(connection: Connection, reason: Reason, error: ErrorFrame | undefined): void {
    this.#setup.listeners.lost(connection);
    if (connection === this.#retiring) {
      this.#retired();
      return;
    }
    const opening = connection === this.#opening;
    if (opening) this.#opening = undefined;
    else {
      this.#active = undefined;
      this.#dropRetiring();
    }
    if (this.#left) {
      if (this.#active === undefined) this.#status = { state: "connecting" };
      return;
    }
    this.#attempts = attemptsAfter(this.#attempts, connection.up);
    if (this.#attempts === 0) this.#renewed = false;

    const final =
      typeof reason.code === "number" ? isFinalClose(reason.code) : error !== undefined && !error.retry;
    if (this.#active !== undefined) {
      // A move that fails: the active connection goes on until its server closes it.
      if (!final) this.#openLater(this.#delay(error));
    } else if (this.#mayRenew(reason)) {
      this.#renewed = true;
      this.#attempts += 1;
      this.#reconnect(reason, 0);
    } else if (final) {
      this.#drop();
      this.#setup.listeners.stopped(reason);
      this.#tell({ state: "disconnected", reason });
    } else if (this.#opening !== undefined) {
      // What is being opened for a move is waited for now.
      this.#tell({ state: "connecting", reason });
    } else if (reason.code === EXPIRED && this.#attempts === 0) {
      this.#attempts = 1;
      this.#reconnect(reason, 0);
    } else this.#reconnect(reason, this.#delay(error));
  }

  /** CLOSE-2: a refused token is worth another try if there is another token, but once. */
  #mayRenew({ code }: Reason): boolean {
    return (code === UNAUTHENTICATED || code === "unauthenticated") && !this.#renewed && this.#setup.renew();
  }

  /** Milliseconds to wait: what the server asks for, and the backoff on top, so that not all come at once. */
  #delay(error: ErrorFrame | undefined): number {
    const delay = backoffDelay(this.#attempts, this.#setup.random(), this.#setup.backoff);
    this.#attempts += 1;
    return delay + (error?.retry_after ?? 0) * 1000;
  }

  #reconnect(reason: Reason, retryIn: number): void {
    this.#openLater(retryIn);
    this.#tell({ state: "connecting", reason, retryIn });
  }

  /** Let go of every connection and of every wait for one. */
  #drop(): void {
    this.#wanted = false;
    this.#next.clear();
    this.#dropRetiring();
    const connections = [this.#active, this.#opening];
    this.#active = undefined;
    this.#opening = undefined;
    for (const connection of connections) {
      if (connection === undefined) continue;
      connection.close();
      this.#setup.listeners.lost(connection);
    }
  }

  #dropRetiring(): void {
    const retiring = this.#retiring;
    if (retiring === undefined) return;
    this.#retired();
    this.#setup.listeners.lost(retiring);
    retiring.close();
  }

  #retired(): void {
    this.#retiring = undefined;
    this.#moveEnd.clear();
  }

  #tell(change: StateChange): void {
    this.#status = change;
    this.#setup.listeners.state(change);
  }
}
