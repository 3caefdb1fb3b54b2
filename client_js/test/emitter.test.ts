import { describe, expect, it, vi } from "vitest";
import { Emitter } from "../src/emitter.js";

interface Events {
  readonly tick: number;
}

describe("Emitter", () => {
  it("tells listeners in the order they came, until they are taken off", () => {
    const emitter = new Emitter<Events>();
    const told: string[] = [];
    const off = emitter.on("tick", (n) => told.push(`one ${n}`));
    emitter.on("tick", (n) => told.push(`two ${n}`));
    emitter.emit("tick", 1);
    off();
    off();
    emitter.emit("tick", 2);
    expect(told).toEqual(["one 1", "two 1", "two 2"]);
  });

  it("takes off only the one of two equal listeners that was asked for", () => {
    const emitter = new Emitter<Events>();
    const listener = vi.fn();
    const off = emitter.on("tick", listener);
    emitter.on("tick", listener);
    off();
    off();
    emitter.emit("tick", 1);
    expect(listener).toHaveBeenCalledTimes(1);
  });

  it("lets a listener take itself and others off while it runs", () => {
    const emitter = new Emitter<Events>();
    const told: string[] = [];
    const off = emitter.on("tick", () => {
      off();
      told.push("once");
    });
    emitter.on("tick", () => told.push("always"));
    emitter.emit("tick", 1);
    emitter.emit("tick", 2);
    expect(told).toEqual(["once", "always", "always"]);
  });

  it("reports a listener that throws to the platform, and tells the others", async () => {
    const emitter = new Emitter<Events>();
    const reported: unknown[] = [];
    const queue = vi.spyOn(globalThis, "queueMicrotask").mockImplementation((task) => {
      try {
        task();
      } catch (error) {
        reported.push(error);
      }
    });
    const told = vi.fn();
    const error = new Error("Broken.");
    emitter.on("tick", () => {
      throw error;
    });
    emitter.on("tick", told);
    emitter.emit("tick", 1);
    queue.mockRestore();
    expect(reported).toEqual([error]);
    expect(told).toHaveBeenCalledWith(1);
  });
});
