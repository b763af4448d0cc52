import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

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
    globalSetup: "test/harness/global-setup.ts",
    testTimeout: 15_000,
    hookTimeout: 30_000,
  },
});
