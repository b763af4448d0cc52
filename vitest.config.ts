import { availableParallelism } from "node:os";
import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";
import { LongestFirst } from "./test/harness/longest-first.ts";

const source = (path: string) => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    alias: [
      { find: "@conclave/core/backend", replacement: source("packages/core/src/backend.ts") },
      { find: /^@conclave\/([a-z-]+)$/, replacement: source("packages/$1/src/index.ts") },
    ],
  },
  test: {
    include: ["packages/*/test/**/*.test.ts", "test/**/*.test.ts"],
    // No more than there are cores: the servers that are tested want them too, and what they promise is a matter of time.
    maxWorkers: Math.max(2, availableParallelism()),
    sequence: { sequencer: LongestFirst },
    globalSetup: "test/harness/global-setup.ts",
    testTimeout: 15_000,
    hookTimeout: 30_000,
  },
});
