import { defineConfig } from "vitest/config";

export default defineConfig({
  test: {
    environment: "happy-dom",
    include: ["test/**/*.test.ts"],
    // One set of modules for all files of a thread: most of the time went into loading them anew.
    pool: "threads",
    isolate: false,
    // A test may have to wait for cores that other work keeps busy.
    testTimeout: 60_000,
  },
});
