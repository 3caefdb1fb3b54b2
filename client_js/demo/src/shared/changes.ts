/** How the views follow the models: a model says that it changed, a view draws at most once a frame. */

export class Changes {
  readonly #listeners = new Set<() => void>();

  /** Hear of changes; the answer stops it. */
  watch(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  notify(): void {
    for (const listener of this.#listeners) listener();
  }
}

/** A function that runs `draw` once, soon, however often it is called until then. */
export function coalesced(draw: () => void): () => void {
  let due = false;
  const run = (): void => {
    due = false;
    draw();
  };
  return () => {
    if (due) return;
    due = true;
    // A hidden page gets no frames, and its title and unread dots should still be right.
    if (document.hidden) setTimeout(run, 0);
    else requestAnimationFrame(run);
  };
}
