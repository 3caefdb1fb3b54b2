import { defineConfig } from "vitest/config";

export default defineConfig({
  root: import.meta.dirname,
  test: {
    include: ["*.test.ts"],
    // Bounds for what goes wrong; a test waits for what must come, and never for time.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
