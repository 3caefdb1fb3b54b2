import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    include: ["test/**/*.test.ts", "demo/test/**/*.test.ts"],
    // A test that waits for real time is broken; fake time needs none.
    testTimeout: 5000,
  },
});
