import { describe } from "vitest";
import type { Suite } from "../context.ts";
import { barrier } from "./barrier.ts";
import { directory } from "./directory.ts";
import { election } from "./election.ts";
import { electionRun } from "./election-run.ts";
import { exclusionGrants } from "./exclusion-grants.ts";
import { exclusionLoss } from "./exclusion-loss.ts";
import { exclusionWaiting } from "./exclusion-waiting.ts";
import { exclusives } from "./exclusive.ts";
import { latch } from "./latch.ts";
import { localCallers } from "./local-callers.ts";
import { multiMutex, twoMutexes } from "./multi-mutex.ts";
import { mutex } from "./mutex.ts";
import { picks } from "./picks.ts";
import { registration } from "./registration.ts";
import { exclusionRoundTrips, recipeRoundTrips } from "./round-trips.ts";
import { session } from "./session.ts";
import { topic, topicRetention, topicRoundTrips, topicUnderFaults } from "./topic.ts";
import { convergenceUnderJitter, exclusionUnderJitter } from "./under-jitter.ts";
import { views } from "./views.ts";

/** The sentences of the recipes, which any store that keeps the port contract keeps too. */
export function describeRecipes(suite: Suite): void {
  describe("a session", () => session(suite));
  for (const exclusive of exclusives) {
    describe(`${exclusive.kind}, granted`, () => exclusionGrants(suite, exclusive));
    describe(`${exclusive.kind}, waited for`, () => exclusionWaiting(suite, exclusive));
    describe(`${exclusive.kind}, lost`, () => exclusionLoss(suite, exclusive));
    describe(`${exclusive.kind}, under jitter`, () => exclusionUnderJitter(suite, exclusive));
    describe(`${exclusive.kind}, in round trips`, () => exclusionRoundTrips(suite, exclusive));
  }
  describe("a mutex", () => mutex(suite));
  describe("a mutex, among callers of one process", () => localCallers(suite));
  describe("several mutexes at once", () => multiMutex(suite));
  describe("several mutexes at once, under jitter", () => exclusionUnderJitter(suite, twoMutexes));
  describe("a barrier", () => barrier(suite));
  describe("a latch", () => latch(suite));
  describe("an election", () => election(suite));
  describe("a run for leadership", () => electionRun(suite));
  describe("a directory of services", () => directory(suite));
  describe("a registration", () => registration(suite));
  describe("a view of a service", () => views(suite));
  describe("a pick", () => picks(suite));
  describe("a topic", () => topic(suite));
  describe("a topic, as it is kept", () => topicRetention(suite));
  describe("a topic, under faults", () => topicUnderFaults(suite));
  describe("a topic, in round trips", () => topicRoundTrips(suite));
  describe("recipes, under jitter", () => convergenceUnderJitter(suite));
  describe("recipes, in round trips", () => recipeRoundTrips(suite));
}
