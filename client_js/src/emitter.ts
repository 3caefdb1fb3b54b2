/** Typed listeners. A map of event names to payloads is the whole contract. */

/** Takes the listener off again. */
export type Off = () => void;

/** One of `on`, whose own type says for which event it is. */
type Listener = (event: never) => void;

/**
 * A source of events. Emitting allocates nothing: the lists of listeners are replaced, never changed,
 * so a listener may add and remove listeners while it runs.
 */
export class Emitter<Events> {
  readonly #listeners = new Map<keyof Events, readonly Listener[]>();

  /** Call `listener` at each `name`; the result takes it off again. */
  on<Name extends keyof Events>(name: Name, listener: (event: Events[Name]) => void): Off {
    this.#listeners.set(name, [...(this.#listeners.get(name) ?? []), listener]);
    let on = true;
    return () => {
      if (!on) return;
      on = false;
      const rest = [...(this.#listeners.get(name) ?? [])];
      rest.splice(rest.indexOf(listener), 1);
      this.#listeners.set(name, rest);
    };
  }

  /** @internal */
  emit<Name extends keyof Events>(name: Name, event: Events[Name]): void {
    const listeners = this.#listeners.get(name);
    if (listeners === undefined) return;
    for (const listener of listeners) {
      try {
        listener(event as never);
      } catch (error) {
        // One broken listener must not stop the others or the client; the platform reports it.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}
