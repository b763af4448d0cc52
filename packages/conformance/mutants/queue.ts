import type { Mutant } from "./mutant.ts";

const core = "packages/core/src/recipes/queue";

/** Bugs that queues have had, or could have. */
export const mutants: readonly Mutant[] = [
  {
    breaks: "an acknowledgement is not fenced: a late worker ends what another has by now",
    file: `${core}/job.ts`,
    find: "if: [...claims, ...conditions],",
    replace: "if: [...conditions],",
    killedBy: "a queue refuses the acknowledgement of a worker whose claim is another's by now",
  },
  {
    breaks: "a claim does not look whether the item has changed, so that one item is delivered to two",
    file: `${core}/queue-claims.ts`,
    find: "        { key: keys.item(id), modified },\n        { key: keys.claim(id), exists: false },\n",
    replace: "        { key: keys.item(id), exists: true },\n",
    killedBy: "a queue hands an item that comes to one of those who wait for it",
  },
  {
    breaks: "deliveries are not counted, so that a poisoned item is delivered for ever",
    file: `${core}/queue-claims.ts`,
    find: "deliveries: meta.deliveries + 1",
    replace: "deliveries: meta.deliveries",
    killedBy: "a queue",
  },
  {
    breaks: "an item dies one delivery late",
    file: `${core}/job.ts`,
    find: "meta.deliveries >= maxDeliveries",
    replace: "meta.deliveries > maxDeliveries",
    killedBy: "a queue makes a dead letter of what was given back too often",
  },
  {
    breaks: "what its workers died of is delivered for ever",
    file: `${core}/queue-claims.ts`,
    find: "return !corrupt && meta.deliveries < this.#deliveries.maxDeliveries;",
    replace: "return !corrupt;",
    killedBy: "a queue makes a dead letter of what its workers died of",
  },
  {
    breaks: "a delay is ignored",
    file: `${core}/queue-shelf.ts`,
    find: "(item.meta.availableAtMs > 0 ? this.#delayed : this.#waiting).add(item);",
    replace: "this.#waiting.add({ ...item, meta: { ...item.meta, availableAtMs: 0 } });",
    killedBy: "a queue does not deliver what is delayed before its time",
  },
  {
    breaks: "the least urgent comes first",
    file: `${core}/queue-item.ts`,
    find: "return one.meta.priority < other.meta.priority;",
    replace: "return one.meta.priority > other.meta.priority;",
    killedBy: "a queue delivers smaller priorities first",
  },
  {
    breaks: "the last in is the first out",
    file: `${core}/queue-item.ts`,
    find: "return one.created < other.created;",
    replace: "return one.created > other.created;",
    killedBy: "a queue delivers what was enqueued to one worker, in the order in which it came",
  },
  {
    breaks: "what is redriven dies at once, since its deliveries stay counted",
    file: `${core}/dead-letters.ts`,
    find: "availableAtMs: 0, deliveries: 0 };",
    replace: "availableAtMs: 0, deliveries: death.deliveries ?? 0 };",
    killedBy: "a queue makes a dead letter of what was given back too often",
  },
  {
    breaks: "an unknown outcome of a claim is taken for a lost race, and the job is held by nobody",
    file: `${core}/queue-claims.ts`,
    find: "commit.succeeded || isOurs(claims[index])",
    replace: "commit.succeeded",
    killedBy: "a queue, under jitter",
  },
  {
    breaks: "who lost a race for one of several passes over the others for ever",
    file: `${core}/queue-claims.ts`,
    find: "for (const index of untouched) undo[index]?.();",
    replace: "",
    killedBy: "a queue takes the others of several when somebody else was faster with one",
  },
  {
    breaks: "a bounded queue takes a place that is taken",
    file: `${core}/queue-intake.ts`,
    find: "if (left === undefined) return [{ key, exists: false }];",
    replace: 'if (left === undefined) return [{ key: key + "x", exists: false }];',
    killedBy: "a queue never holds more than its maximum length",
  },
  {
    breaks: "who waits for a place that came and went between two looks sleeps on",
    file: `${core}/queue-index.ts`,
    find: "this.#ringOnceShown(waiting.signal);",
    replace: "",
    killedBy: "a bounded queue lets in who waits",
  },
  {
    breaks: "an overdue claim is never taken away",
    file: `${core}/queue-shelf.ts`,
    find: "if (untilMs + clockMarginMs > nowMs || !item",
    replace: "if (untilMs > 0 || !item",
    killedBy: "a queue takes away the overdue claim",
  },
];
