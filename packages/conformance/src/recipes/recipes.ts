import { describe } from "vitest";
import type { Suite } from "../context.ts";
import { exclusionGrants } from "./exclusion-grants.ts";
import { exclusionLoss } from "./exclusion-loss.ts";
import { exclusionWaiting } from "./exclusion-waiting.ts";
import { exclusives } from "./exclusive.ts";
import { mutex } from "./mutex.ts";
import { session } from "./session.ts";

/** The sentences of the recipes, which any store that keeps the port contract keeps too. */
export function describeRecipes(suite: Suite): void {
  describe("a session", () => session(suite));
  for (const exclusive of exclusives) {
    describe(`${exclusive.kind}, granted`, () => exclusionGrants(suite, exclusive));
    describe(`${exclusive.kind}, waited for`, () => exclusionWaiting(suite, exclusive));
    describe(`${exclusive.kind}, lost`, () => exclusionLoss(suite, exclusive));
  }
  describe("a mutex", () => mutex(suite));
}
