import { describe, expect, it } from "vitest";
import { attemptsAfter, backoffDelay, moveDelay, STABLE } from "../src/backoff.js";

describe("backoffDelay", () => {
  it("is between nothing and a bound that doubles from 0.5 s to 20 s (CONN-13)", () => {
    const bounds = Array.from({ length: 8 }, (_, attempt) => backoffDelay(attempt, 1));
    expect(bounds).toEqual([500, 1000, 2000, 4000, 8000, 16000, 20000, 20000]);
    expect(backoffDelay(5, 0)).toBe(0);
    expect(backoffDelay(5, 0.25)).toBe(4000);
  });

  it("stays at its cap however many attempts there were", () => {
    expect(backoffDelay(10_000, 1)).toBe(20_000);
  });

  it("takes other bounds", () => {
    expect(backoffDelay(3, 1, { base: 1, cap: 5 })).toBe(5000);
  });

  it("is pure: the same arguments give the same wait", () => {
    expect(backoffDelay(2, 0.7)).toBe(backoffDelay(2, 0.7));
  });
});

describe("attemptsAfter", () => {
  it("starts anew only after a connection that stayed up", () => {
    expect(attemptsAfter(4, STABLE - 0.001)).toBe(4);
    expect(attemptsAfter(4, STABLE)).toBe(0);
  });
});

describe("moveDelay", () => {
  it("leaves time to connect within what `move` gives", () => {
    expect(moveDelay(30, 0)).toBe(0);
    expect(moveDelay(30, 1)).toBe(25_000);
    expect(moveDelay(4, 1)).toBe(2000);
    expect(moveDelay(0, 1)).toBe(0);
  });
});
