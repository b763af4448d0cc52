import { describe } from "vitest";
import type { Suite } from "../context.ts";
import { badArguments, badTransactions } from "./arguments.ts";
import { atomicity } from "./atomicity.ts";
import { closing } from "./closing.ts";
import { commits } from "./commits.ts";
import { conditions } from "./conditions.ts";
import { consistency } from "./consistency.ts";
import { expiry } from "./expiry.ts";
import { leases } from "./leases.ts";
import { lists } from "./lists.ts";
import { model } from "./model.ts";
import { paging } from "./paging.ts";
import { reads } from "./reads.ts";
import { scopes } from "./scopes.ts";
import { watchEnd } from "./watch-end.ts";
import { watchLive } from "./watch-live.ts";
import { watches } from "./watches.ts";

/** The sentences of the port contract. */
export function describePorts(suite: Suite): void {
  describe("get", () => reads(suite));
  describe("list", () => lists(suite));
  describe("large lists", () => paging(suite));
  describe("conditions", () => conditions(suite));
  describe("commits", () => commits(suite));
  describe("concurrent commits", () => atomicity(suite));
  describe("leases", () => leases(suite));
  // Its tests mostly wait, so on a real clock they wait together.
  describe.concurrent("leases and time", () => expiry(suite));
  describe("watches", () => watches(suite));
  describe("the start of a watch", () => watchLive(suite));
  describe("the end of a watch", () => watchEnd(suite));
  describe("consistency", () => consistency(suite));
  describe("scopes", () => scopes(suite));
  describe("arguments", () => badArguments(suite));
  describe("transactions that no store takes", () => badTransactions(suite));
  describe("aborting, cutting off and closing", () => closing(suite));
  describe("sequences", () => model(suite));
}
