import { describe } from "vitest";
import type { Suite } from "../context.ts";
import { atomicity } from "./atomicity.ts";
import { commits } from "./commits.ts";
import { conditions } from "./conditions.ts";
import { expiry } from "./expiry.ts";
import { leases } from "./leases.ts";
import { lists } from "./lists.ts";
import { paging } from "./paging.ts";
import { reads } from "./reads.ts";

/** The sentences of the port contract. */
export function describePorts(suite: Suite): void {
  describe("get", () => reads(suite));
  describe("list", () => lists(suite));
  describe("large lists", () => paging(suite));
  describe("conditions", () => conditions(suite));
  describe("commits", () => commits(suite));
  describe("concurrent commits", () => atomicity(suite));
  describe("leases", () => leases(suite));
  describe("leases and time", () => expiry(suite));
}
