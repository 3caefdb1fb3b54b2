/** Fake time for a test file: call it once at the top. */

import { afterEach, beforeEach, expect, vi } from "vitest";

export function useFakeTime(): void {
  beforeEach(() => {
    vi.useFakeTimers({ now: 1_760_000_000_000 });
  });
  afterEach(() => {
    vi.useRealTimers();
  });
}

/** Let this much time go by, with everything that becomes due. */
export async function pass(ms: number): Promise<void> {
  await vi.advanceTimersByTimeAsync(ms);
}

/** Let promises settle; no time goes by. */
export async function settle(): Promise<void> {
  await vi.advanceTimersByTimeAsync(0);
}

/** Nothing is due any more. */
export function expectNoTimers(): void {
  expect(vi.getTimerCount()).toBe(0);
}
