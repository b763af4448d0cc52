import { describe } from "vitest";
import type { Suite } from "../context.ts";
import { reads } from "./reads.ts";

/** The sentences of the port contract. */
export function describePorts(suite: Suite): void {
  describe("get and list", () => reads(suite));
}
