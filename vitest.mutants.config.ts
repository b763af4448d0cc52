import { defineConfig } from "vitest/config";
import everything from "./vitest.config.ts";

// What `npm run mutants` tries on each mutant: the suite on memory alone. In threads, which start sooner.
export default defineConfig({
  ...everything,
  test: {
    ...everything.test,
    include: ["packages/backend-memory/test/conformance.test.ts"],
    globalSetup: [],
    pool: "threads",
    maxWorkers: 1,
  },
});
